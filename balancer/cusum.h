// Cusum: has the error rate of one upstream risen suddenly? (Detector A.)
//
// Page's cumulative sum test (E. S. Page, "Continuous inspection schemes",
// Biometrika 41, 1954). With p0 the rate that is normal and p1 one that is not,
// each attempt adds the logarithm of its likelihood ratio, and the sum never
// falls below zero:
//
//   S = max(0, S + (error ? ln(p1/p0) : ln((1-p1)/(1-p0))))
//
// It forgets the good past, so a fault after a week of health is seen as fast
// as one at the start. While the true rate is at most p0, an excursion from
// zero reaches `kThreshold` with a chance of at most e^-18, 1.5e-8.
//
// Two alternatives are watched side by side: `worse`, p1 = max(5 p0, 2 %), and
// `broken`, p1 = 50 %, which needs three or four errors in a row where the
// first needs seven to twelve. A sum never passes kCeiling, so that it comes
// down again within a bounded time after the fault.
//
// Thread: none of its own. Cost: a few floating-point operations a call.
#pragma once

#include <array>
#include <cstdint>

namespace sluice::balancer {

class Cusum {
 public:
  static constexpr double kThreshold = 18.0;
  static constexpr double kCeiling = 2 * kThreshold;
  // Below the weight of one error: what is left of it as good as over.
  static constexpr double kRest = 1.0;
  static constexpr double kLeastNormalRate = 0.001;
  static constexpr double kMostNormalRate = 0.9;

  // `normal_rate` is p0; it is held within kLeastNormalRate..kMostNormalRate.
  explicit Cusum(double normal_rate);

  // A run of ok attempts in closed form: exactly what as many calls would do.
  void add_oks(uint64_t count);
  void add_error();

  // Forgets what was seen, not what is normal.
  void clear();
  // Changes what is normal and keeps the sums: each step of a sum only needs
  // the p0 that was known before it.
  void set_normal_rate(double normal_rate);

  double normal_rate() const { return normal_rate_; }
  // The larger of the two sums.
  double value() const;
  bool at_rest() const { return value() <= kRest; }
  bool alarmed() const { return value() >= kThreshold; }

 private:
  struct Alternative {
    double ok_step = 0;     // below zero
    double error_step = 0;  // above zero
    double sum = 0;
  };
  double normal_rate_ = 0;
  std::array<Alternative, 2> alternatives_;  // worse, broken
};

}  // namespace sluice::balancer
