#include "admin/slo.h"

#include <catch2/catch.hpp>

namespace sluice::admin {
namespace {

constexpr uint64_t kSecondUs = 1'000'000;

void add_seconds(SloHistory& history, int seconds, uint64_t requests, uint64_t errors) {
  for (int i = 0; i < seconds; ++i) history.add({kSecondUs, requests, errors, requests - errors});
}

TEST_CASE("slo: without requests nothing was broken") {
  const SloCounts counts = SloHistory().window(5);
  CHECK(counts.availability() == 1.0);
  CHECK(counts.in_time_share() == 1.0);
  CHECK(counts.burn_rate(0.999) == 0.0);
}

TEST_CASE("slo: a burn of one spends the budget exactly") {
  SloHistory history;
  add_seconds(history, 60, 1000, 1);
  const SloCounts counts = history.window(5);
  CHECK(counts.requests == 60'000);
  CHECK(counts.availability() == Approx(0.999));
  CHECK(counts.burn_rate(0.999) == Approx(1.0));
  CHECK(counts.burn_rate(0.99) == Approx(0.1));
  CHECK(counts.burn_rate(1.0) > 1e9);
}

TEST_CASE("slo: a window holds its minutes and less than one more") {
  SloHistory history;
  for (int second = 1; second <= 600; ++second) {
    add_seconds(history, 1, 1, 0);
    const uint64_t covered = history.window(5).duration_us / kSecondUs;
    REQUIRE(covered == history.window(5).requests);
    REQUIRE(covered >= static_cast<uint64_t>(std::min(second, 300)));
    REQUIRE(covered < 360);
  }
}

TEST_CASE("slo: an outage leaves the short window and stays in the long one") {
  SloHistory history;
  add_seconds(history, 120, 10, 10);
  add_seconds(history, 360, 10, 0);
  CHECK(history.window(5).errors == 0);
  CHECK(history.window(60).errors == 1200);
  CHECK(history.window(60).availability() == Approx(0.75));
}

TEST_CASE("slo: a day is kept and no more") {
  SloHistory history;
  add_seconds(history, 60, 1, 1);
  add_seconds(history, 24 * 3600 - 60, 1, 0);
  CHECK(history.window(SloHistory::kKeptMinutes).errors == 60);
  add_seconds(history, 60, 1, 0);
  CHECK(history.window(SloHistory::kKeptMinutes).errors == 0);
}

TEST_CASE("slo: counters that were read a moment apart give no share out of bounds") {
  const SloCounts counts{kSecondUs, 1, 2, 0};
  CHECK(counts.availability() == 0.0);
}

}  // namespace
}  // namespace sluice::admin
