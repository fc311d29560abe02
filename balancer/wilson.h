// The Wilson score interval: what can be said about an error rate after
// `errors` of `attempts` (E. B. Wilson, "Probable inference, the law of
// succession, and statistical inference", JASA 22, 1927). Unlike the normal
// interval it stays within 0..1 and is honest at small counts and at no error.
#pragma once

namespace sluice::balancer {

struct RateBounds {
  double rate = 0;
  double lower = 0;
  double upper = 1;
};

// `z` is the number of standard deviations; 2 gives about 95 %. Counts may be
// fractional (decayed). Without an attempt nothing is known: 0..1.
RateBounds wilson(double errors, double attempts, double z = 2.0);

}  // namespace sluice::balancer
