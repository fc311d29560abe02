#include "proxy/timer_wheel.h"

#include <algorithm>

namespace sluice::proxy {

void Timer::unlink() {
  if (previous_next_ == nullptr) return;
  *previous_next_ = next_;
  if (next_ != nullptr) next_->previous_next_ = previous_next_;
  previous_next_ = nullptr;
  next_ = nullptr;
}

void TimerWheel::link(Timer& timer, uint64_t tick) {
  timer.unlink();
  timer.slot_tick_ = tick;
  Timer*& head = slots_[tick % kSlots];
  timer.next_ = head;
  timer.previous_next_ = &head;
  if (head != nullptr) head->previous_next_ = &timer.next_;
  head = &timer;
}

void TimerWheel::arm(Timer& timer, uint64_t deadline_ms) {
  timer.deadline_ms_ = deadline_ms;
  // Never early: the first tick that begins at or after the deadline.
  const uint64_t tick = std::max((deadline_ms + kTickMs - 1) / kTickMs, tick_ + 1);
  if (timer.previous_next_ != nullptr && timer.slot_tick_ <= tick) return;
  link(timer, tick);
}

void TimerWheel::advance(uint64_t now_ms) {
  const uint64_t target = now_ms / kTickMs;
  // After a long stop each slot needs to be looked at once only.
  if (target > tick_ + kSlots) tick_ = target - kSlots;
  while (tick_ < target) {
    ++tick_;
    // Take the slot's list away, so that what is armed meanwhile stays out of
    // this walk; each timer leaves it before its callback runs.
    Timer* due = slots_[tick_ % kSlots];
    slots_[tick_ % kSlots] = nullptr;
    if (due != nullptr) due->previous_next_ = &due;
    while (due != nullptr) {
      Timer& timer = *due;
      timer.unlink();
      if (!timer.armed()) continue;
      if (timer.deadline_ms_ > now_ms) {
        link(timer, std::max((timer.deadline_ms_ + kTickMs - 1) / kTickMs, tick_ + 1));
        continue;
      }
      timer.disarm();
      timer.callback_(timer.owner_);
    }
  }
}

}  // namespace sluice::proxy
