#include "balancer/green_share.h"

#include <algorithm>
#include <cmath>

namespace sluice::balancer {
namespace {

constexpr double kLeastShare = 1e-4;  // one step of a split
constexpr double kSigmas = 4;
// A share that was seen is rounded, so that the detectors' factors do not have
// to be computed anew for each attempt.
constexpr double kSeenStep = 1e-3;

double inside(double share) {
  return std::clamp(share, kLeastShare, 1 - kLeastShare);
}

}  // namespace

void GreenShare::begin_step(conf::BasisPoints split) {
  split_ = inside(static_cast<double>(split) / conf::kFullSplit);
  value_ = split_;
  blue_ = 0;
  green_ = 0;
}

void GreenShare::add(uint64_t blue, uint64_t green) {
  blue_ += static_cast<double>(blue);
  green_ += static_cast<double>(green);
  double attempts = blue_ + green_;
  while (attempts > kMostAttempts) {
    blue_ /= 2;
    green_ /= 2;
    attempts /= 2;
  }
  value_ = split_;
  if (attempts < kLeastAttempts) return;
  const double seen = green_ / attempts;
  const double chance = kSigmas * std::sqrt(split_ * (1 - split_) / attempts);
  if (std::abs(seen - split_) > chance) value_ = inside(std::round(seen / kSeenStep) * kSeenStep);
}

}  // namespace sluice::balancer
