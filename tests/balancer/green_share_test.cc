#include "balancer/green_share.h"

#include <catch2/catch.hpp>

#include "balancer/random.h"

namespace sluice::balancer {
namespace {

void feed(GreenShare& share, double real, int attempts, uint64_t seed) {
  Random random(seed);
  for (int i = 0; i < attempts; ++i) {
    const bool green = random.unit() < real;
    share.add(green ? 0 : 1, green ? 1 : 0);
  }
}

TEST_CASE("green_share: is the split while chance explains what is seen") {
  GreenShare share;
  share.begin_step(2500);
  CHECK(share.value() == 0.25);
  feed(share, 0.25, 20'000, 1);
  CHECK(share.value() == 0.25);
}

TEST_CASE("green_share: follows what is seen when stickiness moves it, until the next step") {
  GreenShare share;
  share.begin_step(1000);
  feed(share, 0.3, 20'000, 2);
  CHECK(share.value() == Approx(0.3).margin(0.03));
  share.begin_step(5000);
  CHECK(share.value() == 0.5);
}

TEST_CASE("green_share: one sticky client is seen as what it is within a few attempts") {
  GreenShare share;
  share.begin_step(5000);
  share.add(0, 20);
  CHECK(share.value() == 0.5);
  share.add(0, 1);
  CHECK(share.value() > 0.99);
  share.begin_step(100);
  share.add(1, 2);  // which chance does three times in ten thousand
  CHECK(share.value() == 0.01);
  share.add(0, 3);
  CHECK(share.value() > 0.8);
}

TEST_CASE("green_share: a green whose first attempts take their time has no smaller share") {
  GreenShare share;
  share.begin_step(5000);
  share.add(400, 1);
  CHECK(share.value() == 0.5);
  share.add(200, 0);
  CHECK(share.value() < 0.01);
}

TEST_CASE("green_share: chance is hardly ever taken for stickiness") {
  uint64_t taken = 0;
  for (const conf::BasisPoints split : {100, 1000, 5000, 9900}) {
    for (uint64_t seed = 0; seed < 500; ++seed) {
      GreenShare share;
      share.begin_step(split);
      Random random(seed);
      for (int i = 0; i < 400; ++i) {
        const bool green = random.below(conf::kFullSplit) < split;
        share.add(green ? 0 : 1, green ? 1 : 0);
        taken += share.value() == static_cast<double>(split) / conf::kFullSplit ? 0 : 1;
      }
    }
  }
  CHECK(taken == 0);
}

TEST_CASE("green_share: never becomes certain") {
  GreenShare share;
  share.begin_step(conf::kFullSplit);
  CHECK(share.value() < 1);
  share.add(0, 100'000);
  CHECK(share.value() < 1);
  share.begin_step(0);
  CHECK(share.value() > 0);
}

}  // namespace
}  // namespace sluice::balancer
