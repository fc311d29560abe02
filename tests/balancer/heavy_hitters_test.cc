#include "balancer/heavy_hitters.h"

#include <catch2/catch.hpp>
#include <map>

#include "balancer/random.h"

namespace sluice::balancer {
namespace {

TEST_CASE("heavy_hitters: bounds the true count from both sides and keeps the heavy ones") {
  constexpr size_t kPlaces = 16;
  HeavyHitters table(kPlaces);
  std::map<uint64_t, uint64_t> truth;
  Random random(5);
  for (int i = 0; i < 20'000; ++i) {
    // One key has a third, the rest are 500 rare ones.
    const uint64_t key = random.below(3) == 0 ? 1 : 2 + random.below(500);
    ++truth[key];
    table.add(key, std::to_string(key));
  }
  REQUIRE(table.total() == 20'000);
  for (const HeavyHitters::Entry& entry : table.ranking()) {
    CHECK(entry.guaranteed() <= truth[entry.key]);
    CHECK(entry.estimate >= truth[entry.key]);
    CHECK(entry.label == std::to_string(entry.key));
  }
  CHECK(table.ranking().front().key == 1);
  CHECK(table.ranking().size() == kPlaces);
}

TEST_CASE("heavy_hitters: halving keeps the order and drops what is gone") {
  HeavyHitters table(4);
  for (int i = 0; i < 8; ++i) table.add(1, "often");
  table.add(2, "once");
  table.halve();
  CHECK(table.total() == 4);
  REQUIRE(table.find(1) != nullptr);
  CHECK(table.find(1)->estimate == 4);
  CHECK(table.find(2) == nullptr);
  table.clear();
  CHECK(table.total() == 0);
  CHECK(table.ranking().empty());
}

TEST_CASE("heavy_hitters: a long label is cut") {
  HeavyHitters table(1);
  table.add(1, std::string(1000, 'x'));
  CHECK(table.ranking().front().label.size() == HeavyHitters::kLabelBytes);
}

}  // namespace
}  // namespace sluice::balancer
