#include "balancer/baseline.h"

#include <catch2/catch.hpp>

namespace sluice::balancer {
namespace {

TEST_CASE("baseline: cannot be frozen before enough is known") {
  Baseline baseline;
  CHECK_FALSE(baseline.freeze());
  baseline.add(Baseline::kLeastAttempts - 2, 1, 1);
  CHECK_FALSE(baseline.freeze());
  baseline.add(1, 0, 2);
  CHECK(baseline.freeze());
  CHECK(baseline.frozen_attempts() == Baseline::kLeastAttempts);
  CHECK(baseline.bounds().rate == Approx(1.0 / Baseline::kLeastAttempts));
}

TEST_CASE("baseline: a thin one is refined at each doubling, a firm one stays") {
  Baseline baseline;
  baseline.add(Baseline::kLeastAttempts, 0, 1);
  REQUIRE(baseline.freeze());
  const double thin = baseline.bounds().upper;
  baseline.add(Baseline::kLeastAttempts - 1, 0, 1);
  CHECK_FALSE(baseline.refine());
  baseline.add(1, 0, 1);
  CHECK(baseline.refine());
  CHECK(baseline.bounds().upper < thin);
  baseline.add(Baseline::kFirmAttempts, 0, 1);
  CHECK(baseline.refine());
  baseline.add(10 * Baseline::kFirmAttempts, 0, 1);
  CHECK_FALSE(baseline.refine());
}

TEST_CASE("baseline: forgets what is both old and far back, and never all") {
  Baseline baseline;
  uint64_t now_ms = 0;
  const auto stretch = [&](uint64_t oks, uint64_t errors) {
    baseline.add(oks, errors, now_ms);
    now_ms += Baseline::kStretchMs;
    baseline.add(1, 0, now_ms);
  };
  stretch(Baseline::kStretchAttempts, Baseline::kStretchAttempts / 2);
  const double bad = baseline.known().rate;
  stretch(Baseline::kStretchAttempts, 0);
  stretch(Baseline::kStretchAttempts, 0);
  CHECK(bad > 0.3);
  CHECK(baseline.known().rate == 0);
  CHECK(baseline.known_attempts() >= Baseline::kStretchAttempts);
}

TEST_CASE("baseline: does not expire without traffic") {
  Baseline baseline;
  baseline.add(10'000, 30, 1);
  baseline.freeze();
  baseline.add(0, 0, 365ULL * 24 * 3600 * 1000);
  CHECK(baseline.known_attempts() == 10'030);
  CHECK(baseline.freeze());
}

}  // namespace
}  // namespace sluice::balancer
