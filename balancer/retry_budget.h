// RetryBudget: may a failed request be tried once more?
//
// Retries help when little fails and do harm when much does, so they may be a
// share of the requests that come at the same time, and what was not used
// before is not saved up. Over the last kWindowUs there are at most `share`
// retries for each request (the idea of Envoy's retry budget and of Finagle's);
// over its last two slots one more, so that a quiet time before does not let
// all that fails now be retried at once. A service with few requests would get
// none that way: kFloor retries of all workers within kWindowUs are allowed
// beside it, unless `share` is 0.
//
// Thread: a RetryBudget is one worker's, a RetryFloor is shared by all. Owners:
// the worker's pool, the UpstreamState. Times: microseconds of the loop's clock.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace sluice::balancer {

class RetryFloor {
 public:
  static constexpr size_t kFloor = 3;

  // Takes one of the kFloor retries that any `window_us` may have.
  bool try_take(uint64_t now_us, uint64_t window_us) {
    for (std::atomic<uint64_t>& one : taken_us_) {
      uint64_t before = one.load(std::memory_order_relaxed);
      const bool free = before == 0 || before + window_us <= now_us;
      if (free && one.compare_exchange_strong(before, now_us, std::memory_order_relaxed)) return true;
    }
    return false;
  }

 private:
  std::array<std::atomic<uint64_t>, kFloor> taken_us_{};  // 0: never
};

class RetryBudget {
 public:
  static constexpr uint64_t kWindowUs = 10'000'000;
  static constexpr uint64_t kSlotUs = 100'000;

  void count_request(uint64_t now_us);
  // Takes a retry, if there is one; `share` is 0 to 1.
  bool try_take(double share, uint64_t now_us, RetryFloor& floor);

 private:
  static constexpr size_t kSlots = kWindowUs / kSlotUs;
  struct Tally {
    uint32_t requests = 0;
    uint32_t retries = 0;
  };

  void advance(uint64_t now_us);

  std::array<Tally, kSlots> slots_{};
  Tally window_;         // the sum of the slots
  uint64_t latest_ = 0;  // the number of the slot of the last call
};

}  // namespace sluice::balancer
