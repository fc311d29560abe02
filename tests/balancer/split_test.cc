#include "balancer/split.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <string>

#include "balancer/hash.h"
#include "balancer/random.h"

using namespace sluice;
using namespace sluice::balancer;

TEST_CASE("split: value and generation are read together") {
  Split split({25, 7});
  CHECK(split.get().green == 25);
  CHECK(split.get().generation == 7);
  split.set({conf::kFullSplit, (uint64_t{1} << 48) - 1});
  CHECK(split.get().green == conf::kFullSplit);
  CHECK(split.get().generation == (uint64_t{1} << 48) - 1);
}

TEST_CASE("split: nothing falls on green at 0, everything at 100") {
  for (const uint64_t number : {uint64_t{0}, uint64_t{1}, ~uint64_t{0} / 2, ~uint64_t{0} - 1, ~uint64_t{0}}) {
    CHECK_FALSE(falls_on_green(number, 0));
    CHECK(falls_on_green(number, conf::kFullSplit));
  }
}

TEST_CASE("split: the share is met within four standard deviations") {
  Random random(11);
  for (const conf::BasisPoints green : {1U, 10U, 500U, 2500U, 5000U, 9999U}) {
    CAPTURE(green);
    constexpr int kRequests = 100'000;
    int greens = 0;
    for (int i = 0; i < kRequests; ++i) greens += falls_on_green(random.next(), green) ? 1 : 0;
    const double share = green / 10'000.0;
    CHECK(std::abs(greens - kRequests * share) <= 4 * std::sqrt(kRequests * share * (1 - share)));
  }
}

TEST_CASE("split: a step of 0.01 moves a ten-thousandth of the numbers, exactly") {
  // Evenly spaced numbers, 100 for each basis point.
  constexpr uint64_t kNumbers = 1'000'000;
  constexpr uint64_t kGap = ~uint64_t{0} / kNumbers;
  for (const conf::BasisPoints green : {0U, 1U, 1234U, 9999U, 10000U}) {
    uint64_t greens = 0;
    for (uint64_t i = 0; i < kNumbers; ++i) greens += falls_on_green(i * kGap + kGap / 2, green) ? 1 : 0;
    CHECK(greens == uint64_t{green} * 100);
  }
}

TEST_CASE("split: a client that is green stays green while the split rises") {
  for (int client = 0; client < 2000; ++client) {
    const uint64_t number = sticky_hash("client-" + std::to_string(client), "web");
    bool green = false;
    for (conf::BasisPoints split = 0; split <= conf::kFullSplit; split += 50) {
      const bool now = falls_on_green(number, split);
      REQUIRE((now || !green));
      green = now;
    }
    REQUIRE(green);
  }
}

TEST_CASE("split: sticky clients are spread like the split") {
  for (const conf::BasisPoints green : {100U, 2500U, 7500U}) {
    CAPTURE(green);
    constexpr int kClients = 100'000;
    int greens = 0;
    for (int i = 0; i < kClients; ++i) {
      const std::string ip = "10." + std::to_string(i >> 16) + "." + std::to_string((i >> 8) & 255) + "." +
                             std::to_string(i & 255);
      greens += falls_on_green(sticky_hash(ip, "web"), green) ? 1 : 0;
    }
    const double share = green / 10'000.0;
    CHECK(std::abs(greens - kClients * share) <= 4 * std::sqrt(kClients * share * (1 - share)));
  }
}
