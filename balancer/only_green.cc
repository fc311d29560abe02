#include "balancer/only_green.h"

#include <algorithm>
#include <cmath>

#include "balancer/cusum.h"

namespace sluice::balancer {

namespace {

constexpr double kLeastRate = 1e-9;
constexpr double kMostRate = 1 - 1e-9;

double log_likelihood(const Tally& seen, double rate) {
  const double held = std::clamp(rate, kLeastRate, kMostRate);
  return seen.errors * std::log(held) + (seen.attempts - seen.errors) * std::log1p(-held);
}

}  // namespace

double least_risen_rate(double normal_upper) {
  const double at_odds = kLeastRisenOdds * normal_upper / (1 + (kLeastRisenOdds - 1) * normal_upper);
  return std::max(kLeastRisenRate, at_odds);
}

double only_green_log(const Tally& green, const Tally& blue, double normal_rate, double least_risen) {
  const Tally both{green.attempts + blue.attempts, green.errors + blue.errors};
  return log_likelihood(green, std::max(green.rate(), least_risen)) +
         log_likelihood(blue, std::max(normal_rate, Cusum::kLeastNormalRate)) -
         log_likelihood(both, both.rate());
}

double risen_log(const Tally& seen, double normal_rate) {
  const double normal = std::max(normal_rate, Cusum::kLeastNormalRate);
  if (seen.rate() <= normal) return 0;
  return log_likelihood(seen, seen.rate()) - log_likelihood(seen, normal);
}

}  // namespace sluice::balancer
