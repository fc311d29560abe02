#include "balancer/forecast.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <queue>

#include "balancer/random.h"

namespace sluice::balancer {
namespace {

ColourLoad steady(uint32_t connections, uint64_t requests, uint32_t max = 0) {
  ColourLoad load;
  load.connections = ConnectionSeries(100, uint64_t{100} * connections, connections);
  load.requests = requests;
  load.now = connections;
  load.max = max;
  return load;
}

SharedCap database(uint32_t used) {
  return {"database", 100, used, 0.7, {true, true}};
}

TEST_CASE("forecast: the incident is visible before the last step") {
  // Green held 40 and blue 58 of 100 connections; the next step was the last.
  for (const conf::BasisPoints split : {2500U, 4000U, 5000U}) {
    const ColourLoad loads[2] = {steady(58, 100000), steady(40, 100000)};
    const auto forecasts = forecast_split(loads, {database(98)}, split, conf::kFullSplit);
    REQUIRE(forecasts.has_value());
    REQUIRE(forecasts->size() == 1);
    CHECK(forecasts->front().cap == "database");
    CHECK(forecasts->front().now == 98);
    CHECK(forecasts->front().expected >= 80);
    CHECK(!forecasts->front().fits());
  }
}

TEST_CASE("forecast: blue's connections leave a shared cap as its share does") {
  const ColourLoad loads[2] = {steady(30, 1000000), steady(30, 1000000)};
  const auto forecasts = forecast_split(loads, {database(60)}, 5000, conf::kFullSplit);
  REQUIRE(forecasts.has_value());
  CHECK(forecasts->front().expected == Approx(60).epsilon(0.01));
  CHECK(forecasts->front().fits());
}

TEST_CASE("forecast: other members of a shared cap stay where they are") {
  const ColourLoad loads[2] = {steady(10, 1000000), steady(10, 1000000)};
  const auto forecasts = forecast_split(loads, {database(80)}, 5000, conf::kFullSplit);
  CHECK(forecasts->front().expected == Approx(80).epsilon(0.01));
  CHECK(!forecasts->front().fits());
}

TEST_CASE("forecast: green's own cap counts, with a bound for the little that was seen") {
  const ColourLoad much[2] = {steady(0, 100000), steady(10, 100000, 40)};
  const auto few_doubts = forecast_split(much, {}, 2500, 5000);
  CHECK(few_doubts->front().cap == "green");
  CHECK(few_doubts->front().expected == Approx(20).epsilon(0.01));
  CHECK(few_doubts->front().fits());
  const ColourLoad little[2] = {steady(0, 100), steady(10, 8, 40)};
  const auto doubts = forecast_split(little, {}, 2500, 5000);
  CHECK(doubts->front().expected == Approx(40));
  CHECK(!doubts->front().fits());
}

TEST_CASE("forecast: says nothing of a green that was not seen") {
  const ColourLoad idle[2] = {steady(10, 100), steady(0, 0)};
  CHECK(!forecast_split(idle, {database(10)}, 1000, 2500));
  const ColourLoad none[2] = {steady(10, 100), steady(5, 100)};
  CHECK(!forecast_split(none, {database(10)}, 0, 1000));
}

TEST_CASE("forecast: both colours at full size are compared with the whole cap before the start") {
  const ColourLoad small[2] = {steady(40, 1000000), steady(0, 0)};
  CHECK(forecast_both_full(small, {database(40)}, 0, true).caps.front().fits());
  const ColourLoad large[2] = {steady(58, 1000000), steady(0, 0)};
  CHECK(!forecast_both_full(large, {database(58)}, 0, true).caps.front().fits());
  // A limit of its own keeps green from needing more in the shared cap.
  const ColourLoad limited[2] = {steady(58, 1000000), steady(0, 0, 35)};
  const std::vector<CapForecast> forecasts = forecast_both_full(limited, {database(58)}, 0, true).caps;
  REQUIRE(forecasts.size() == 2);
  CHECK(!forecasts[0].fits());  // but then it cannot carry blue's traffic alone
  CHECK(forecasts[1].fits());
}

TEST_CASE("forecast: idle connections of the pools do not grow with the share") {
  ColourLoad green;
  for (int i = 0; i < 100; ++i) green.connections.add(2, i < 50 ? 8 : 3);
  green.now = 2;
  green.requests = 1000000;
  const ColourLoad loads[2] = {steady(0, 0), green};
  const auto in_use = forecast_connections(green, 0.5, 1.0);
  CHECK(*in_use == Approx(4).epsilon(0.01));
  const auto forecasts = forecast_split(loads, {database(2)}, 5000, conf::kFullSplit);
  CHECK(forecasts->front().expected == Approx(4 + 3).epsilon(0.01));
}

TEST_CASE("forecast: what other rollouts were granted under a cap is as good as used") {
  const ColourLoad loads[2] = {steady(0, 0), steady(10, 1000000)};
  SharedCap cap = database(20);
  CHECK(forecast_split(loads, {cap}, 2500, conf::kFullSplit)->front().fits());
  cap.granted = 25;
  const CapForecast crowded = forecast_split(loads, {cap}, 2500, conf::kFullSplit)->front();
  CHECK(crowded.expected == Approx(10 + 25 + 40).epsilon(0.01));
  CHECK(crowded.ours == Approx(40).epsilon(0.01));
  CHECK(!crowded.fits());
}

TEST_CASE("forecast: both at full size fit by their own limits, or by what was seen, or nothing is said") {
  const auto idle = [](uint32_t max) { return steady(0, 0, max); };
  const ColourLoad within[2] = {idle(5), idle(5)};
  CHECK(forecast_both_full(within, {{"db", 10, 0, 0.7, {true, true}}}, 0, false).unknown.empty());
  const ColourLoad beyond[2] = {idle(8), idle(8)};
  const FullForecast unknown = forecast_both_full(beyond, {{"db", 10, 0, 0.7, {true, true}}}, 0, false);
  CHECK(unknown.caps.empty());
  REQUIRE(unknown.unknown.size() == 1);
  CHECK(unknown.unknown.front().cap == "db");
  // Others use what the two would need.
  CHECK(forecast_both_full(within, {{"db", 10, 1, 0.7, {true, true}}}, 0, false).unknown.size() == 1);
  // A green that takes less than blue may need to carry it.
  const ColourLoad smaller[2] = {idle(5), idle(4)};
  CHECK(forecast_both_full(smaller, {}, 0, false).unknown.front().own);
  const ColourLoad unbounded[2] = {idle(0), idle(4)};
  CHECK(forecast_both_full(unbounded, {}, 0, false).unknown.front().own);
  const ColourLoad none[2] = {idle(0), idle(0)};
  CHECK(forecast_both_full(none, {}, 0, false).unknown.empty());
}

// The connections of a stream of requests that arrive at random and are held
// for exponential times, sampled each millisecond.
ColourLoad simulate(Random& random, double per_ms, double hold_ms, int duration_ms) {
  ColourLoad load;
  std::priority_queue<double, std::vector<double>, std::greater<>> ends;
  double next = 0;
  for (int now = 0; now < duration_ms; ++now) {
    for (; next < now; next += -std::log(1 - random.unit()) / per_ms) {
      ends.push(next - std::log(1 - random.unit()) * hold_ms);
      ++load.requests;
    }
    while (!ends.empty() && ends.top() < now) ends.pop();
    load.connections.add(static_cast<uint32_t>(ends.size()));
  }
  return load;
}

TEST_CASE("forecast: bounds the mean at the next split and rarely doubles what comes") {
  Random random(42);
  int under_the_mean = 0;
  int wild = 0;
  constexpr int kRuns = 200;
  for (int run = 0; run < kRuns; ++run) {
    const double per_ms = 0.1 + random.unit();
    const double hold_ms = 5 + random.unit() * 50;
    const ColourLoad at_25 = simulate(random, per_ms * 0.25, hold_ms, 5000);
    const ColourLoad at_50 = simulate(random, per_ms * 0.5, hold_ms, 5000);
    const double upper = forecast_connections(at_25, 0.25, 0.5).value();
    under_the_mean += upper < at_50.connections.mean() ? 1 : 0;
    wild += upper > 2 * at_50.connections.peak() ? 1 : 0;
  }
  CHECK(under_the_mean == 0);
  CHECK(wild <= kRuns / 50);
}

}  // namespace
}  // namespace sluice::balancer
