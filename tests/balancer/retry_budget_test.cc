#include "balancer/retry_budget.h"

#include <catch2/catch.hpp>

using sluice::balancer::RetryBudget;
using sluice::balancer::RetryFloor;

namespace {

constexpr uint64_t kStartUs = 1'000'000'000;

// `requests` in `over_us`; how many of them got a retry, if each wants one.
struct Traffic {
  RetryBudget budget;
  RetryFloor floor;
  uint64_t now_us = kStartUs;

  int run(int requests, uint64_t over_us, double share, bool fails) {
    int retries = 0;
    for (int i = 0; i < requests; ++i) {
      budget.count_request(now_us);
      if (fails && budget.try_take(share, now_us, floor)) ++retries;
      now_us += over_us / static_cast<uint64_t>(requests);
    }
    return retries;
  }
};

}  // namespace

TEST_CASE("retry_budget: when all fails the share and the floor are retried, and no more") {
  for (const double share : {0.01, 0.2, 0.5}) {
    Traffic traffic;
    const int retries = traffic.run(1000, 8'000'000, share, true);
    CHECK(retries <= share * 1000 + RetryFloor::kFloor);
    CHECK(retries >= share * 1000 - 1);
  }
}

TEST_CASE("retry_budget: what was not used before is not saved up") {
  Traffic traffic;
  traffic.run(10'000, 10'000'000, 0.2, false);
  // 100 in each slot: three pairs of slots, the first of which began well.
  CHECK(traffic.run(500, 500'000, 0.2, true) <= 3 * (0.2 * 200 + 1) + RetryFloor::kFloor);
}

TEST_CASE("retry_budget: few failures among many requests are all retried") {
  Traffic traffic;
  for (int i = 0; i < 200; ++i) {
    traffic.run(20, 20'000, 0.2, false);
    CHECK(traffic.run(2, 2'000, 0.2, true) == 2);
  }
}

TEST_CASE("retry_budget: a quiet service has the floor, once in a window, for all workers together") {
  RetryBudget one;
  RetryBudget other;
  RetryFloor floor;
  const auto tries = [&](uint64_t now_us) {
    int taken = 0;
    for (RetryBudget* budget : {&one, &other, &one, &other, &one}) {
      taken += budget->try_take(0.2, now_us, floor) ? 1 : 0;
    }
    return taken;
  };
  CHECK(tries(kStartUs) == RetryFloor::kFloor);
  CHECK(tries(kStartUs + RetryBudget::kWindowUs - 1) == 0);
  CHECK(tries(kStartUs + RetryBudget::kWindowUs) == RetryFloor::kFloor);
}

TEST_CASE("retry_budget: requests count for a window and no longer") {
  Traffic traffic;
  traffic.run(1000, 100'000, 0.2, false);
  for (size_t i = 0; i < RetryFloor::kFloor; ++i) {
    CHECK(traffic.floor.try_take(traffic.now_us, RetryBudget::kWindowUs));
  }
  traffic.now_us += RetryBudget::kWindowUs - 300'000;
  CHECK(traffic.run(1, 1, 0.2, true) == 1);
  // The floor is not free yet.
  CHECK_FALSE(traffic.budget.try_take(0.2, kStartUs + RetryBudget::kWindowUs + 99'000, traffic.floor));
}

TEST_CASE("retry_budget: a share of 0 is none at all") {
  Traffic traffic;
  CHECK(traffic.run(1000, 1'000'000, 0, true) == 0);
}
