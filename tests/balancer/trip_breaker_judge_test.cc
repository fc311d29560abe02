// What TripBreaker makes of its detectors' figures.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "balancer/trip_breaker.h"
#include "judge_fixtures.h"

namespace sluice::balancer {
namespace {

using conf::Colour;

constexpr uint64_t kSeed = 42;

TEST_CASE(
    "trip_breaker: a suspicion that lasts must weigh more, by the attempts of the colour that has fewer") {
  constexpr double kTimely = TripBreaker::kTimelyAttempts / 2;
  const double asked = -std::log(EProcess::kFirstShare * TripBreaker::kSharedOutageRate);
  for (const conf::BasisPoints split : {5000U, 1000U}) {
    JudgedTraffic traffic(kSeed);
    traffic.warm_up(0.003);
    traffic.begin_step(split);
    // Retries' errors keep green's sum off its rest and say nothing of colours.
    FailedAttempt retried;
    retried.by_lot = false;
    fail(traffic, retried, 2);
    uint64_t green = 2;
    uint64_t blue = 0;
    const auto go_on_until = [&](double fewer) {
      while (static_cast<double>(std::min(blue, green)) < fewer) {
        const uint64_t oks = conf::kFullSplit / split - 1;
        traffic.breaker.add_oks(oks, 1, traffic.now_ms());
        blue += oks;
        if (++green % 50 != 0) continue;
        fail(traffic, retried);
        ++green;
      }
    };
    const auto threshold = [&] { return traffic.breaker.status().detectors.recent_threshold; };
    CAPTURE(split);
    go_on_until(kTimely / 2);
    CHECK(threshold() == Approx(asked));
    go_on_until(kTimely);
    CHECK(threshold() == Approx(asked).margin(0.01));
    for (const double times : {1.5, 2.0, 4.0}) {
      go_on_until(times * kTimely);
      CAPTURE(times);
      CHECK(threshold() == Approx(asked + 2 * std::log(times)).margin(0.01));
    }
    CHECK(traffic.breaker.status().detectors.green_rise >= Cusum::kThreshold);
    CHECK_FALSE(traffic.breaker.tripped());
  }
}

TEST_CASE(
    "trip_breaker: that only green has risen must be plainer the sooner it is said, and after blue's rise") {
  for (const double blue_before : {0.003, 0.02}) {
    CAPTURE(blue_before);
    JudgedTraffic traffic(kSeed);
    traffic.warm_up(0.003);
    traffic.begin_step(5000);
    traffic.run({blue_before, 0}, 2000);
    const auto threshold = [&] { return traffic.breaker.status().detectors.only_green_threshold; };
    fail(traffic, {});
    const double at_once = threshold();
    CHECK(at_once > TripBreaker::kOnlyGreenLog + TripBreaker::kHaste);
    fail(traffic, {});
    traffic.run({0, 0}, 100);
    CHECK(threshold() < at_once);
    const bool has_risen = blue_before > 0.01;
    traffic.breaker.add_oks(800, 800, traffic.now_ms());
    CHECK((threshold() > TripBreaker::kOnlyGreenLog + 1) == has_risen);
  }
}

TEST_CASE("trip_breaker: green beside blue by colour alone is not enough where green's rate is small") {
  // The same errors in the same order; what differs is how many oks lie between.
  for (const uint64_t oks : {20U, 50U}) {
    CAPTURE(oks);
    JudgedTraffic traffic(kSeed);
    traffic.warm_up(0.003);
    traffic.begin_step(5000);
    FailedAttempt of_blue;
    of_blue.colour = Colour::blue;
    const auto detectors = [&] { return traffic.breaker.status().detectors; };
    const auto recent_says_so = [&] {
      return detectors().green_rise >= Cusum::kThreshold &&
             detectors().recent >= detectors().recent_threshold;
    };
    for (int errors = 0; errors < 40 && !traffic.breaker.tripped(); ++errors) {
      fail(traffic, {});
      if (errors % 5 == 4) fail(traffic, of_blue);
      traffic.breaker.add_oks(oks, oks, traffic.now_ms());
      if (oks == 50 && recent_says_so()) break;
    }
    CHECK(recent_says_so());
    CHECK(traffic.breaker.tripped() == (oks == 20));
    CHECK((detectors().only_green >= detectors().only_green_threshold) == (oks == 20));
    if (oks == 20) {
      CHECK(traffic.breaker.verdict().detector == Detector::rise);
    } else {
      CHECK(mentions(traffic.breaker.verdict().reason, "too little to tell it from a rise of both"));
    }
  }
}

TEST_CASE("trip_breaker: one client's errors on both colours do not say that blue has risen, one page's do") {
  for (const bool client_of_its_own : {true, false}) {
    CAPTURE(client_of_its_own);
    JudgedTraffic traffic(kSeed);
    traffic.warm_up(0.003);
    for (uint64_t i = 0; i < 1000; ++i) {
      traffic.breaker.sample_traffic({100 + i, {}}, {1000 + i % 500, {}}, 1);
    }
    traffic.begin_step(5000);
    fail(traffic, {});
    fail(traffic, {});
    traffic.breaker.add_oks(100, 100, traffic.now_ms());
    const auto only_green = [&] { return traffic.breaker.status().detectors.only_green; };
    const double before = only_green();
    for (uint64_t i = 0; i < 20; ++i) {
      FailedAttempt attempt;
      attempt.colour = Colour::blue;
      attempt.client.hash = client_of_its_own ? 50 : 100 + i;
      attempt.path.hash = client_of_its_own ? 1000 + i : 999;
      fail(traffic, attempt);
    }
    CHECK((only_green() > before - 15) == client_of_its_own);
  }
}

TEST_CASE("trip_breaker: attempts that the lot did not place say nothing of whether only green has risen") {
  JudgedTraffic traffic(kSeed);
  traffic.warm_up(0.003);
  traffic.begin_step(5000);
  fail(traffic, {});
  fail(traffic, {});
  traffic.breaker.add_oks(100, 100, traffic.now_ms());
  const double before = traffic.breaker.status().detectors.only_green;
  FailedAttempt retried;
  retried.by_lot = false;
  fail(traffic, retried, 5);
  retried.colour = Colour::blue;
  fail(traffic, retried, 5);
  traffic.breaker.add_other_oks(50, 50, traffic.now_ms());
  CHECK(traffic.breaker.status().detectors.only_green == Approx(before));
}

TEST_CASE("trip_breaker: the detectors' values reach back to the step's beginning, the older the fewer") {
  JudgedTraffic traffic(kSeed);
  traffic.warm_up(0.003);
  const uint64_t began_ms = traffic.now_ms();
  traffic.begin_step(5000);
  constexpr uint64_t kHealthyMs = 60'000;
  traffic.run({0.003, 0.003}, kHealthyMs * JudgedTraffic::kAttemptsPerMs);
  REQUIRE_FALSE(traffic.breaker.tripped());
  traffic.run({0.003, 1}, 1000);
  REQUIRE(traffic.breaker.tripped());

  const Evidence evidence = traffic.breaker.evidence();
  const std::vector<DetectorSample>& samples = evidence.samples;
  REQUIRE(samples.size() > SampleHistory::kRecent + 1);
  CHECK(samples.front().at_ms <= began_ms + 100);
  const uint64_t middle_ms = (samples.front().at_ms + samples.back().at_ms) / 2;
  const auto old = std::count_if(samples.begin(), samples.end(),
                                 [&](const DetectorSample& one) { return one.at_ms < middle_ms; });
  CHECK(static_cast<size_t>(old) >= SampleHistory::kOlder / 5);
  // The last ones before the trip are all there.
  for (size_t i = samples.size() - SampleHistory::kRecent + 1; i < samples.size(); ++i) {
    CHECK(samples[i].at_ms - samples[i - 1].at_ms <= 25);
  }
}

TEST_CASE("trip_breaker: what is shown of the detectors after a trip is what they had then") {
  JudgedTraffic traffic(kSeed);
  traffic.warm_up(0.003);
  traffic.begin_step(5000);
  traffic.run({0.003, 0.3}, 2000);
  REQUIRE(traffic.breaker.tripped());
  const DetectorSample then = traffic.breaker.status().detectors;
  CHECK(then.green_rise >= then.rise_threshold);
  CHECK_FALSE(then.rise_alone);
  traffic.begin_step(0);
  for (int i = 0; i < 1000; ++i) traffic.tell(Colour::blue, i % 5 == 0);
  const DetectorSample now = traffic.breaker.status().detectors;
  CHECK(now.at_ms == then.at_ms);
  CHECK(now.green_rise == then.green_rise);
  CHECK(now.only_green_threshold == then.only_green_threshold);
}

}  // namespace
}  // namespace sluice::balancer
