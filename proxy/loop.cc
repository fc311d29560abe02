#include "proxy/loop.h"

#include <sys/random.h>

#include <cassert>
#include <chrono>
#include <cstdlib>

namespace sluice::proxy {

Deferred::~Deferred() {
  if (loop_ != nullptr) loop_->forget(*this);
}

Loop::Loop(uint64_t seed)
    : now_us_(steady_us()),
      timers_(now_us_ / 1000),
      random_(seed),
      read_buffer_(std::make_unique_for_overwrite<char[]>(kReadBufferBytes)) {
  // Neither fails but for want of descriptors, and then nothing can be done.
  if (uv_loop_init(&uv_) != 0 || uv_timer_init(&uv_, &waker_) != 0) std::abort();
  waker_.data = this;
  uv_unref(reinterpret_cast<uv_handle_t*>(&waker_));
}

Loop::~Loop() {
  assert(flushes_.first == nullptr && tasks_.first == nullptr);
}

void Loop::update_time() {
  now_us_ = steady_us();
}

void Loop::run() {
  uv_run(&uv_, UV_RUN_DEFAULT);
}

void Loop::stop() {
  uv_stop(&uv_);
}

int Loop::close() {
  auto* const handle = reinterpret_cast<uv_handle_t*>(&waker_);
  if (uv_is_closing(handle) == 0) uv_close(handle, nullptr);
  uv_run(&uv_, UV_RUN_DEFAULT);
  return uv_loop_close(&uv_);
}

void Loop::set_time_us(uint64_t now_us) {
  now_us_ = now_us;
  timers_.advance(now_ms());
  run_deferred();
}

uint64_t Loop::steady_us() {
  return uv_hrtime() / 1000;
}

uint64_t Loop::wall_clock_us() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(since_epoch).count());
}

std::string_view Loop::http_date() {
  if (now_us_ >= date_until_us_) {
    constexpr uint64_t kMicrosecondsPerSecond = 1'000'000;
    const uint64_t wall_us = wall_clock_us();
    write_http_date(date_, wall_us / kMicrosecondsPerSecond);
    date_until_us_ = now_us_ + kMicrosecondsPerSecond - wall_us % kMicrosecondsPerSecond;
  }
  return {date_, kHttpDateBytes};
}

uint64_t Loop::random_seed() {
  uint64_t seed = 0;
  if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) seed = uv_hrtime() ^ wall_clock_us();
  return seed;
}

void Loop::wake_for_timers() {
  wake_tick_ = timers_.next_tick();
  if (wake_tick_ == TimerWheel::kNoTick) return;
  const uint64_t due_ms = wake_tick_ * TimerWheel::kTickMs;
  uv_timer_start(&waker_, on_wake, due_ms > now_ms() ? due_ms - now_ms() : 0, 0);
}

void Loop::on_wake(uv_timer_t* handle) {
  Loop& loop = *static_cast<Loop*>(handle->data);
  const Scope scope(loop);
  loop.wake_tick_ = 0;  // timers that callbacks arm are seen to below
  loop.timers_.advance(loop.now_ms());
  loop.wake_for_timers();
}

void Loop::append(List& list, Deferred& what) {
  if (what.loop_ != nullptr) return;
  what.loop_ = this;
  what.previous_ = list.last;
  what.next_ = nullptr;
  (list.last != nullptr ? list.last->next_ : list.first) = &what;
  list.last = &what;
}

Deferred* Loop::pop(List& list) {
  Deferred* const what = list.first;
  list.first = what->next_;
  (list.first != nullptr ? list.first->previous_ : list.last) = nullptr;
  what->loop_ = nullptr;
  what->next_ = nullptr;
  return what;
}

void Loop::forget(Deferred& what) {
  // It is in one of the two lists; its neighbours know, the ends tell which.
  List& list = (flushes_.first == &what || flushes_.last == &what) ? flushes_ : tasks_;
  (what.previous_ != nullptr ? what.previous_->next_ : list.first) = what.next_;
  (what.next_ != nullptr ? what.next_->previous_ : list.last) = what.previous_;
  what.loop_ = nullptr;
}

void Loop::run_flushes() {
  while (flushes_.first != nullptr) {
    Deferred* const what = pop(flushes_);
    what->callback_(what->owner_);
  }
}

void Loop::run_deferred() {
  while (flushes_.first != nullptr || tasks_.first != nullptr) {
    Deferred* const what = pop(flushes_.first != nullptr ? flushes_ : tasks_);
    what->callback_(what->owner_);
  }
  scratch_.reset();
}

}  // namespace sluice::proxy
