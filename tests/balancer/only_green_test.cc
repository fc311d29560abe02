#include "balancer/only_green.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "balancer/cusum.h"

namespace sluice::balancer {
namespace {

constexpr double kNormal = 0.003;
const double kRisen = least_risen_rate(0.004);

TEST_CASE("only_green: grows while green fails and blue does not, and falls when blue fails as well") {
  double before = 0;
  for (const double attempts : {200.0, 400.0, 800.0}) {
    const double log =
        only_green_log({attempts, 0.042 * attempts}, {attempts, kNormal * attempts}, kNormal, kRisen);
    CHECK(log > before);
    before = log;
  }
  const Tally green{800, 34};
  for (const double blue_errors : {4.0, 8.0, 16.0, 34.0}) {
    const double log = only_green_log(green, {800, blue_errors}, kNormal, kRisen);
    CHECK(log < before);
    before = log;
  }
  CHECK(before < 0);  // both alike
}

TEST_CASE("only_green: the same errors say less where green's rate is small") {
  const double dense = only_green_log({400, 17}, {400, 1}, kNormal, kRisen);
  const double sparse = only_green_log({1200, 17}, {1200, 1}, kNormal, kRisen);
  CHECK(dense > 7);
  CHECK(sparse < 3);
}

TEST_CASE("only_green: a blue that fails more than it always did speaks for both") {
  const Tally green{180, 9};
  CHECK(only_green_log(green, {1700, 12}, kNormal, kRisen) <
        only_green_log(green, {1700, 12}, 0.007, kRisen) - 2);
}

TEST_CASE("only_green: what green must have risen to is above what may be normal") {
  CHECK(least_risen_rate(0) == kLeastRisenRate);
  CHECK(least_risen_rate(0.004) == kLeastRisenRate);
  CHECK(least_risen_rate(0.05) == Approx(0.24));  // 6/19 in odds
  CHECK(least_risen_rate(0.5) < 1);
  CHECK(least_risen_rate(1) == 1);
}

TEST_CASE("only_green: by how much a rate has risen") {
  CHECK(risen_log({}, kNormal) == 0);
  CHECK(risen_log({1000, 3}, kNormal) == 0);
  CHECK(risen_log({1000, 2}, kNormal) == 0);
  CHECK(risen_log({1000, 10}, kNormal) > 3);
  CHECK(risen_log({1000, 20}, kNormal) > risen_log({1000, 10}, kNormal));
  CHECK(risen_log({1000, 1}, 0) == 0);  // the least rate that passes for normal
  CHECK(risen_log({1000, 1000}, kNormal) > 1000);
}

TEST_CASE("only_green: is a number whatever it is told") {
  for (const Tally green : {Tally{}, Tally{1, 1}, Tally{1, 0}, Tally{1e9, 1e9}}) {
    for (const Tally blue : {Tally{}, Tally{1, 1}, Tally{1, 0}, Tally{1e9, 0}}) {
      for (const double normal : {0.0, Cusum::kLeastNormalRate, 1.0}) {
        const double log = only_green_log(green, blue, normal, least_risen_rate(normal));
        CHECK(std::isfinite(log));
      }
    }
  }
}

}  // namespace
}  // namespace sluice::balancer
