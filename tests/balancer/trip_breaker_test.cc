#include "balancer/trip_breaker.h"

#include <catch2/catch.hpp>

#include "judge_fixtures.h"

namespace sluice::balancer {
namespace {

using conf::Colour;

constexpr uint64_t kSeed = 42;

TEST_CASE("trip_breaker: a broken green trips, with its evidence, and stays so until reset") {
  JudgedTraffic traffic(kSeed);
  traffic.warm_up(0.003);
  traffic.begin_step(5000);
  traffic.run({0.003, 0.003}, 2000);
  REQUIRE_FALSE(traffic.breaker.tripped());
  CHECK(traffic.run({0.003, 1}, 1000) <= 30);
  REQUIRE(traffic.breaker.tripped());
  CHECK_FALSE(traffic.breaker.verdict().reason.empty());

  const Evidence evidence = traffic.breaker.evidence();
  CHECK(evidence.service == "web");
  CHECK(evidence.tripped_ms >= evidence.first_error_ms);
  CHECK(evidence.counts[1].errors > 0);
  CHECK(evidence.baseline.rate == Approx(0.003).margin(0.0005));
  CHECK(evidence.splits.back().split == 5000);
  CHECK(evidence.samples.back().at_ms == evidence.tripped_ms);

  traffic.begin_step(0);
  traffic.run({0.003, 0.003}, 1000);
  CHECK(traffic.breaker.tripped());
  CHECK(traffic.breaker.evidence().counts[1].errors == evidence.counts[1].errors);
  CHECK(traffic.breaker.reset().ok());
  CHECK_FALSE(traffic.breaker.tripped());
}

TEST_CASE("trip_breaker: refuses a reset without a trip and a trip of what is tripped") {
  JudgedTraffic traffic(kSeed);
  const conf::Status early = traffic.breaker.reset();
  REQUIRE_FALSE(early.ok());
  CHECK(early.error().kind == conf::Error::Kind::refused);
  CHECK(mentions(early.error().detail, "not tripped"));

  CHECK(traffic.breaker.trip_by_hand("bad smell", 5).ok());
  CHECK(traffic.breaker.verdict().detector == Detector::by_hand);
  CHECK(traffic.breaker.verdict().reason == "bad smell");
  const conf::Status again = traffic.breaker.trip_by_hand("", 6);
  REQUIRE_FALSE(again.ok());
  CHECK(mentions(again.error().detail, "bad smell"));
}

TEST_CASE("trip_breaker: nothing is judged at split 0 or when it is switched off") {
  JudgedTraffic idle(kSeed);
  idle.begin_step(0);
  idle.run({0, 0}, 1000);
  fail(idle, {}, 1000);
  CHECK_FALSE(idle.breaker.tripped());
  CHECK_FALSE(idle.breaker.status().judging);

  conf::Trip off;
  off.enabled = false;
  JudgedTraffic disabled(kSeed, off);
  disabled.begin_step(5000);
  disabled.run({0, 1}, 1000);
  CHECK_FALSE(disabled.breaker.tripped());
  CHECK(disabled.breaker.trip_by_hand("", 1).ok());
}

TEST_CASE("trip_breaker: a cold start learns first, and the comparison judges meanwhile") {
  JudgedTraffic traffic(kSeed);
  traffic.begin_step(9000);
  traffic.run({0.01, 0.01}, 500);
  CHECK(traffic.breaker.status().learning);
  CHECK(traffic.breaker.status().baseline_attempts > 0);
  traffic.run({0.01, 0.01}, 50'000);
  CHECK_FALSE(traffic.breaker.tripped());
  CHECK_FALSE(traffic.breaker.status().learning);

  JudgedTraffic broken(kSeed);
  broken.begin_step(5000);
  broken.run({0, 1}, 200);
  CHECK(broken.breaker.verdict().detector == Detector::comparison);
  CHECK(mentions(to_text(broken.breaker.evidence()), "not learned yet"));
}

TEST_CASE("trip_breaker: at split 100 the last baseline of blue judges") {
  JudgedTraffic traffic(kSeed);
  traffic.warm_up(0.003);
  traffic.begin_step(10000);
  traffic.run({0, 0.003}, 20'000);
  REQUIRE_FALSE(traffic.breaker.tripped());
  CHECK(traffic.run({0, 1}, 100) <= 7);
  CHECK(traffic.breaker.verdict().detector == Detector::rise);
}

TEST_CASE("trip_breaker: at split 100 blue is not compared with, whatever still reaches it") {
  JudgedTraffic traffic(kSeed);
  traffic.warm_up(0.003);
  traffic.begin_step(10000);
  traffic.run({0, 0.003}, 1000);
  for (int i = 0; i < 200; ++i) traffic.tell(Colour::blue, true);
  const DetectorSample detectors = traffic.breaker.status().detectors;
  CHECK(detectors.comparison == Approx(0));
  CHECK_FALSE(traffic.breaker.tripped());
}

TEST_CASE("trip_breaker: a cold start at split 100 takes green's own beginning for normal") {
  for (const double rate : {0.0, 0.003, 0.05}) {
    INFO("rate " << rate);
    JudgedTraffic traffic(kSeed);
    traffic.begin_step(10000);
    traffic.run({0, rate}, 150);
    CHECK(traffic.breaker.status().learning);
    traffic.run({0, rate}, 50'000);
    REQUIRE_FALSE(traffic.breaker.tripped());
    CHECK(traffic.breaker.status().baseline.rate == Approx(rate).margin(0.01));
    CHECK(traffic.run({0, 1}, 100) <= 15);
    CHECK(traffic.breaker.tripped());
  }
}

TEST_CASE("trip_breaker: at split 100 little known of blue is enough for a green that fails outright") {
  for (const uint64_t known : {0, 10, 50, 199}) {
    INFO(known << " attempts of blue");
    JudgedTraffic traffic(kSeed);
    traffic.warm_up(0, known);
    traffic.begin_step(10000);
    CHECK(traffic.run({0, 1}, 1000) <= 17);
    REQUIRE(traffic.breaker.tripped());
    CHECK(mentions(traffic.breaker.verdict().reason, "passes for normal"));
    CHECK(mentions(to_text(traffic.breaker.evidence()), "passed for normal"));
  }
}

TEST_CASE("trip_breaker: at split 100 what green began with passes for normal up to a bound") {
  JudgedTraffic as_ever(kSeed);
  as_ever.begin_step(10000);
  as_ever.run({0, 0.15}, 100'000);
  CHECK_FALSE(as_ever.breaker.tripped());

  JudgedTraffic too_much(kSeed);
  too_much.begin_step(10000);
  too_much.run({0, 0.4}, 100'000);
  CHECK(too_much.breaker.tripped());

  JudgedTraffic over_blue(kSeed);  // of which 150 attempts are known, none an error: at most 2.6 %
  over_blue.warm_up(0, 150);
  over_blue.begin_step(10000);
  over_blue.run({0, 0.15}, 100'000);
  CHECK(over_blue.breaker.tripped());
  CHECK(over_blue.breaker.status().detectors.rise_alone);
}

TEST_CASE("trip_breaker: what was known of blue before a restart judges green again") {
  JudgedTraffic before(kSeed);
  before.warm_up(0.003);
  before.begin_step(10000);
  const BlueKnown known = before.breaker.blue_known();
  CHECK(known.attempts >= 20'000);
  JudgedTraffic after(kSeed);
  after.begin_step(10000);
  after.breaker.recall_blue(known, after.now_ms());
  CHECK_FALSE(after.breaker.status().learning);
  after.run({0, 0.003}, 20'000);
  REQUIRE_FALSE(after.breaker.tripped());
  CHECK(after.run({0, 1}, 100) <= 7);
  CHECK(after.breaker.tripped());

  JudgedTraffic little(kSeed);
  little.begin_step(10000);
  little.breaker.recall_blue({50, 0}, little.now_ms());
  CHECK(little.breaker.status().baseline.upper == Approx(wilson(0, 50).upper));
}

TEST_CASE("trip_breaker: a blue that is silent for long cannot be waited for") {
  JudgedTraffic traffic(kSeed);
  traffic.warm_up(0);
  traffic.begin_step(9900);
  for (uint64_t i = 0; i < TripBreaker::kBlueSilenceMs && !traffic.breaker.tripped(); ++i) {
    traffic.tell(Colour::green, true);
    if (i == 100) CHECK(traffic.breaker.verdict().kind == Verdict::Kind::hold);
  }
  traffic.tell(Colour::green, true);
  traffic.tell(Colour::green, true);
  CHECK(traffic.breaker.tripped());
}

TEST_CASE("trip_breaker: one sticky client on green is not compared with a blue that nobody asks") {
  for (const double rate : {0.05, 0.1, 0.2}) {
    INFO("rate " << rate);
    uint64_t trips = 0;
    for (uint64_t seed = 0; seed < 200; ++seed) {
      JudgedTraffic traffic(seed);
      traffic.begin_step(5000);
      Random random(seed + 1000);
      for (int i = 0; i < 10'000; ++i) traffic.tell(Colour::green, random.unit() < rate);
      trips += traffic.breaker.tripped() ? 1 : 0;
    }
    CHECK(trips == 0);
  }
}

TEST_CASE("trip_breaker: nor does that client have to fail for ever") {
  JudgedTraffic traffic(kSeed);
  traffic.begin_step(5000);
  for (uint64_t i = 0; i < TripBreaker::kBlueSilenceMs + 100; ++i) traffic.tell(Colour::green, true);
  CHECK(traffic.breaker.tripped());
  CHECK(mentions(traffic.breaker.verdict().reason, "passes for normal"));
}

TEST_CASE("trip_breaker: the error with which a suspicion begins is no evidence against green") {
  JudgedTraffic traffic(kSeed);
  traffic.warm_up(0.003);
  traffic.begin_step(1000);
  traffic.tell(Colour::green, true);
  CHECK(traffic.breaker.status().detectors.green_rise > 0);
  CHECK(traffic.breaker.status().detectors.recent <= 0);
  traffic.tell(Colour::green, true);
  CHECK(traffic.breaker.status().detectors.recent > 1);
}

TEST_CASE(
    "trip_breaker: a green that has stumbled before is called broken when blue has answered more often") {
  for (const int stumbles : {0, 5}) {
    INFO(stumbles << " errors before");
    JudgedTraffic traffic(kSeed);
    traffic.warm_up(0);
    traffic.begin_step(5000);
    for (int i = 0; i < stumbles; ++i) {
      traffic.tell(Colour::green, true);
      traffic.run({0, 0}, 2000);
    }
    traffic.tell(Colour::green, true);
    traffic.tell(Colour::blue, false);
    traffic.tell(Colour::blue, false);
    for (uint64_t i = 1; i < TripBreaker::kBrokenAttempts; ++i) traffic.tell(Colour::green, true);
    CHECK(traffic.breaker.tripped() == (stumbles == 0));
  }
}

TEST_CASE("trip_breaker: an outage of both holds and says that blue fails too") {
  for (const conf::BasisPoints split : {1000U, 5000U, 9000U}) {
    JudgedTraffic traffic(kSeed);
    traffic.warm_up(0.003);
    traffic.begin_step(split);
    traffic.run({0.003, 0.003}, 2000);
    traffic.run({1, 1}, 5000);
    CHECK(traffic.breaker.verdict().kind == Verdict::Kind::hold);
    CHECK(mentions(traffic.breaker.verdict().reason, "blue's rose too"));
    traffic.run({0.003, 0.003}, 50'000);
    CHECK(traffic.breaker.verdict().kind == Verdict::Kind::none);
  }
}

TEST_CASE("trip_breaker: green failing alone is told from the drift that it shares with blue") {
  JudgedTraffic traffic(kSeed);
  traffic.warm_up(0.003);
  traffic.begin_step(5000);
  traffic.run({0.02, 0.02}, 20'000);
  REQUIRE_FALSE(traffic.breaker.tripped());
  traffic.run({0.02, 0.5}, 1000);
  CHECK(traffic.breaker.tripped());
}

TEST_CASE("trip_breaker: one client that makes the errors is named and does not trip") {
  JudgedTraffic traffic(kSeed);
  traffic.warm_up(0.001);
  for (uint64_t i = 0; i < 1000; ++i) traffic.breaker.sample_traffic({1 + i, {}}, {9, "/cart"}, 1);
  traffic.begin_step(5000);
  FailedAttempt attempt;
  attempt.client = {5000, "10.1.2.3"};
  attempt.path = {9, "/cart"};
  attempt.request_id = "r-1";
  attempt.endpoint = "10.0.0.5:8080";
  for (int i = 0; i < 200; ++i) {
    fail(traffic, attempt);
    traffic.run({0, 0}, 10);
  }
  CHECK_FALSE(traffic.breaker.tripped());
  CHECK(traffic.breaker.verdict().kind == Verdict::Kind::hold);
  CHECK(mentions(traffic.breaker.verdict().reason, "client 10.1.2.3"));
  const Evidence evidence = traffic.breaker.evidence();
  CHECK(evidence.clients.front().label == "10.1.2.3");
  CHECK(evidence.clients.front().share_of_errors == Approx(1));
  CHECK(evidence.endpoints.front().label == "10.0.0.5:8080");
  CHECK(evidence.paths.front().share_of_traffic == Approx(1));
  CHECK(evidence.held_back > 100);
  CHECK(evidence.last_failed.size() == Evidence::kFailedRequests);
}

TEST_CASE("trip_breaker: retries and what began before the step say nothing about colours") {
  JudgedTraffic traffic(kSeed);
  traffic.begin_step(1000);
  FailedAttempt retry;
  retry.by_lot = false;
  fail(traffic, retry, 100);
  CHECK(traffic.breaker.status().detectors.comparison == Approx(0));
  FailedAttempt old;
  old.begun_ms = traffic.now_ms() - 1;
  fail(traffic, old, 100);
  CHECK_FALSE(traffic.breaker.tripped());
  CHECK(traffic.breaker.status().counts[1].errors == 200);
}

TEST_CASE("trip_breaker: only what `on` lists is an error, and a cancelled attempt is nothing") {
  conf::Trip settings;
  settings.on_5xx = false;
  JudgedTraffic traffic(kSeed, settings);
  traffic.begin_step(5000);
  FailedAttempt attempt;
  for (const Outcome outcome : {Outcome::http_5xx, Outcome::slow, Outcome::cancelled}) {
    attempt.outcome = outcome;
    fail(traffic, attempt, 100);
  }
  CHECK_FALSE(traffic.breaker.tripped());
  CHECK(traffic.breaker.status().counts[1].attempts == 200);
  CHECK(traffic.breaker.status().counts[1].errors == 0);

  settings.slow_ms = 2000;
  traffic.breaker.configure(settings);
  attempt.outcome = Outcome::slow;
  fail(traffic, attempt, 2);
  CHECK(traffic.breaker.status().counts[1].errors == 2);
}

TEST_CASE("trip_breaker: max_error_rate trips by itself, over its window, from min_requests on") {
  conf::Trip settings;
  settings.max_error_rate = 0.05;
  settings.window_ms = 10'000;
  settings.min_requests = 20;
  JudgedTraffic traffic(kSeed, settings);
  traffic.begin_step(5000);
  const uint64_t begin_ms = traffic.now_ms();
  FailedAttempt attempt;
  attempt.by_lot = false;
  traffic.breaker.add_oks(0, 17, begin_ms);
  traffic.breaker.add_error(attempt, begin_ms);
  traffic.breaker.add_error(attempt, begin_ms + 1);
  CHECK_FALSE(traffic.breaker.tripped());
  traffic.breaker.add_oks(0, 100, begin_ms + 20'000);
  traffic.breaker.add_error(attempt, begin_ms + 20'000);
  CHECK_FALSE(traffic.breaker.tripped());
  for (int i = 0; i < 6; ++i) traffic.breaker.add_error(attempt, begin_ms + 20'001);
  CHECK(traffic.breaker.tripped());
  CHECK(traffic.breaker.verdict().detector == Detector::ceiling);
  CHECK(mentions(traffic.breaker.verdict().reason, "max_error_rate 5.00 %"));
}

TEST_CASE("trip_breaker: a green that is slower than blue, and fails as little, is not blamed") {
  for (const conf::BasisPoints split : {100U, 1000U, 5000U, 9000U, 9900U}) {
    for (const uint64_t behind : {20U, 300U, 3000U}) {
      CAPTURE(split, behind);
      JudgedTraffic traffic(kSeed);
      traffic.warm_up(0.003);
      traffic.begin_step(split);
      traffic.green_behind = behind;
      traffic.run({0.003, 0.003}, 50'000);
      CHECK_FALSE(traffic.breaker.tripped());
    }
  }
}

TEST_CASE("trip_breaker: a green that is slower than blue is caught when it fails") {
  for (const uint64_t behind : {20U, 300U}) {
    JudgedTraffic traffic(kSeed);
    traffic.warm_up(0.003);
    traffic.begin_step(5000);
    traffic.green_behind = behind;
    CHECK(traffic.run({0.003, 1}, 20'000) <= 7 + behind);
    CHECK(traffic.breaker.tripped());
  }
}

TEST_CASE("trip_breaker: what the lot did not place counts with its oks as well as with its errors") {
  JudgedTraffic traffic(kSeed);
  traffic.begin_step(0);
  FailedAttempt attempt;
  attempt.colour = Colour::blue;
  attempt.by_lot = false;
  for (int i = 0; i < 100; ++i) {
    traffic.breaker.add_other_oks(98, 0, traffic.now_ms());
    for (int error = 0; error < 2; ++error) traffic.breaker.add_error(attempt, traffic.now_ms());
  }
  traffic.begin_step(5000);
  CHECK(traffic.breaker.status().baseline.rate == Approx(0.02).margin(0.002));

  conf::Trip settings;
  settings.max_error_rate = 0.05;
  settings.min_requests = 20;
  JudgedTraffic ceiling(kSeed, settings);
  ceiling.begin_step(5000);
  attempt.colour = Colour::green;
  for (int i = 0; i < 100; ++i) {
    ceiling.breaker.add_other_oks(0, 48, ceiling.now_ms());
    ceiling.breaker.add_error(attempt, ceiling.now_ms());
  }
  CHECK_FALSE(ceiling.breaker.tripped());
}

TEST_CASE("trip_breaker: a blue that gets little is not silent by chance") {
  JudgedTraffic traffic(kSeed);
  traffic.warm_up(0.003);
  traffic.begin_step(9900);
  const uint64_t begin_ms = traffic.now_ms();
  FailedAttempt attempt;
  // 10 requests a second, all of them green's by chance for 6 s, and failing as
  // blue's would.
  for (uint64_t i = 0; i < 60; ++i) traffic.breaker.add_error(attempt, begin_ms + i * 100);
  CHECK_FALSE(traffic.breaker.tripped());
}

TEST_CASE("trip_breaker: switched off, it holds nothing against green") {
  JudgedTraffic traffic(kSeed);
  traffic.warm_up(0.003);
  traffic.begin_step(5000);
  traffic.run({0.3, 0.3}, 2000);
  CHECK(traffic.breaker.verdict().kind == Verdict::Kind::hold);
  conf::Trip off;
  off.enabled = false;
  traffic.breaker.configure(off);
  CHECK(traffic.breaker.verdict().kind != Verdict::Kind::hold);
}

TEST_CASE("trip_breaker: green without an endpoint is a trip of its own kind") {
  JudgedTraffic traffic(kSeed);
  traffic.begin_step(0);
  CHECK_FALSE(traffic.breaker.green_has_no_endpoint(1).tripped());
  traffic.begin_step(100);
  CHECK(traffic.breaker.green_has_no_endpoint(2).tripped());
  CHECK(traffic.breaker.verdict().detector == Detector::no_endpoint);
}

TEST_CASE("trip_breaker: a step forgets the evidence of the last one") {
  JudgedTraffic traffic(kSeed);
  traffic.warm_up(0.003);
  traffic.begin_step(1000);
  fail(traffic, {}, 2);
  CHECK(traffic.breaker.status().detectors.green_rise > 0);
  CHECK(traffic.breaker.status().detectors.comparison > 0);
  traffic.begin_step(2000);
  CHECK(traffic.breaker.status().detectors.green_rise == 0);
  CHECK(traffic.breaker.status().detectors.comparison == Approx(0));
  CHECK(traffic.breaker.status().counts[1].errors == 0);
  CHECK(traffic.breaker.evidence().splits.size() == 3);
}

TEST_CASE("trip_breaker: a restored trip is latched with the evidence that was kept") {
  JudgedTraffic before(kSeed);
  before.begin_step(5000);
  before.run({0, 1}, 200);
  REQUIRE(before.breaker.tripped());
  JudgedTraffic after(kSeed);
  after.breaker.restore(before.breaker.evidence());
  CHECK(after.breaker.tripped());
  CHECK(after.breaker.verdict().reason == before.breaker.verdict().reason);
  CHECK(to_text(after.breaker.evidence()) == to_text(before.breaker.evidence()));
}

}  // namespace
}  // namespace sluice::balancer
