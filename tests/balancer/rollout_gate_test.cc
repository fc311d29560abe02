#include <catch2/catch.hpp>

#include "tests/balancer/rollout_fixtures.h"

namespace sluice::balancer {
namespace {

using Kind = RolloutAction::Kind;

RolloutPlan gated(std::vector<conf::BasisPoints> steps) {
  RolloutPlan plan = plan_of(std::move(steps));
  plan.gate = kGate;
  return plan;
}

TEST_CASE("rollout gate: also the first step needs its yes") {
  Bench bench;
  REQUIRE(bench.start(gated({1000, 10000})));
  bench.run(5'000);
  CHECK(bench.rollout.split() == 0);
  CHECK(waits_for(bench.rollout, "gate"));
  const RolloutAction* const question = find(bench.done, Kind::ask_gate);
  REQUIRE(question != nullptr);
  CHECK(question->green == 1000);
  bench.keep(bench.rollout.gate_answered(question->number, false, "Friday.", bench.at));
  bench.run(50'000);
  CHECK(bench.rollout.split() == 0);
  bench.done.clear();
  pass_gate(bench, 1000);
  CHECK(bench.rollout.state() == RolloutState::holding);
}

TEST_CASE("rollout gate: is asked before the operator is, and its no is the last word but for --full") {
  Bench bench;
  RolloutPlan plan = gated({1000, 5000, 10000});
  plan.auto_promote = false;
  REQUIRE(bench.start(plan));
  pass_gate(bench, 1000);
  while (find(bench.done, Kind::ask_gate) == nullptr) bench.tick();
  CHECK(waits_for(bench.rollout, "promote"));
  bench.keep(
      bench.rollout.gate_answered(find(bench.done, Kind::ask_gate)->number, false, "Friday.", bench.at));
  bench.tick();
  const auto refused = bench.rollout.promote(bench.at, false);
  REQUIRE(!refused);
  CHECK(refused.error().detail.find("Friday.") != std::string::npos);
  CHECK(bench.rollout.split() == 1000);
  SECTION("--full goes past it, and the report says so") {
    bench.keep(*bench.rollout.promote(bench.at, true));
    CHECK(bench.rollout.split() == 10000);
    CHECK(bench.rollout.report().reason.find("The gate had said no: Friday.") != std::string::npos);
  }
  SECTION("a later yes lets the operator promote") {
    bench.done.clear();
    while (find(bench.done, Kind::ask_gate) == nullptr) bench.tick();
    bench.keep(bench.rollout.gate_answered(find(bench.done, Kind::ask_gate)->number, true, "", bench.at));
    bench.run(5'000);
    CHECK(bench.rollout.split() == 1000);
    bench.keep(*bench.rollout.promote(bench.at, false));
    CHECK(bench.rollout.split() == 5000);
  }
}

TEST_CASE("rollout gate: a promotion before all is met asks it first") {
  Bench bench;
  REQUIRE(bench.start(gated({1000, 5000, 10000})));
  pass_gate(bench, 1000);
  bench.run(5'000);
  REQUIRE(waits_for(bench.rollout, "hold"));
  bench.keep(*bench.rollout.promote(bench.at, false));
  CHECK(bench.rollout.promotion_asked());
  CHECK(waits_for(bench.rollout, "gate"));
  const RolloutAction* const question = find(bench.done, Kind::ask_gate);
  REQUIRE(question != nullptr);
  CHECK(question->green == 5000);
  const uint64_t number = question->number;
  bench.tick();
  CHECK(bench.rollout.split() == 1000);
  SECTION("its yes promotes") {
    bench.keep(bench.rollout.gate_answered(number, true, "", bench.at));
    CHECK(bench.rollout.split() == 5000);
    CHECK(bench.rollout.report().steps.front().outcome == "promoted");
    return;
  }
  SECTION("its no does not") {
    bench.keep(bench.rollout.gate_answered(number, false, "Friday.", bench.at));
    CHECK(!bench.rollout.promote(bench.at, false));
  }
  SECTION("its silence does not") {
    bench.run(11'000);
    CHECK(find(bench.done, Notice::veto) != nullptr);
    CHECK(!bench.rollout.promote(bench.at, false));
  }
  SECTION("its yes comes too late for a freeze") {
    bench.rollout.set_frozen(true);
    bench.keep(bench.rollout.gate_answered(number, true, "", bench.at));
  }
  SECTION("a pause takes it back") {
    bench.keep(*bench.rollout.pause(bench.at, "look"));
    bench.keep(*bench.rollout.resume(bench.at));
    bench.keep(bench.rollout.gate_answered(number, true, "", bench.at));
  }
  CHECK(!bench.rollout.promotion_asked());
  CHECK(bench.rollout.split() == 1000);
  CHECK(bench.rollout.state() == RolloutState::holding);
}

TEST_CASE("rollout gate: an answer after the end changes and tells nothing") {
  Bench bench;
  REQUIRE(bench.start(gated({1000, 10000})));
  while (find(bench.done, Kind::ask_gate) == nullptr) bench.tick();
  const uint64_t number = find(bench.done, Kind::ask_gate)->number;
  bench.keep(*bench.rollout.abort(bench.at, "operator"));
  CHECK(bench.rollout.gate_answered(number, false, "Friday.", bench.at).empty());
}

TEST_CASE("rollout gate: the same no is told once, however long an operator is awaited") {
  Bench bench;
  RolloutPlan plan = gated({1000, 10000});
  plan.auto_promote = false;
  REQUIRE(bench.start(plan));
  pass_gate(bench, 1000);
  const auto answer = [&bench](bool allowed, const std::string& reason) {
    while (find(bench.done, Kind::ask_gate) == nullptr) bench.tick();
    const uint64_t number = find(bench.done, Kind::ask_gate)->number;
    bench.done.clear();
    bench.keep(bench.rollout.gate_answered(number, allowed, reason, bench.at));
    const bool told = find(bench.done, Notice::veto) != nullptr;
    bench.run(5'000);
    return told;
  };
  CHECK(answer(false, "Friday."));
  for (int minute = 0; minute < 10; ++minute) CHECK(!answer(false, "Friday."));
  CHECK(waits_for(bench.rollout, "gate"));
  CHECK(answer(false, "Saturday."));
  CHECK(!answer(true, ""));
  CHECK(answer(false, "Saturday."));
  // Nor is its silence told twice.
  bench.done.clear();
  bench.run(600'000);
  const auto vetoes = std::count_if(bench.done.begin(), bench.done.end(), [](const RolloutAction& action) {
    return action.kind == Kind::notify && action.notice == Notice::veto;
  });
  CHECK(vetoes == 1);
}

}  // namespace
}  // namespace sluice::balancer
