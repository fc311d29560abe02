#include "balancer/random.h"

#include <array>
#include <catch2/catch.hpp>
#include <cmath>

using sluice::balancer::Random;

TEST_CASE("random: a seed gives the same numbers everywhere") {
  Random random(1);
  CHECK(random.next() == 0xb3f2af6d0fc710c5U);
  CHECK(random.next() == 0x853b559647364ceaU);
  CHECK(random.next() == 0x92f89756082a4514U);
  CHECK(Random(2).next() != Random(1).next());
}

TEST_CASE("random: below() is uniform and stays below") {
  Random random(5);
  for (const uint64_t bound : {uint64_t{1}, uint64_t{2}, uint64_t{7}, uint64_t{1} << 63}) {
    for (int i = 0; i < 1000; ++i) REQUIRE(random.below(bound) < bound);
  }
  std::array<int, 10> counts{};
  for (int i = 0; i < 100'000; ++i) ++counts[random.below(10)];
  for (const int count : counts) CHECK(std::abs(count - 10'000) < 4 * std::sqrt(9'000));
}

TEST_CASE("random: unit() is at least 0, below 1 and spread between") {
  Random random(6);
  double sum = 0;
  for (int i = 0; i < 100'000; ++i) {
    const double number = random.unit();
    REQUIRE(number >= 0);
    REQUIRE(number < 1);
    sum += number;
  }
  CHECK(std::abs(sum / 100'000 - 0.5) < 0.004);
}
