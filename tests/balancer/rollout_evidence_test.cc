// What counts as seen: time, data before the first step, grants, what is saved.
#include <catch2/catch.hpp>

#include "balancer/wilson.h"
#include "tests/balancer/rollout_fixtures.h"

namespace sluice::balancer {
namespace {

using Kind = RolloutAction::Kind;

size_t saves(const RolloutActions& actions) {
  return static_cast<size_t>(std::count_if(
      actions.begin(), actions.end(), [](const RolloutAction& action) { return action.kind == Kind::save; }));
}

TEST_CASE("rollout evidence: time in which the process did not run is not held") {
  Bench bench;
  REQUIRE(bench.start(plan_of({1000, 10000})));
  REQUIRE(bench.run_until_split(1000));
  bench.run(10'000);
  bench.tick(3'600'000);
  CHECK(bench.rollout.evidence().held_ms == 11'000);
  CHECK(bench.rollout.split() == 1000);
}

TEST_CASE("rollout evidence: the requests of blue are foretold by the pace at which they came") {
  const RolloutPlan plan = plan_of({9000, 10000});
  const Observation now;
  StepEvidence seen;
  seen.held_ms = 1000;
  ColourEvidence blue;  // of this step and before
  blue.attempts = kMinBlueRequests / 2;
  blue.span_ms = 10'000;
  const auto earliest = [&](conf::BasisPoints split) {
    StepQuestion question{plan, seen, blue, now, split, {}, 5000};
    for (const Waiting& one : judge_step(question)) {
      if (one.what == "blue-requests") return one.earliest_ms;
    }
    FAIL("does not wait for blue");
    return std::optional<uint64_t>();
  };
  CHECK(earliest(9000) == 15'000);
  CHECK(!earliest(conf::kFullSplit));  // none will come
}

TEST_CASE("rollout evidence: is saved ten times in a hold, each second at most") {
  Bench bench;
  RolloutPlan plan = plan_of({1000, 10000});
  REQUIRE(bench.start(plan));
  REQUIRE(bench.run_until_split(1000));
  bench.done.clear();
  bench.run(58'000);
  CHECK(saves(bench.done) == 9);  // every 6 s
  Bench brief;
  plan.hold_ms = 100;
  plan.min_requests = 100'000;
  REQUIRE(brief.start(plan));
  REQUIRE(brief.run_until_split(1000));
  brief.done.clear();
  for (int i = 0; i < 100; ++i) brief.tick(100);
  CHECK(saves(brief.done) == 10);
}

TEST_CASE("rollout evidence: what is gathered at the end is in the last record") {
  Bench bench;
  REQUIRE(bench.start(plan_of({1000, 10000})));
  REQUIRE(bench.run_until_split(1000));
  bench.run(10'000);
  const uint64_t before = bench.rollout.evidence().of(conf::Colour::green).attempts;
  bench.at.now_ms += 700;
  bench.rollout.gather(bench.at, bench.service.observe(1000, 700, bench.random));
  const auto restored = Rollout::restore(bench.rollout.save(), 1000, false, false);
  REQUIRE(restored.ok());
  CHECK((*restored)->evidence().held_ms == 10'700);
  CHECK((*restored)->evidence().of(conf::Colour::green).attempts > before);
}

TEST_CASE("rollout evidence: the pre-flight never passes a cap for want of data") {
  Bench bench;
  bench.service.caps = {{"database", 10, 0, 0.7, {true, true}}};
  bench.service.requests_per_s = 0;
  REQUIRE(bench.start(plan_of({1000, 10000})));
  bench.run(60'000);
  CHECK(bench.rollout.split() == 0);
  REQUIRE(bench.rollout.waiting_for().size() == 1);
  const Waiting& caps = bench.rollout.waiting_for().front();
  CHECK(caps.what == "caps");
  CHECK(caps.unit == "requests");
  CHECK(caps.need == kMinBlueRequests);
  CHECK(caps.why.find("cap.database") != std::string::npos);
  SECTION("what is seen then lets it pass") {
    bench.service.requests_per_s = 50;  // holds 2
    CHECK(bench.run_until_split(1000, 60'000));
  }
  SECTION("the peak counts, not the moment") {
    bench.service.requests_per_s = 200;  // holds 8
    bench.run(3'000);
    bench.service.requests_per_s = 10;
    bench.run(60'000);
    CHECK(bench.rollout.split() == 0);
    CHECK(bench.rollout.waiting_for().front().unit == "connections");
  }
}

TEST_CASE("rollout evidence: a full green is known by green itself") {
  Bench bench;
  bench.service.caps = {{"database", 100, 0, 0.7, {true, true}}};
  bench.keep(bench.rollout.split_changed(conf::kFullSplit, bench.at));
  REQUIRE(bench.start(plan_of({conf::kFullSplit})));
  bench.run(15'000);
  CHECK(bench.rollout.state() == RolloutState::holding);
}

TEST_CASE("rollout evidence: idle connections are no load") {
  Bench bench;
  bench.service.green_max = 40;  // green uses 10 at half of the traffic, and has pooled 25 more at times
  bench.keep(bench.rollout.split_changed(5000, bench.at));
  REQUIRE(bench.start(plan_of({5000, 10000})));
  bench.run(30'000);
  REQUIRE(bench.rollout.state() == RolloutState::holding);
  bench.service.idle[1] = 25;
  CHECK(bench.run_until_split(10000, 120'000));
}

TEST_CASE("rollout evidence: a step that was granted connections keeps them until its hold has passed") {
  Bench bench;
  bench.service.caps = {{"database", 1000, 0, 0.7, {false, true}}};
  bench.service.requests_per_s = 1000;  // 40 connections for all of it
  REQUIRE(bench.start(plan_of({2500, 10000})));
  REQUIRE(bench.run_until_split(2500));
  CHECK(bench.rollout.granted("database") == Approx(10).epsilon(0.2));
  CHECK(bench.rollout.granted("another") == 0);
  REQUIRE(bench.run_until_split(10000));
  CHECK(bench.rollout.granted("database") == Approx(40).epsilon(0.1));
  SECTION("also over a restart") {
    const auto restored = Rollout::restore(bench.rollout.save(), 10000, false, false);
    REQUIRE(restored.ok());
    CHECK((*restored)->granted("database") == bench.rollout.granted("database"));
    return;
  }
  SECTION("the hold has passed") {
    bench.service.requests_per_s = 0;
    bench.run(61'000);
    REQUIRE(bench.rollout.state() == RolloutState::holding);
  }
  SECTION("green goes back") {
    bench.keep(*bench.rollout.abort(bench.at, "operator"));
  }
  CHECK(bench.rollout.granted("database") == 0);
}

TEST_CASE("rollout evidence: the time left is that of the step and of the holds to come") {
  Bench bench;
  bench.service.endpoints_out = 1;
  CHECK(!bench.rollout.least_left_ms(bench.at.now_ms));
  REQUIRE(bench.start(plan_of({1000, 5000, 10000})));
  bench.tick();
  CHECK(bench.rollout.least_left_ms(bench.at.now_ms) == 180'000);
  bench.service.endpoints_out = 0;
  REQUIRE(bench.run_until_split(1000));
  bench.run(20'000);
  CHECK(bench.rollout.least_left_ms(bench.at.now_ms) == 160'000);
  bench.keep(*bench.rollout.pause(bench.at, "lunch"));
  CHECK(bench.rollout.least_left_ms(bench.at.now_ms) == 160'000);
  bench.keep(*bench.rollout.abort(bench.at, "operator"));
  CHECK(!bench.rollout.least_left_ms(bench.at.now_ms));
}

TEST_CASE("rollout evidence: a retry may go by another plan, and a restart knows whose the plan was") {
  Bench bench;
  RolloutPlan given = plan_of({1000, 10000});
  given.steps_given = true;
  REQUIRE(bench.start(given));
  REQUIRE(bench.run_until_split(1000));
  const auto restored = Rollout::restore(bench.rollout.save(), 1000, false, false);
  REQUIRE(restored.ok());
  CHECK((*restored)->plan() == given);
  bench.keep(*bench.rollout.abort(bench.at, "operator"));
  bench.keep(*bench.rollout.retry(plan_of({2000, 4000}), bench.at));
  CHECK(bench.run_until_split(2000));
}

TEST_CASE("rollout evidence: a step that was held for long is judged by what green does now") {
  Bench bench;
  bench.service.requests_per_s = 200;
  RolloutPlan plan = plan_of({5000, 10000});
  plan.auto_promote = false;
  REQUIRE(bench.start(plan));
  REQUIRE(bench.run_until_split(5000));
  SECTION("slow now, fast for hours") {
    bench.run(4 * 3'600'000);
    CHECK(!waits_for(bench.rollout, "latency"));
    bench.service.latency_ms[1] *= 3;
    bench.run(2 * stretch_ms(plan) + 1000 * stretch_requests(plan) / 100);
    CHECK(waits_for(bench.rollout, "latency"));
  }
  SECTION("failing for an hour, well now") {
    bench.service.error_rate[1] = 0.05;
    bench.run(3'600'000);
    CHECK(waits_for(bench.rollout, "error-rate"));
    bench.service.error_rate[1] = 0;
    bench.run(2 * stretch_ms(plan) + 2 * 1000 * stretch_requests(plan) / 100);
    CHECK(!waits_for(bench.rollout, "error-rate"));
    // Also after a restart in between.
    const auto restored = Rollout::restore(bench.rollout.save(), 5000, false, false);
    REQUIRE(restored.ok());
    CHECK((*restored)->evidence().of(conf::Colour::green).errors ==
          bench.rollout.evidence().of(conf::Colour::green).errors);
    CHECK((*restored)->evidence().latest[1].span_ms == bench.rollout.evidence().latest[1].span_ms);
    // The report has all of it.
    bench.keep(*bench.rollout.promote(bench.at, false));
    CHECK(bench.rollout.report().steps.front().by_colour[1].attempts > 300'000);
    CHECK(bench.rollout.report().steps.front().by_colour[1].errors > 10'000);
  }
}

TEST_CASE("rollout evidence: little traffic is not forgotten before it was enough") {
  Bench bench;
  bench.service.requests_per_s = 0.5;
  RolloutPlan plan = plan_of({5000, 10000});
  plan.auto_promote = false;
  REQUIRE(bench.start(plan));
  REQUIRE(bench.run_until_split(5000));
  const uint64_t began_ms = bench.at.now_ms;
  bench.run(6 * 3'600'000);
  const ColourEvidence& green = bench.rollout.evidence().of(conf::Colour::green);
  CHECK(green.attempts == Approx(0.25 * 6 * 3600).epsilon(0.1));
  CHECK(green.span_ms == bench.at.now_ms - began_ms);
}

TEST_CASE(
    "rollout evidence: a green that equals blue can pass by one stretch at any rate that blue may have") {
  for (const double margin : {0.0, 0.001, 0.01, 0.1}) {
    for (const uint64_t min_requests : {50, 600, 20'000}) {
      RolloutPlan plan = plan_of({5000, 10000});
      plan.margin = margin;
      plan.min_requests = min_requests;
      const auto n = static_cast<double>(stretch_requests(plan));
      const double rate = kMostBlueErrorRate;
      CHECK(wilson(rate * n, n).upper <= rate + allowed_excess(plan));
    }
  }
}

}  // namespace
}  // namespace sluice::balancer
