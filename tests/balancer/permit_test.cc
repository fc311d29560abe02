#include "balancer/permit.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

using namespace sluice::balancer;

TEST_CASE("permit: a place that is given back for want of another was never used") {
  const auto own = std::make_shared<Cap>("own", 8, [](uint32_t) {});
  const auto shared = std::make_shared<Cap>("shared", 1, [](uint32_t) {});
  const auto caps = std::make_shared<const CapSet>(CapSet{own, shared});
  const Permit first = Permit::try_acquire(caps, Cap::kNobody - 1, nullptr);
  CHECK(first);
  CHECK_FALSE(Permit::try_acquire(caps, Cap::kNobody - 1, nullptr));
  CHECK(own->used() == 1);
  CHECK(own->peak() == 1);
  CHECK(shared->peak() == 1);
}

TEST_CASE("permit: all places or none") {
  auto wide = std::make_shared<Cap>("wide", 5, [](uint32_t) {});
  auto tight = std::make_shared<Cap>("tight", 1, [](uint32_t) {});
  const auto caps = std::make_shared<const CapSet>(CapSet{wide, tight});
  Cap* blocking = nullptr;
  Permit first = Permit::try_acquire(caps, Cap::kNobody - 1, &blocking);
  REQUIRE(first);
  CHECK(blocking == nullptr);
  {
    Permit second = Permit::try_acquire(caps, Cap::kNobody - 1, &blocking);
    CHECK_FALSE(second);
    CHECK(blocking == tight.get());
    CHECK(wide->used() == 1);
  }
  Permit moved = std::move(first);
  CHECK_FALSE(first);  // NOLINT(bugprone-use-after-move)
  CHECK(tight->used() == 1);
  moved = Permit();
  CHECK(tight->used() == 0);
  CHECK(wide->used() == 0);
  moved = Permit::try_acquire(caps, Cap::kNobody - 1, nullptr);
  moved.release();
  moved.release();
  CHECK(wide->used() == 0);
}

TEST_CASE("permit: many threads under two shared caps exceed neither and leave nothing behind") {
  constexpr uint32_t kThreads = 4;
  auto own_a = std::make_shared<Cap>("a", 2, [](uint32_t) {});
  auto own_b = std::make_shared<Cap>("b", 2, [](uint32_t) {});
  auto shared = std::make_shared<Cap>("shared", 3, [](uint32_t) {});
  // In opposite orders, as two upstreams may name them.
  const auto caps_a = std::make_shared<const CapSet>(CapSet{own_a, shared});
  const auto caps_b = std::make_shared<const CapSet>(CapSet{shared, own_b});
  std::atomic<uint32_t> inside{0};
  std::atomic<bool> exceeded{false};
  std::atomic<uint32_t> taken{0};
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 20'000; ++round) {
        const Permit permit = Permit::try_acquire(i % 2 == 0 ? caps_a : caps_b, Cap::kNobody - 1, nullptr);
        if (!permit) continue;
        ++taken;
        if (inside.fetch_add(1) + 1 > 3) exceeded = true;
        inside.fetch_sub(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_FALSE(exceeded);
  CHECK(taken > 0);
  CHECK(shared->peak() <= 3);
  for (const auto& cap : {own_a, own_b, shared}) CHECK(cap->used() == 0);
}
