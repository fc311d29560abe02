#include "balancer/wilson.h"

#include <algorithm>
#include <cmath>

namespace sluice::balancer {

RateBounds wilson(double errors, double attempts, double z) {
  if (attempts <= 0) return {};
  const double rate = std::clamp(errors / attempts, 0.0, 1.0);
  const double z2 = z * z / attempts;
  const double centre = rate + z2 / 2;
  const double spread = z * std::sqrt((rate * (1 - rate) + z2 / 4) / attempts);
  return {rate, std::max(0.0, (centre - spread) / (1 + z2)), std::min(1.0, (centre + spread) / (1 + z2))};
}

}  // namespace sluice::balancer
