#include "balancer/retry_budget.h"

#include <algorithm>

namespace sluice::balancer {

void RetryBudget::advance(uint64_t now_us) {
  const uint64_t number = now_us / kSlotUs;
  for (uint64_t left = std::min<uint64_t>(number - latest_, kSlots); left > 0; --left) {
    Tally& oldest = slots_[(number - left + 1) % kSlots];
    window_.requests -= oldest.requests;
    window_.retries -= oldest.retries;
    oldest = {};
  }
  latest_ = number;
}

void RetryBudget::count_request(uint64_t now_us) {
  advance(now_us);
  ++slots_[latest_ % kSlots].requests;
  ++window_.requests;
}

bool RetryBudget::try_take(double share, uint64_t now_us, RetryFloor& floor) {
  if (share <= 0) return false;
  advance(now_us);
  Tally& now = slots_[latest_ % kSlots];
  const Tally& before = slots_[(latest_ + kSlots - 1) % kSlots];
  const bool in_window = window_.retries + 1 <= share * window_.requests;
  const bool lately = now.retries + before.retries <= share * (now.requests + before.requests);
  if (!in_window || !lately) return floor.try_take(now_us, kWindowUs);
  ++now.retries;
  ++window_.retries;
  return true;
}

}  // namespace sluice::balancer
