#include "balancer/baseline.h"

#include <algorithm>

namespace sluice::balancer {

void Baseline::add(uint64_t oks, uint64_t errors, uint64_t now_ms) {
  if (current_.attempts == 0) current_.begun_ms = now_ms;
  current_.attempts += oks + errors;
  current_.errors += errors;
  if (current_.attempts < kStretchAttempts || now_ms - current_.begun_ms < kStretchMs) return;
  previous_ = current_;
  current_ = {};
}

void Baseline::presume(double most) {
  most_upper_ = most;
  frozen_bounds_ = {known().rate, known().lower, most};
  frozen_attempts_ = 0;
}

RateBounds Baseline::known() const {
  return wilson(static_cast<double>(known_errors()), static_cast<double>(known_attempts()));
}

bool Baseline::freeze() {
  if (known_attempts() < kLeastAttempts) return false;
  frozen_bounds_ = known();
  for (double* const bound : {&frozen_bounds_.rate, &frozen_bounds_.lower, &frozen_bounds_.upper}) {
    *bound = std::min(*bound, most_upper_);
  }
  frozen_attempts_ = known_attempts();
  return true;
}

bool Baseline::refine() {
  if (frozen_attempts_ >= kFirmAttempts || known_attempts() < 2 * frozen_attempts_) return false;
  return freeze();
}

}  // namespace sluice::balancer
