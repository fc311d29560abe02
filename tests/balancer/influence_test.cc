#include "balancer/influence.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "balancer/random.h"

namespace sluice::balancer {
namespace {

constexpr uint64_t kPath = 77;

// `clients` clients of equal weight, one path.
Traffic even_traffic(uint64_t clients) {
  Traffic traffic;
  for (uint64_t i = 0; i < 1000; ++i) traffic.sample({1 + i % clients, {}}, {kPath, {}}, 1);
  return traffic;
}

uint64_t admitted(Influence& influence, uint64_t client, uint64_t path, int errors) {
  uint64_t count = 0;
  for (int i = 0; i < errors; ++i) count += influence.admit(client, path) ? 1 : 0;
  return count;
}

TEST_CASE("influence: without a sample of the traffic everything is admitted") {
  const Traffic traffic;
  Influence influence(traffic);
  CHECK(admitted(influence, 5, kPath, 1000) == 1000);
}

TEST_CASE("influence: a small client alone is held, and again after clear") {
  const Traffic traffic = even_traffic(500);
  Influence influence(traffic);
  CHECK(admitted(influence, 5000, kPath, 1000) == Influence::kFreeErrors);
  influence.clear();
  CHECK(admitted(influence, 5000, kPath, 1000) == Influence::kFreeErrors);
}

TEST_CASE("influence: a client that fails on and on among a crowd is held for as long as it does") {
  constexpr uint64_t kBroken = 5000;
  constexpr uint64_t kOneIn = 40;  // of the traffic
  Traffic traffic;
  for (uint64_t i = 0; i < 1000; ++i) traffic.sample({i % kOneIn == 0 ? kBroken : 1 + i, {}}, {kPath, {}}, 1);
  Random random(1);
  Influence influence(traffic);
  uint64_t most_at_once = 0;  // between two errors of the crowd
  uint64_t of_broken = 0;
  uint64_t of_crowd = 0;
  for (int i = 0; i < 20'000; ++i) {
    of_crowd += influence.admit(1 + random.below(1000), 0) ? 1 : 0;
    const uint64_t at_once = admitted(influence, kBroken, 0, 20);
    most_at_once = std::max(most_at_once, at_once);
    of_broken += at_once;
  }
  CHECK(most_at_once <= Influence::kFreeErrors);
  CHECK(of_crowd >= 19'900);
  // Twice its share, and one of half a window.
  const double its_share = traffic.client_share(kBroken);
  CHECK(its_share < 1.5 / kOneIn);
  CHECK(static_cast<double>(of_broken) <=
        static_cast<double>(of_broken + of_crowd) * (2 * its_share + 1.0 / 64));
}

TEST_CASE("influence: a client that makes the traffic may make the errors") {
  const Traffic traffic = even_traffic(1);
  Influence influence(traffic);
  CHECK(admitted(influence, 1, kPath, 1000) == 1000);
}

TEST_CASE("influence: a crowd is not held, whatever its clients weigh") {
  for (const uint64_t clients : {2, 3, 10, 400}) {
    INFO(clients << " clients");
    const Traffic traffic = even_traffic(clients);
    Influence influence(traffic);
    uint64_t count = 0;
    for (uint64_t i = 0; i < 1000; ++i) count += influence.admit(1 + i % clients, kPath) ? 1 : 0;
    CHECK(count >= 990);
  }
}

TEST_CASE("influence: a sample counts for as many as it was one of") {
  Traffic traffic;
  for (uint64_t i = 0; i < 64; ++i) traffic.sample({1, {}}, {kPath, {}}, 1);
  CHECK(traffic.known());
  for (uint64_t i = 0; i < 64; ++i) traffic.sample({2, {}}, {kPath, {}}, 10);
  CHECK(traffic.client_share(1) == Approx(64.0 / 704));
  CHECK(traffic.client_share(2) == Approx(640.0 / 704));
}

TEST_CASE("influence: a path that makes the errors is thinned, not silenced") {
  Traffic traffic;
  for (uint64_t i = 0; i < 1000; ++i) traffic.sample({1 + i, {}}, {1 + i % 20, {}}, 1);
  Influence influence(traffic);
  uint64_t count = 0;
  for (uint64_t i = 0; i < 1000; ++i) count += influence.admit(1 + i, 7) ? 1 : 0;
  CHECK(count >= 1000 / Influence::kPathThinning);
  CHECK(count <= 400);
}

TEST_CASE("influence: what has no hash is admitted") {
  const Traffic traffic = even_traffic(500);
  Influence influence(traffic);
  CHECK(admitted(influence, 0, 0, 100) == 100);
}

}  // namespace
}  // namespace sluice::balancer
