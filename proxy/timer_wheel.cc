#include "proxy/timer_wheel.h"

#include <algorithm>
#include <bit>

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
  used_[tick % kSlots / 64] |= uint64_t{1} << (tick % 64);
  // A deadline beyond this turn of the wheel has its slot looked at before.
  next_tick_ = std::min(next_tick_, tick_ + 1 + (tick - tick_ - 1) % kSlots);
}

uint64_t TimerWheel::first_used_tick() const {
  // From the slot after tick_ once round, the slots of a word at a time; a first
  // word that is entered in its middle comes again at the end.
  const uint64_t end = tick_ + 1 + kSlots;
  for (uint64_t tick = tick_ + 1; tick < end; tick += 64 - tick % 64) {
    const uint64_t rest = used_[tick % kSlots / 64] >> (tick % 64);
    if (rest != 0) return tick + static_cast<uint64_t>(std::countr_zero(rest));
  }
  return kNoTick;
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
    used_[tick_ % kSlots / 64] &= ~(uint64_t{1} << (tick_ % 64));
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
  next_tick_ = first_used_tick();
}

}  // namespace sluice::proxy
