// ErrorWindow: green's error rate over the last `window_ms`, for the plain rule
// max_error_rate. Ten slots that are reused in turn; so the window is between
// nine and ten tenths of what was asked for.
//
// Thread: none of its own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace sluice::balancer {

class ErrorWindow {
 public:
  struct Counts {
    uint64_t attempts = 0;
    uint64_t errors = 0;
  };

  explicit ErrorWindow(uint64_t window_ms);

  void add(uint64_t oks, uint64_t errors, uint64_t now_ms);
  Counts counts(uint64_t now_ms) const;
  void clear();

 private:
  static constexpr size_t kSlots = 10;
  struct Slot {
    uint64_t number = 0;  // of all slots since time 0, plus 1; 0: never used
    Counts counts;
  };
  uint64_t slot_ms_;
  std::array<Slot, kSlots> slots_{};
};

}  // namespace sluice::balancer
