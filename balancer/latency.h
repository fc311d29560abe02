// Is green as fast as blue, within a ratio? Answered by comparing the upper
// tenth of the two distributions, not two noisy quantiles.
//
// For each q in {0.90, 0.95, 0.99}: if green's q-quantile is within `ratio` of
// blue's, at most 1 - q of green's requests are slower than ratio times blue's
// quantile. So
//
//   1. blue's quantile is taken at its lower confidence limit, the order
//      statistic of rank n·q - z·sqrt(n·q·(1-q)) (Hahn and Meeker, "Statistical
//      Intervals", 1991, 5.2: the binomial limits of a quantile);
//   2. green's requests above ratio times that are counted, and the share's
//      upper Wilson bound must not exceed 1 - q.
//
// Green must show that it is not slower (a test of non-inferiority): little
// data gives wide bounds and no pass. All three must hold, and so no correction
// for asking three times is due (R. L. Berger, "Multiparameter hypothesis
// testing and acceptance sampling", Technometrics 24, 1982). Both sides use
// z = 1.4, which together makes about z = 2 for the difference (Goldstein and
// Healy, "The graphical presentation of a collection of means", JRSS A 158,
// 1995). With equal distributions and ratio 1.5 that takes from about 200
// green requests (light tails) to about 2,000 (log-normal, sigma 1).
//
// Whoever lets a step be judged on `least_requests` cannot ask them for more
// than they can show: a quantile that so many requests cannot settle even when
// none of them is over (0.99 takes 194 of them, 0.95 takes 38) is no hindrance
// unless green is shown to be slower at it.
#pragma once

#include <cstdint>

#include "balancer/histogram.h"

namespace sluice::balancer {

struct LatencyComparison {
  bool within = false;      // green has shown that it is not slower
  bool slower = false;      // green has shown that it is; neither: not enough seen
  double quantile = 0;      // the one that is worst for green
  uint64_t allowed_ns = 0;  // ratio times blue's quantile
  double over_share = 0;    // of green's requests above that
  double over_upper = 1;    // its upper bound
  double over_allowed = 0;  // 1 - quantile
};

// Differences below this are the noise of a machine, whatever the ratio.
inline constexpr uint64_t kLatencyNoiseNs = 500'000;

LatencyComparison compare_latency(const HistogramSnapshot& blue, const HistogramSnapshot& green, double ratio,
                                  uint64_t least_requests = 600);

}  // namespace sluice::balancer
