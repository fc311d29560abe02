// EProcess: is green worse than blue at the same moment? (Detector B.)
//
// Each attempt is green with probability θ and blue otherwise, by lot. If both
// would fail alike, the colour of an attempt says nothing about its outcome,
// whatever the outcome's probability is at that moment. Against that stands an
// alternative: green fails with probability g, blue with b. One attempt of
// colour c and outcome y multiplies
//
//   E *= P(y | c) / (θ P(y | green) + (1-θ) P(y | blue))
//
//            green                      blue
//   error    g     / (θg + (1-θ)b)      b     / (θg + (1-θ)b)
//   ok       (1-g) / (1 - θg - (1-θ)b)  (1-b) / (1 - θg - (1-θ)b)
//
// If both fail alike, the expectation of each factor is θ·(green) + (1-θ)·(blue)
// = 1 for either outcome, so E is a martingale and, by Ville's inequality, ever
// exceeds 1/α with a chance of at most α, however often one looks. An outage of
// something that both depend on moves both and leaves E where it is. With g and
// b small and b·r = g, the factor of an error is r/(1-θ+rθ) and that of an ok 1:
// the test of Lindon and Malek, arXiv 2011.03567, which this extends by what ok
// attempts tell: a blue that still answers while green fails.
//
// The alternatives are a few ratios of odds and `broken`, g of 90 %; their
// weighted mean is again a martingale. b follows blue's recent rate; it is fixed
// before the attempts that it judges, which is all that is needed.
//
// When the mean falls below kRenewBelow everything starts again from 1 (a
// renewal), so that a late fault is not buried under a good past. The first
// stretch may spend kFirstShare of α, the k-th after it the rest times
// 1/(k(k-1)); as Σ 1/(k(k-1)) = 1 from k = 2 on, the chances sum to α.
//
// Thread: none of its own. Cost: an exponential per alternative and call.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "conf/config.h"

namespace sluice::balancer {

class EProcess {
 public:
  static constexpr double kRenewBelow = 0.1;
  static constexpr double kFirstShare = 0.85;
  static constexpr size_t kMaxOddsRatios = 3;

  // `broken` has `broken_weight` (0..1), the ratios share the rest equally.
  EProcess(std::initializer_list<double> odds_ratios, double broken_weight);

  // What holds for the attempts that are added next: `green_share` is θ, 0..1,
  // `blue_rate` is b. Must not depend on those attempts.
  void expect(double green_share, double blue_rate);

  // A call is one look: a run of ok attempts may be added in one.
  void add_oks(uint64_t blue, uint64_t green);
  void add_error(conf::Colour colour);
  void clear();

  // The weighted mean since the last renewal.
  double value() const;
  // The alternative `broken` alone.
  double broken_value() const { return values_[count_ - 1]; }
  // Renewals since clear(), counted from 1.
  uint64_t renewal() const { return renewal_; }

  // The value that has, over all renewals together, a chance of at most
  // `false_alarm_rate` to be reached while both fail alike.
  double threshold(double false_alarm_rate) const {
    const auto k = static_cast<double>(renewal_);
    const double share = renewal_ == 1 ? kFirstShare : (1 - kFirstShare) / (k * (k - 1));
    return 1 / (share * false_alarm_rate);
  }
  bool alarmed(double false_alarm_rate) const { return value() >= threshold(false_alarm_rate); }

 private:
  static constexpr size_t kMaxAlternatives = kMaxOddsRatios + 1;
  // What one attempt multiplies a value by; for ok attempts the logarithm.
  struct Factors {
    double blue_ok_log = 0;
    double green_ok_log = 0;
    double blue_error = 1;
    double green_error = 1;
  };
  static Factors factors(double green_share, double blue_rate, double green_rate);
  void renew_if_spent();

  size_t count_ = 0;  // alternatives in use; `broken` is the last
  std::array<double, kMaxOddsRatios> odds_ratios_{};
  std::array<double, kMaxAlternatives> weights_{};
  std::array<double, kMaxAlternatives> values_{};
  std::array<Factors, kMaxAlternatives> factors_{};
  double green_share_ = -1;
  double blue_rate_ = -1;
  uint64_t renewal_ = 1;
};

}  // namespace sluice::balancer
