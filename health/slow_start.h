// SlowStart: the share of its weight that an endpoint gets after it came back,
// so that a cold process is not handed its full part at once.
//
// It rises in a straight line from kFirstPercent to 100 over the window, in
// steps of kStepPercent: each change makes all workers look again. Where all
// endpoints of an upstream begin together the ramp changes nothing, since only
// their ratio counts.
//
// Thread: the control thread. Units: milliseconds on the caller's clock.
#pragma once

#include <cstdint>

namespace sluice::health {

class SlowStart {
 public:
  static constexpr uint32_t kFirstPercent = 10;
  static constexpr uint32_t kStepPercent = 10;
  static constexpr uint64_t kNever = UINT64_MAX;

  // 0: no ramp.
  explicit SlowStart(uint64_t window_ms) : window_ms_(window_ms) {}

  void begin(uint64_t now_ms) { began_ms_ = now_ms; }

  // kFirstPercent..100; 100 before any begin().
  uint8_t percent(uint64_t now_ms) const;
  // When percent() changes next; kNever once it is 100.
  uint64_t next_change_ms(uint64_t now_ms) const;

 private:
  static constexpr uint64_t kSteps = (100 - kFirstPercent) / kStepPercent;
  uint64_t steps_done(uint64_t now_ms) const;

  uint64_t window_ms_;
  uint64_t began_ms_ = kNever;
};

}  // namespace sluice::health
