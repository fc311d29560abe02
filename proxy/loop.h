// Loop: what all objects of one worker share: time, randomness, deadlines, the
// read buffer, scratch memory and the work that waits for the end of the
// current callback.
//
// Time stands still within a callback: it is read once when libuv calls us
// (Scope) and passed on from here, so that everything above can be driven by a
// test that sets it. This is the only place where the data path reads a clock
// or a random source.
//
// At the end of the outermost Scope the loop flushes: every connection that has
// something to send does so in one system call, then deferred work runs, until
// neither is left. Deferred work is how a decision waits until the code that
// noticed its need has returned.
//
// Thread: one loop, one thread. Owner: the Worker.
#pragma once

#include <uv.h>

#include <cstdint>
#include <memory>
#include <string_view>

#include "balancer/random.h"
#include "proxy/http_date.h"
#include "proxy/scratch.h"
#include "proxy/timer_wheel.h"

namespace sluice::proxy {

class Loop;

// Something that is to be called once at the end of the current callback.
// Intrusive, so that asking for it never allocates; asking twice is asking once.
class Deferred {
 public:
  using Callback = void (*)(void* owner);
  Deferred(Callback callback, void* owner) : callback_(callback), owner_(owner) {}
  Deferred(const Deferred&) = delete;
  Deferred& operator=(const Deferred&) = delete;
  ~Deferred();

 private:
  friend class Loop;
  Loop* loop_ = nullptr;  // null: not asked for
  Deferred* next_ = nullptr;
  Deferred* previous_ = nullptr;
  const Callback callback_;
  void* const owner_;
};

class Loop {
 public:
  // Large enough that a body of a megabyte takes few system calls, small enough
  // to stay in the second-level cache and to bound what one read can leave over.
  // A quarter more, and the copy out of the kernel falls out of that cache.
  static constexpr size_t kReadBufferBytes = 96 * 1024;

  // What all streams of the loop together may keep for peers that do not take it,
  // before reads become small and whoever feeds a stream waits for it to be empty.
  // So a worker's streams keep at most this and one small read for each.
  static constexpr size_t kMostKeptBytes = size_t{32} * 1024 * 1024;
  static constexpr size_t kSmallReadBytes = 8 * 1024;

  // A loop with a libuv loop in it; seed is for the random numbers.
  explicit Loop(uint64_t seed);
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop();

  uv_loop_t* uv() { return &uv_; }
  void run();   // until stop()
  void stop();  // from a callback of this loop
  // Closes what the loop itself holds and runs until every handle is gone;
  // returns what uv_loop_close says, 0 when nothing was left behind.
  int close();

  uint64_t now_us() const { return now_us_; }
  uint64_t now_ms() const { return now_us_ / 1000; }
  void update_time();
  // For tests: time goes where they say, and due timers fire.
  void set_time_us(uint64_t now_us);

  // The same clock as now_us(), read at this instant: what a callback itself took is in it.
  static uint64_t steady_us();
  // Wall-clock time in microseconds since the epoch, for logs and events.
  static uint64_t wall_clock_us();
  // The wall clock's second as an HTTP-date (RFC 9110, 5.6.7), made once a second;
  // the text stays until the current callback ends.
  std::string_view http_date();
  // A seed from the system's random source.
  static uint64_t random_seed();

  balancer::Random& random() { return random_; }
  Scratch& scratch() { return scratch_; }
  char* read_buffer() { return read_buffer_.get(); }

  // Kept by the streams, told by them.
  void keep_bytes(size_t count) { kept_bytes_ += count; }
  void let_go_bytes(size_t count) { kept_bytes_ -= count; }
  bool crowded() const { return kept_bytes_ > kMostKeptBytes; }
  size_t read_bytes() const { return crowded() ? kSmallReadBytes : kReadBufferBytes; }

  void arm(Timer& timer, uint64_t delay_ms) {
    timers_.arm(timer, now_ms() + delay_ms);
    if (timers_.next_tick() < wake_tick_) wake_for_timers();
  }

  // Run at the end of the current callback: writes before everything else.
  void defer(Deferred& what) { append(tasks_, what); }
  void defer_flush(Deferred& what) { append(flushes_, what); }
  void run_deferred();
  // Only the writes, now: before memory that they point into is used again.
  void run_flushes();

  // Opened by every callback from libuv.
  class Scope {
   public:
    explicit Scope(Loop& loop) : loop_(loop) {
      if (loop_.depth_++ == 0) loop_.update_time();
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() {
      if (loop_.depth_ == 1) loop_.run_deferred();
      --loop_.depth_;
    }

   private:
    Loop& loop_;
  };

 private:
  friend class Deferred;
  struct List {
    Deferred* first = nullptr;
    Deferred* last = nullptr;
  };
  void append(List& list, Deferred& what);
  static Deferred* pop(List& list);
  void forget(Deferred& what);
  void wake_for_timers();
  static void on_wake(uv_timer_t* handle);

  uv_loop_t uv_{};
  uv_timer_t waker_{};
  uint64_t wake_tick_ = TimerWheel::kNoTick;  // when waker_ is due: an idle loop sleeps until then
  uint64_t now_us_ = 0;
  uint64_t date_until_us_ = 0;  // date_ is right before this
  char date_[kHttpDateBytes];
  size_t kept_bytes_ = 0;
  int depth_ = 0;
  List flushes_;
  List tasks_;
  TimerWheel timers_;
  balancer::Random random_;
  Scratch scratch_;
  std::unique_ptr<char[]> read_buffer_;
};

}  // namespace sluice::proxy
