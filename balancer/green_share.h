// GreenShare: θ, the share of attempts that green really gets.
//
// Without a reason for anything else it is the split, which is exact. Sticky
// clients, overrides and retries can move it; so the share of the last few
// thousand attempts is kept as well, and taken once it differs from the split
// by more than chance explains: with kLeastAttempts by four standard deviations,
// with fewer, but kFewestAttempts, by Chernoff's bound, e^(-n D), D the divergence of
// what is seen from the split (W. Hoeffding, "Probability inequalities for sums of
// bounded random variables", JASA 58, 1963), since with a single sticky client it is
// all of them. So few are only believed where they give green more than the split: a
// green that is slow has fewer behind it for a while, and a share that is taken as
// too small turns its errors into evidence.
//
// Thread: none of its own.
#pragma once

#include <cstdint>

#include "conf/config.h"

namespace sluice::balancer {

class GreenShare {
 public:
  static constexpr double kLeastAttempts = 500;
  static constexpr double kFewestAttempts = 5;
  static constexpr double kSurprise = 14;        // n D; chance has e^-14
  static constexpr double kMostAttempts = 8000;  // then both counts are halved

  void begin_step(conf::BasisPoints split);
  void add(uint64_t blue, uint64_t green);

  // Strictly between 0 and 1, so that no likelihood is ever zero.
  double value() const { return value_; }
  // What the split alone would say, within the same bounds.
  double split() const { return split_; }

 private:
  bool by_chance(double seen) const;

  double split_ = 0;
  double value_ = 0.5;
  double blue_ = 0;
  double green_ = 0;
};

}  // namespace sluice::balancer
