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

// Kullback and Leibler's, of two coins.
double divergence(double seen, double split) {
  double sum = 0;
  if (seen > 0) sum += seen * std::log(seen / split);
  if (seen < 1) sum += (1 - seen) * std::log((1 - seen) / (1 - split));
  return sum;
}

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
  if (attempts == 0) return;
  const double seen = green_ / attempts;
  value_ = by_chance(seen) ? split_ : inside(std::round(seen / kSeenStep) * kSeenStep);
}

bool GreenShare::by_chance(double seen) const {
  const double attempts = blue_ + green_;
  if (attempts < kLeastAttempts) {
    return attempts < kFewestAttempts || seen < split_ || attempts * divergence(seen, split_) <= kSurprise;
  }
  return std::abs(seen - split_) <= kSigmas * std::sqrt(split_ * (1 - split_) / attempts);
}

}  // namespace sluice::balancer
