// Baseline: blue's own error rate, what green is measured against.
//
// It is learned all the time, over a sliding stretch that is both long enough
// to be exact and recent enough to be true: at least kStretchAttempts and at
// least kStretchMs, at most about twice the larger of the two. It does not
// expire: a blue without traffic keeps what was last known of it.
//
// freeze() takes what is known as the rate that a step is judged by. With fewer
// than kLeastAttempts nothing can be frozen (a cold start). As long as the
// frozen one rests on fewer than kFirmAttempts it is taken again whenever what
// is known has doubled, since 200 attempts without an error only say "under
// 2 %".
//
// Where nobody may wait for kLeastAttempts, presume() says what passes for normal
// until then, and bounds what does afterwards.
//
// Thread: none of its own.
#pragma once

#include <cstdint>

#include "balancer/wilson.h"

namespace sluice::balancer {

// What was seen of blue, for those who start again.
struct BlueKnown {
  uint64_t attempts = 0;
  uint64_t errors = 0;

  bool operator==(const BlueKnown&) const = default;
};

class Baseline {
 public:
  static constexpr uint64_t kLeastAttempts = 200;
  static constexpr uint64_t kFirmAttempts = 5000;
  static constexpr uint64_t kStretchAttempts = 20000;
  static constexpr uint64_t kStretchMs = 5 * 60 * 1000;

  void add(uint64_t oks, uint64_t errors, uint64_t now_ms);
  // bounds().upper is `most` until freeze(), and never more from then on.
  void presume(double most);

  // False, and nothing changes, while too little is known.
  bool freeze();
  // True when what was learned meanwhile made the frozen rate firmer.
  bool refine();

  bool frozen() const { return frozen_attempts_ != 0; }
  const RateBounds& bounds() const { return frozen_bounds_; }
  uint64_t frozen_attempts() const { return frozen_attempts_; }
  // What freeze() would rest on now.
  uint64_t known_attempts() const { return previous_.attempts + current_.attempts; }
  uint64_t known_errors() const { return previous_.errors + current_.errors; }
  // What freeze() would take now.
  RateBounds known() const;

 private:
  struct Stretch {
    uint64_t attempts = 0;
    uint64_t errors = 0;
    uint64_t begun_ms = 0;
  };
  Stretch previous_;
  Stretch current_;
  double most_upper_ = 1;
  RateBounds frozen_bounds_;
  uint64_t frozen_attempts_ = 0;
};

}  // namespace sluice::balancer
