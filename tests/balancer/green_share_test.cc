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
