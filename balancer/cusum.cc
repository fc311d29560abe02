#include "balancer/cusum.h"

#include <algorithm>
#include <cmath>

namespace sluice::balancer {

Cusum::Cusum(double normal_rate) {
  set_normal_rate(normal_rate);
}

void Cusum::set_normal_rate(double normal_rate) {
  const double p0 = std::clamp(normal_rate, kLeastNormalRate, kMostNormalRate);
  // Half way to 1 bounds both alternatives where blue's own rate is high.
  const double half_way = (1 + p0) / 2;
  const double rates[] = {std::min(std::max(5 * p0, 0.02), half_way), std::max(0.5, half_way)};
  for (size_t i = 0; i < alternatives_.size(); ++i) {
    alternatives_[i].ok_step = std::log((1 - rates[i]) / (1 - p0));
    alternatives_[i].error_step = std::log(rates[i] / p0);
  }
  normal_rate_ = p0;
}

void Cusum::add_oks(uint64_t count) {
  for (Alternative& alternative : alternatives_) {
    alternative.sum = std::max(0.0, alternative.sum + static_cast<double>(count) * alternative.ok_step);
  }
}

void Cusum::add_error() {
  for (Alternative& alternative : alternatives_) {
    alternative.sum = std::min(kCeiling, alternative.sum + alternative.error_step);
  }
}

void Cusum::clear() {
  for (Alternative& alternative : alternatives_) alternative.sum = 0;
}

double Cusum::value() const {
  return std::max(alternatives_[0].sum, alternatives_[1].sum);
}

}  // namespace sluice::balancer
