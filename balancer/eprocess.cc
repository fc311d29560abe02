#include "balancer/eprocess.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace sluice::balancer {
namespace {

constexpr double kBrokenRate = 0.9;
constexpr double kLeastBlueRate = 0.001;
constexpr double kMostBlueRate = 0.5;
// Smaller changes of b are not worth the logarithms; any b is sound.
constexpr double kRateTolerance = 0.05;

}  // namespace

EProcess::EProcess(std::initializer_list<double> odds_ratios, double broken_weight)
    : count_(odds_ratios.size() + 1) {
  assert(odds_ratios.size() > 0 && odds_ratios.size() <= kMaxOddsRatios);
  std::copy(odds_ratios.begin(), odds_ratios.end(), odds_ratios_.begin());
  weights_.fill((1 - broken_weight) / static_cast<double>(odds_ratios.size()));
  weights_[count_ - 1] = broken_weight;
  clear();
}

EProcess::Factors EProcess::factors(double green_share, double blue_rate, double green_rate) {
  const double error = green_share * green_rate + (1 - green_share) * blue_rate;
  return {.blue_ok_log = std::log((1 - blue_rate) / (1 - error)),
          .green_ok_log = std::log((1 - green_rate) / (1 - error)),
          .blue_error = blue_rate / error,
          .green_error = green_rate / error};
}

void EProcess::expect(double green_share, double blue_rate) {
  blue_rate = std::clamp(blue_rate, kLeastBlueRate, kMostBlueRate);
  const bool same_rate = std::abs(blue_rate - blue_rate_) <= kRateTolerance * blue_rate_;
  if (same_rate && green_share == green_share_) return;
  if (!same_rate) blue_rate_ = blue_rate;
  green_share_ = green_share;
  const double odds = blue_rate_ / (1 - blue_rate_);
  for (size_t i = 0; i + 1 < count_; ++i) {
    const double green_odds = odds_ratios_[i] * odds;
    factors_[i] = factors(green_share_, blue_rate_, green_odds / (1 + green_odds));
  }
  factors_[count_ - 1] = factors(green_share_, blue_rate_, kBrokenRate);
}

void EProcess::add_oks(uint64_t blue, uint64_t green) {
  if (blue == 0 && green == 0) return;
  for (size_t i = 0; i < count_; ++i) {
    values_[i] *= std::exp(static_cast<double>(blue) * factors_[i].blue_ok_log +
                           static_cast<double>(green) * factors_[i].green_ok_log);
  }
  renew_if_spent();
}

void EProcess::add_error(conf::Colour colour) {
  for (size_t i = 0; i < count_; ++i) {
    values_[i] *= colour == conf::Colour::green ? factors_[i].green_error : factors_[i].blue_error;
  }
  renew_if_spent();
}

void EProcess::clear() {
  values_.fill(1);
  renewal_ = 1;
}

double EProcess::value() const {
  double mean = 0;
  for (size_t i = 0; i < count_; ++i) mean += weights_[i] * values_[i];
  return mean;
}

void EProcess::renew_if_spent() {
  if (value() >= kRenewBelow) return;
  values_.fill(1);
  ++renewal_;
}

}  // namespace sluice::balancer
