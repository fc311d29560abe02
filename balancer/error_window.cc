#include "balancer/error_window.h"

#include <algorithm>

namespace sluice::balancer {

ErrorWindow::ErrorWindow(uint64_t window_ms) : slot_ms_(std::max<uint64_t>(1, window_ms / kSlots)) {}

void ErrorWindow::add(uint64_t oks, uint64_t errors, uint64_t now_ms) {
  const uint64_t number = now_ms / slot_ms_ + 1;
  Slot& slot = slots_[number % kSlots];
  if (slot.number != number) slot = {number, {}};
  slot.counts.attempts += oks + errors;
  slot.counts.errors += errors;
}

ErrorWindow::Counts ErrorWindow::counts(uint64_t now_ms) const {
  const uint64_t number = now_ms / slot_ms_ + 1;
  Counts sum;
  for (const Slot& slot : slots_) {
    if (slot.number == 0 || slot.number + kSlots <= number) continue;
    sum.attempts += slot.counts.attempts;
    sum.errors += slot.counts.errors;
  }
  return sum;
}

void ErrorWindow::clear() {
  slots_.fill({});
}

}  // namespace sluice::balancer
