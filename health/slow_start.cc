#include "health/slow_start.h"

#include <algorithm>

namespace sluice::health {

uint64_t SlowStart::steps_done(uint64_t now_ms) const {
  if (began_ms_ == kNever || window_ms_ == 0 || now_ms - began_ms_ >= window_ms_) return kSteps;
  return (now_ms - began_ms_) * kSteps / window_ms_;
}

uint8_t SlowStart::percent(uint64_t now_ms) const {
  return static_cast<uint8_t>(kFirstPercent + steps_done(now_ms) * kStepPercent);
}

uint64_t SlowStart::next_change_ms(uint64_t now_ms) const {
  const uint64_t done = steps_done(now_ms);
  if (done == kSteps) return kNever;
  // The first moment at which the next step is done, rounded up.
  return began_ms_ + ((done + 1) * window_ms_ + kSteps - 1) / kSteps;
}

}  // namespace sluice::health
