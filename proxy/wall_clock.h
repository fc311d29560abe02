// WallClock: when something was by the wall clock, from when it was by a worker's.
//
// A reading costs a tenth of a line of the access log, so one serves for
// kAskEveryUs. Times are late by what the worker had done in its turn when it
// asked, as they would be if each asked; so the next reading may put one's line
// before the line before it by that much. A clock that is set is followed so
// much later.
//
// Owner and thread: a worker's. Times are microseconds, results since the epoch.
#pragma once

#include <cstdint>

#include "proxy/loop.h"

namespace sluice::proxy {

class WallClock {
 public:
  static constexpr uint64_t kAskEveryUs = 10'000;

  // `now_us`: the loop's time, which never goes back.
  uint64_t at(uint64_t now_us) {
    if (now_us >= ask_at_us_) {
      ahead_us_ = Loop::wall_clock_us() - now_us;
      ask_at_us_ = now_us + kAskEveryUs;
    }
    return now_us + ahead_us_;
  }

 private:
  uint64_t ahead_us_ = 0;
  uint64_t ask_at_us_ = 0;
};

}  // namespace sluice::proxy
