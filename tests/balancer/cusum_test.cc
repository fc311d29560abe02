#include "balancer/cusum.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "balancer/random.h"

namespace sluice::balancer {
namespace {

int errors_until_alarm(double normal_rate) {
  Cusum cusum(normal_rate);
  int errors = 0;
  while (!cusum.alarmed()) {
    cusum.add_error();
    ++errors;
  }
  return errors;
}

TEST_CASE("cusum: follows the formula of the contract") {
  const double p0 = 0.004;
  const double p1 = 0.02;
  Cusum cusum(p0);
  double expected = 0;
  Random random(3);
  for (int i = 0; i < 200; ++i) {
    // Long runs of ok attempts between the errors keep `broken` at rest.
    const uint64_t oks = 20 + random.below(100);
    for (uint64_t ok = 0; ok < oks; ++ok) {
      expected = std::max(0.0, expected + std::log((1 - p1) / (1 - p0)));
    }
    cusum.add_oks(oks);
    REQUIRE(cusum.value() == Approx(expected).margin(1e-9));
    expected = std::min(Cusum::kCeiling, expected + std::log(p1 / p0));
    cusum.add_error();
  }
}

TEST_CASE("cusum: a run of ok attempts equals as many single ones") {
  Cusum at_once(0.01);
  Cusum one_by_one(0.01);
  Random random(4);
  for (int i = 0; i < 1000; ++i) {
    const uint64_t oks = random.below(60);
    at_once.add_oks(oks);
    for (uint64_t ok = 0; ok < oks; ++ok) one_by_one.add_oks(1);
    REQUIRE(at_once.value() == Approx(one_by_one.value()).margin(1e-9));
    at_once.add_error();
    one_by_one.add_error();
  }
}

TEST_CASE("cusum: total failure alarms within seven errors whatever is normal up to 5 %") {
  CHECK(errors_until_alarm(0) == 3);
  CHECK(errors_until_alarm(0.004) == 4);
  CHECK(errors_until_alarm(0.05) <= 8);
  CHECK(errors_until_alarm(0.9) > 18);
}

TEST_CASE("cusum: comes to rest after an error, and down from the ceiling after a fault") {
  Cusum cusum(0.001);
  cusum.add_error();
  CHECK_FALSE(cusum.at_rest());
  cusum.add_oks(200);
  CHECK(cusum.at_rest());
  for (int i = 0; i < 10'000; ++i) cusum.add_error();
  CHECK(cusum.value() == Approx(Cusum::kCeiling));
  cusum.add_oks(2000);
  CHECK(cusum.at_rest());
}

TEST_CASE("cusum: a new normal rate keeps the sum, clear drops it") {
  Cusum cusum(0.001);
  cusum.add_error();
  const double before = cusum.value();
  cusum.set_normal_rate(0.1);
  CHECK(cusum.value() == before);
  CHECK(cusum.normal_rate() == 0.1);
  cusum.clear();
  CHECK(cusum.value() == 0);
}

TEST_CASE("cusum: any normal rate is held within bounds") {
  CHECK(Cusum(0).normal_rate() == Cusum::kLeastNormalRate);
  CHECK(Cusum(1).normal_rate() == Cusum::kMostNormalRate);
}

}  // namespace
}  // namespace sluice::balancer
