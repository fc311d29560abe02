#include "balancer/rollout.h"

#include <catch2/catch.hpp>

#include "balancer/rollout_text.h"
#include "tests/balancer/rollout_fixtures.h"

namespace sluice::balancer {
namespace {

using Kind = RolloutAction::Kind;

TEST_CASE("rollout: bad plans are refused with the reason") {
  const auto reason = [](std::vector<conf::BasisPoints> steps) {
    const conf::Status status = validate(plan_of(std::move(steps)));
    return status ? std::string("fine") : status.error().detail;
  };
  CHECK(reason({1000, 2500, 5000, 10000}) == "fine");
  CHECK(reason({}) == "The plan has no steps.");
  CHECK(reason({0, 1000}) == "A step of 0 % gives green nothing to show.");
  CHECK(reason({2500, 1000}) == "The steps must rise, but 10 % follows 25 %.");
  CHECK(reason({2500, 2500}) == "The steps must rise, but 25 % follows 25 %.");
  CHECK(reason({5000, 10001}) == "The step 100.01 % is over 100 %.");
  CHECK(reason(std::vector<conf::BasisPoints>(101, 5)) == "The plan has more than 100 steps.");
  RolloutPlan hasty = plan_of({1000});
  hasty.deadline_ms = hasty.hold_ms;
  CHECK(!validate(hasty));
}

TEST_CASE("rollout: an overlapping start and a start below green's split are refused") {
  Bench bench;
  REQUIRE(bench.start(plan_of({1000, 10000})));
  const conf::Status again = bench.start(plan_of({1000}));
  REQUIRE(!again.ok());
  CHECK(again.error().kind == conf::Error::Kind::refused);
  Bench late;
  late.keep(late.rollout.split_changed(5000, late.at));
  CHECK(!late.start(plan_of({1000, 10000})));
  CHECK(late.start(plan_of({5000, 10000})));
}

TEST_CASE("rollout: a healthy green goes through all steps and completes") {
  Bench bench;
  REQUIRE(bench.start(plan_of({1000, 2500, 5000, 10000})));
  for (const conf::BasisPoints step : {1000U, 2500U, 5000U, 10000U}) {
    REQUIRE(bench.run_until_split(step));
    CHECK(bench.rollout.state() == RolloutState::holding);
    CHECK(bench.rollout.evidence().held_ms == 0);
  }
  bench.run(120'000);
  CHECK(bench.rollout.state() == RolloutState::completed);
  CHECK(bench.rollout.split() == conf::kFullSplit);
  CHECK(find(bench.done, Notice::done) != nullptr);
  CHECK(bench.done.back().kind == Kind::finish_report);
  const RolloutReport& report = bench.rollout.report();
  REQUIRE(report.steps.size() == 4);
  for (const StepReport& step : report.steps) {
    CHECK(step.outcome == "passed");
    CHECK(step.held_ms >= 60'000);
    CHECK(step.by_colour[1].attempts >= 600);
  }
}

TEST_CASE("rollout: a split is put in force before it is saved, and saved before it is told") {
  Bench bench;
  REQUIRE(bench.start(plan_of({1000})));
  bench.done.clear();
  REQUIRE(bench.run_until_split(1000));
  REQUIRE(bench.done.size() == 3);
  CHECK(bench.done[0].kind == Kind::set_split);
  CHECK(bench.done[0].green == 1000);
  CHECK(bench.done[1].kind == Kind::save);
  CHECK(bench.done[2].kind == Kind::notify);
}

TEST_CASE("rollout: holds for want of data and says what is missing and until when") {
  Bench bench;
  bench.service.requests_per_s = 20;  // 2 of green a second: 600 take 300 s
  REQUIRE(bench.start(plan_of({1000, 10000})));
  REQUIRE(bench.run_until_split(1000));
  bench.run(100'000);
  REQUIRE(waits_for(bench.rollout, "requests"));
  CHECK(!waits_for(bench.rollout, "hold"));
  for (const Waiting& one : bench.rollout.waiting_for()) {
    if (one.what != "requests") continue;
    CHECK(one.have == Approx(200).margin(3));
    CHECK(one.need == 600);
    CHECK(one.earliest_ms.value() == Approx(bench.at.now_ms + 200'000).margin(5000));
  }
  CHECK(find(bench.done, Notice::hold) != nullptr);
  bench.service.requests_per_s = 0;
  bench.run(1'000'000);
  CHECK(bench.rollout.split() == 1000);
}

TEST_CASE("rollout: a green that fails more than the margin allows is held, and the bound narrows") {
  Bench bench;
  bench.service.error_rate[1] = 0.02;
  REQUIRE(bench.start(plan_of({5000, 10000})));
  REQUIRE(bench.run_until_split(5000));
  bench.run(600'000);
  CHECK(bench.rollout.split() == 5000);
  CHECK(waits_for(bench.rollout, "error-rate"));
  bench.service.error_rate[0] = 0.02;  // blue does as well: it is not green's fault
  CHECK(bench.run_until_split(10000, 10'000'000));
}

TEST_CASE("rollout: min_requests say how much doubt is enough, but never fewer than a few dozen") {
  RolloutPlan plan;
  plan.margin = 0.001;
  plan.min_requests = 600;
  CHECK(allowed_excess(plan) == Approx(4.0 / 604));
  plan.min_requests = 1;
  CHECK(allowed_excess(plan) == Approx(4.0 / 54));
  plan.min_requests = 1'000'000;
  CHECK(allowed_excess(plan) == 0.001);
}

TEST_CASE("rollout: while blue itself is broken no step passes, however well green compares") {
  Bench bench;
  bench.service.error_rate[0] = bench.service.error_rate[1] = 0.9;
  REQUIRE(bench.start(plan_of({5000, 10000})));
  REQUIRE(bench.run_until_split(5000));
  bench.run(300'000);
  CHECK(bench.rollout.split() == 5000);
  CHECK(waits_for(bench.rollout, "blue"));
}

TEST_CASE("rollout: a slow green is held") {
  Bench bench;
  bench.service.latency_ms[1] = 45;
  REQUIRE(bench.start(plan_of({5000, 10000})));
  REQUIRE(bench.run_until_split(5000));
  bench.run(300'000);
  CHECK(bench.rollout.split() == 5000);
  CHECK(waits_for(bench.rollout, "latency"));
  CHECK(bench.rollout.waiting_for().size() == 1);
}

TEST_CASE("rollout: endpoints that are out, the judge, the journal and a freeze each hold it alone") {
  Bench bench;
  REQUIRE(bench.start(plan_of({5000, 10000})));
  REQUIRE(bench.run_until_split(5000));
  bench.service.endpoints_out = 1;
  bench.run(120'000);
  CHECK(bench.rollout.waiting_for().size() == 1);
  CHECK(waits_for(bench.rollout, "endpoints"));
  bench.service.endpoints_out = 0;
  bench.service.judge_hold = "Blue fails as well.";
  bench.run(10'000);
  CHECK(bench.rollout.waiting_for().size() == 1);
  CHECK(waits_for(bench.rollout, "judge"));
  bench.service.judge_hold.clear();
  bench.service.state_saved = false;
  bench.run(10'000);
  CHECK(bench.rollout.waiting_for().size() == 1);
  CHECK(waits_for(bench.rollout, "journal"));
  bench.service.state_saved = true;
  bench.rollout.set_frozen(true);
  bench.run(10'000);
  CHECK(bench.rollout.waiting_for().size() == 1);
  CHECK(waits_for(bench.rollout, "freeze"));
  CHECK(!bench.rollout.promote(bench.at, false));
  CHECK(bench.rollout.split() == 5000);
  bench.rollout.set_frozen(false);
  bench.tick();
  CHECK(bench.rollout.split() == 10000);
}

TEST_CASE("rollout: the forecast holds it before the step that would fill the database") {
  Bench bench;
  // 98 connections in use at 50 %: green holds 40 and blue 58 of 100.
  bench.service.requests_per_s = 1000;
  bench.service.held_ms[0] = 116;
  bench.service.held_ms[1] = 80;
  bench.service.caps = {{"database", 100, 0, 0.7, {true, true}}};
  bench.keep(bench.rollout.split_changed(5000, bench.at));
  REQUIRE(bench.start(plan_of({5000, 10000})));
  bench.run(10'000);
  // The pre-flight sees it already: both at full size need more than there is.
  REQUIRE(waits_for(bench.rollout, "caps"));
  bench.keep(*bench.rollout.promote(bench.at, false));
  bench.run(600'000);
  CHECK(bench.rollout.split() == 5000);
  REQUIRE(bench.rollout.waiting_for().size() == 1);
  const Waiting& forecast = bench.rollout.waiting_for().front();
  CHECK(forecast.what == "forecast");
  CHECK(forecast.have == Approx(80).epsilon(0.05));
  CHECK(forecast.need == Approx(70));
  CHECK(forecast.why.find("cap.database") != std::string::npos);
}

TEST_CASE("rollout: the pre-flight waits for a healthy green and for smoke requests") {
  Bench bench;
  RolloutPlan plan = plan_of({1000});
  plan.smoke_requests = 5;
  bench.service.endpoints_out = 1;
  REQUIRE(bench.start(plan));
  bench.run(10'000);
  CHECK(waits_for(bench.rollout, "endpoints"));
  CHECK(find(bench.done, Kind::smoke) == nullptr);
  bench.service.endpoints_out = 0;
  bench.tick();
  REQUIRE(find(bench.done, Kind::smoke) != nullptr);
  CHECK(find(bench.done, Kind::smoke)->number == 5);
  const uint64_t first = find(bench.done, Kind::smoke)->round;
  CHECK(bench.rollout.awaits_smoke(first));
  bench.keep(bench.rollout.smoke_finished(first, false, "500", bench.at));
  bench.done.clear();
  bench.run(30'000);
  CHECK(waits_for(bench.rollout, "smoke"));
  CHECK(find(bench.done, Kind::smoke) == nullptr);
  bench.run(31'000);
  REQUIRE(find(bench.done, Kind::smoke) != nullptr);
  const uint64_t second = find(bench.done, Kind::smoke)->round;
  CHECK_FALSE(bench.rollout.awaits_smoke(first));
  bench.keep(bench.rollout.smoke_finished(first, true, "", bench.at));  // late
  bench.tick();
  CHECK(waits_for(bench.rollout, "smoke"));
  bench.keep(bench.rollout.smoke_finished(second, true, "", bench.at));
  bench.tick();
  CHECK(bench.rollout.split() == 1000);
}

TEST_CASE("rollout: what another rollout asked green says nothing of this one") {
  Bench bench;
  RolloutPlan plan = plan_of({1000});
  plan.smoke_requests = 5;
  REQUIRE(bench.start(plan));
  bench.tick();
  REQUIRE(find(bench.done, Kind::smoke) != nullptr);
  const uint64_t before = find(bench.done, Kind::smoke)->round;
  bench.keep(*bench.rollout.abort(bench.at, "operator"));
  bench.done.clear();
  bench.keep(*bench.rollout.retry(plan, bench.at));
  bench.tick();
  CHECK_FALSE(bench.rollout.awaits_smoke(before));
  bench.keep(bench.rollout.smoke_finished(before, true, "", bench.at));
  bench.tick();
  CHECK(bench.rollout.split() == 0);
}

TEST_CASE("rollout: the report has what was seen so far of the step under way") {
  Bench bench;
  REQUIRE(bench.start(plan_of({1000, 10000})));
  REQUIRE(bench.run_until_split(1000));
  bench.run(5'000);
  const RolloutReport so_far = bench.rollout.report_so_far();
  REQUIRE(so_far.steps.size() == 1);
  CHECK(so_far.steps[0].outcome.empty());
  CHECK(so_far.steps[0].held_ms > 0);
  CHECK(so_far.steps[0].by_colour[0].attempts > 0);
  CHECK(bench.rollout.report().steps[0].by_colour[0].attempts == 0);
}

TEST_CASE("rollout: the pre-flight's deadline aborts") {
  Bench bench;
  RolloutPlan plan = plan_of({1000});
  plan.deadline_ms = 120'000;
  bench.service.endpoints_out = 2;
  REQUIRE(bench.start(plan));
  bench.run(130'000);
  CHECK(bench.rollout.state() == RolloutState::aborted);
  CHECK(bench.rollout.split() == 0);
}

TEST_CASE("rollout: a gate is asked once all else is met, and vetoes by a no or by silence") {
  Bench bench;
  RolloutPlan plan = plan_of({1000, 10000});
  plan.gate = kGate;
  REQUIRE(bench.start(plan));
  pass_gate(bench, 1000);
  bench.run(50'000);
  CHECK(find(bench.done, Kind::ask_gate) == nullptr);
  bench.run(15'000);
  const RolloutAction* question = find(bench.done, Kind::ask_gate);
  REQUIRE(question != nullptr);
  CHECK(question->green == 10000);
  const uint64_t number = question->number;
  bench.keep(bench.rollout.gate_answered(number, false, "not on Fridays", bench.at));
  CHECK(find(bench.done, Notice::veto) != nullptr);
  bench.done.clear();
  bench.run(50'000);
  CHECK(waits_for(bench.rollout, "gate"));
  CHECK(find(bench.done, Kind::ask_gate) == nullptr);
  bench.run(30'000);  // asked again, and silent
  REQUIRE(find(bench.done, Kind::ask_gate) != nullptr);
  REQUIRE(find(bench.done, Notice::veto) != nullptr);
  CHECK(bench.rollout.gate_answered(number, true, "", bench.at).empty());  // an old answer
  bench.done.clear();
  while (find(bench.done, Kind::ask_gate) == nullptr) bench.tick();
  bench.keep(bench.rollout.gate_answered(find(bench.done, Kind::ask_gate)->number, true, "", bench.at));
  bench.tick();
  CHECK(bench.rollout.split() == 10000);
}

TEST_CASE("rollout: without auto_promote each step waits for the operator") {
  Bench bench;
  RolloutPlan plan = plan_of({1000, 10000});
  plan.auto_promote = false;
  REQUIRE(bench.start(plan));
  REQUIRE(bench.run_until_split(1000));
  bench.run(200'000);
  CHECK(waits_for(bench.rollout, "promote"));
  bench.keep(*bench.rollout.promote(bench.at, false));
  CHECK(bench.rollout.split() == 10000);
  CHECK(bench.rollout.report().steps.front().outcome == "promoted");
  bench.run(200'000);
  CHECK(bench.rollout.state() == RolloutState::completed);
}

TEST_CASE("rollout: promote --full goes to the last step and completes") {
  Bench bench;
  REQUIRE(bench.start(plan_of({1000, 2500, 5000})));
  REQUIRE(bench.run_until_split(1000));
  bench.keep(*bench.rollout.promote(bench.at, true));
  CHECK(bench.rollout.split() == 5000);
  CHECK(bench.rollout.state() == RolloutState::completed);
}

TEST_CASE("rollout: a pause stops the hold's clock and a resume goes on with it") {
  Bench bench;
  REQUIRE(bench.start(plan_of({1000, 10000})));
  REQUIRE(bench.run_until_split(1000));
  bench.run(30'000);
  bench.keep(*bench.rollout.pause(bench.at, "lunch"));
  CHECK(!bench.rollout.promote(bench.at, false));
  bench.run(600'000);
  CHECK(bench.rollout.split() == 1000);
  CHECK(bench.rollout.evidence().held_ms == 30'000);
  bench.keep(*bench.rollout.resume(bench.at));
  bench.run(29'000);
  CHECK(bench.rollout.split() == 1000);
  bench.run(20'000);
  CHECK(bench.rollout.split() == 10000);
}

TEST_CASE("rollout: a pre-flight that was paused goes on as a pre-flight") {
  Bench bench;
  bench.service.endpoints_out = 1;
  REQUIRE(bench.start(plan_of({1000, 10000})));
  bench.run(5'000);
  bench.keep(bench.rollout.split_changed(500, bench.at));
  CHECK(bench.rollout.state() == RolloutState::paused);
  bench.keep(*bench.rollout.resume(bench.at));
  CHECK(bench.rollout.state() == RolloutState::preflight);
  bench.run(5'000);
  CHECK(bench.rollout.split() == 500);
  bench.keep(bench.rollout.split_changed(2000, bench.at));
  CHECK(!bench.rollout.resume(bench.at));  // the first step would take away what was given by hand
}

TEST_CASE("rollout: a change by hand pauses it, and resume begins the step anew") {
  Bench bench;
  REQUIRE(bench.start(plan_of({1000, 2500, 10000})));
  REQUIRE(bench.run_until_split(2500));
  bench.run(30'000);
  bench.keep(bench.rollout.split_changed(500, bench.at));
  CHECK(bench.rollout.state() == RolloutState::paused);
  bench.rollout.set_frozen(true);
  CHECK(!bench.rollout.resume(bench.at));
  bench.rollout.set_frozen(false);
  bench.keep(*bench.rollout.resume(bench.at));
  CHECK(bench.rollout.split() == 2500);
  CHECK(bench.rollout.evidence().held_ms == 0);
  CHECK(bench.rollout.report().steps[1].outcome == "interrupted");
}

TEST_CASE("rollout: abort goes back at once, from any state, and can be retried") {
  Bench bench;
  CHECK(!bench.rollout.abort(bench.at, "nothing there"));
  REQUIRE(bench.start(plan_of({1000, 10000})));
  REQUIRE(bench.run_until_split(1000));
  bench.keep(*bench.rollout.pause(bench.at, "look"));
  bench.rollout.set_frozen(true);
  bench.keep(*bench.rollout.abort(bench.at, "operator"));
  CHECK(bench.rollout.state() == RolloutState::aborted);
  CHECK(bench.rollout.split() == 0);
  CHECK(bench.rollout.abort(bench.at, "again")->empty());
  bench.rollout.set_frozen(false);
  bench.keep(bench.rollout.split_changed(4000, bench.at));
  bench.rollout.set_frozen(true);
  bench.keep(*bench.rollout.abort(bench.at, "what was given since"));
  CHECK(bench.rollout.state() == RolloutState::aborted);
  CHECK(bench.rollout.split() == 0);
  CHECK(!bench.rollout.retry(bench.rollout.plan(), bench.at));  // frozen
  bench.rollout.set_frozen(false);
  bench.keep(*bench.rollout.retry(bench.rollout.plan(), bench.at));
  CHECK(bench.rollout.state() == RolloutState::preflight);
  REQUIRE(bench.run_until_split(10000));
}

TEST_CASE("rollout: going back over a time ramps, waits for a full blue, and ends") {
  Bench bench;
  RolloutPlan plan = plan_of({1000, 10000});
  plan.return_ms = 20'000;
  REQUIRE(bench.start(plan));
  REQUIRE(bench.run_until_split(10000));
  SECTION("in even steps") {
    bench.keep(*bench.rollout.abort(bench.at, "operator"));
    CHECK(bench.rollout.state() == RolloutState::returning);
    bench.run(10'000);
    CHECK(bench.rollout.split() == 5000);
    bench.run(10'000);
  }
  SECTION("not while blue is full, but at most twice as long") {
    bench.keep(*bench.rollout.abort(bench.at, "operator"));
    bench.service.caps = {{"database", 10, 9, 0.7, {true, true}}};
    bench.run(15'000);
    CHECK(bench.rollout.split() == 10000);
    bench.run(25'000);
  }
  SECTION("at once at a second abort") {
    bench.keep(*bench.rollout.abort(bench.at, "operator"));
    bench.run(5'000);
    bench.keep(*bench.rollout.abort(bench.at, "now"));
  }
  CHECK(bench.rollout.split() == 0);
  CHECK(bench.rollout.state() == RolloutState::aborted);
  CHECK(bench.rollout.report().reason == "operator");
}

TEST_CASE("rollout: a deadline turns a hold into an abort with the reasons") {
  Bench bench;
  RolloutPlan plan = plan_of({1000, 10000});
  plan.deadline_ms = 300'000;
  REQUIRE(bench.start(plan));
  REQUIRE(bench.run_until_split(1000));
  bench.service.requests_per_s = 0;
  bench.run(310'000);
  CHECK(bench.rollout.state() == RolloutState::aborted);
  CHECK(bench.rollout.split() == 0);
  CHECK(bench.rollout.report().reason.find("Too few requests of green") != std::string::npos);
}

TEST_CASE("rollout: a trip wins in every state and holds until the reset") {
  Bench bench;
  REQUIRE(bench.start(plan_of({5000, 10000})));
  REQUIRE(bench.run_until_split(5000));
  SECTION("while holding") {}
  SECTION("while paused") {
    bench.keep(*bench.rollout.pause(bench.at, "look"));
  }
  SECTION("after completion") {
    bench.keep(*bench.rollout.promote(bench.at, true));
  }
  bench.done.clear();
  bench.keep(bench.rollout.tripped("errors", bench.at));
  CHECK(bench.done.front().kind == Kind::set_split);
  CHECK(bench.done.front().green == 0);
  CHECK(bench.rollout.state() == RolloutState::tripped);
  CHECK(!bench.rollout.retry(bench.rollout.plan(), bench.at));
  CHECK(!bench.rollout.resume(bench.at));
  CHECK(!bench.rollout.promote(bench.at, true));
  CHECK(!bench.start(plan_of({1000})));
  bench.run(600'000);
  CHECK(bench.rollout.split() == 0);
  bench.rollout.reset();
  CHECK(bench.rollout.retry(bench.rollout.plan(), bench.at));
}

TEST_CASE("rollout: a trip without a rollout takes the split that was set by hand") {
  Bench bench;
  bench.keep(bench.rollout.split_changed(3000, bench.at));
  bench.keep(bench.rollout.tripped("errors", bench.at));
  CHECK(bench.rollout.state() == RolloutState::idle);
  CHECK(bench.rollout.split() == 0);
}

TEST_CASE("rollout: goes on after a restart with its evidence, and the time between does not count") {
  Bench bench;
  REQUIRE(bench.start(plan_of({1000, 10000})));
  REQUIRE(bench.run_until_split(1000));
  bench.run(50'000);
  const std::string saved = bench.rollout.save();
  auto restored = Rollout::restore(saved, 1000, false, false);
  REQUIRE(restored.ok());
  Rollout& again = **restored;
  CHECK(again.save() == saved);
  CHECK(again.state() == RolloutState::holding);
  CHECK(again.evidence().held_ms == 50'000);
  CHECK(again.evidence().of(conf::Colour::green).attempts ==
        bench.rollout.evidence().of(conf::Colour::green).attempts);
  CHECK(again.report() == bench.rollout.report());
  Moment at{7, bench.at.unix_ms + 3'600'000};
  again.tick(at, bench.service.observe(1000, 0, bench.random));
  CHECK(again.evidence().held_ms == 50'000);
  for (int i = 0; i < 20 && again.split() == 1000; ++i) {
    at.now_ms += 1000;
    again.tick(at, bench.service.observe(1000, 1000, bench.random));
  }
  CHECK(again.split() == 10000);
}

TEST_CASE("rollout: a saved record that makes no sense is refused, one that contradicts the split pauses") {
  CHECK(!Rollout::restore("nonsense", 0, false, false));
  CHECK(!Rollout::restore("", 0, false, false));
  Bench bench;
  REQUIRE(bench.start(plan_of({1000, 10000})));
  REQUIRE(bench.run_until_split(1000));
  const auto other = Rollout::restore(bench.rollout.save(), 700, false, false);
  REQUIRE(other.ok());
  CHECK((*other)->state() == RolloutState::paused);
  CHECK((*other)->split() == 700);
}

TEST_CASE("rollout report: says what happened as JSON and as text") {
  RolloutReport report;
  report.service = "web \"1\"";
  report.plan = {1000, 1250};
  report.began_unix_ms = 1'709'210'096'007;  // a leap day
  report.outcome = "aborted";
  report.reason = "line\nbreak";
  report.add_step({1000, 1'709'210'096'007, 0, 12'500, "", "", {{100, 1, 0.01, 0.02, 0.03}, {}}});
  report.add_event(1'709'210'096'007, "began");
  CHECK(to_json(report) ==
        "{\"service\":\"web "
        "\\\"1\\\"\",\"plan\":[10,12.5],\"began\":\"2024-02-29T12:34:56.007Z\",\"ended\":null,"
        "\"outcome\":\"aborted\",\"reason\":\"line\\u000abreak\",\"steps\":[{\"green\":10,"
        "\"began\":\"2024-02-29T12:34:56.007Z\",\"ended\":null,\"held_s\":12.5,\"outcome\":\"\",\"reason\":"
        "\"\","
        "\"seen_blue\":{\"attempts\":100,\"errors\":1,\"p50_s\":0.01,\"p95_s\":0.02,\"p99_s\":0.03},"
        "\"seen_green\":{\"attempts\":0,\"errors\":0,\"p50_s\":0,\"p95_s\":0,\"p99_s\":0}}],"
        "\"events\":[{\"at\":\"2024-02-29T12:34:56.007Z\",\"text\":\"began\"}]}");
  const std::string text = to_text(report);
  CHECK(text.find("10 %, held 12.5 s, under way") != std::string::npos);
  CHECK(text.find("100 attempts, 1 errors (1.00 %), p50 10.0  p95 20.0  p99 30.0 ms") != std::string::npos);
  const auto restored = RolloutReport::restore(report.save());
  REQUIRE(restored.ok());
  CHECK(*restored == report);
}

TEST_CASE("rollout text: splits and durations read as people write them") {
  CHECK(percent(2500) == "25 %");
  CHECK(percent(50) == "0.5 %");
  CHECK(percent(1205) == "12.05 %");
  CHECK(percent(1234) == "12.34 %");
  CHECK(duration_text(850) == "850 ms");
  CHECK(duration_text(12'500) == "12.5 s");
  CHECK(duration_text(303'000) == "5 m 3 s");
  CHECK(duration_text(7'800'000) == "2 h 10 m");
}

}  // namespace
}  // namespace sluice::balancer
