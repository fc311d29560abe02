#include "health/active_check.h"

#include <catch2/catch.hpp>
#include <set>
#include <utility>

#include "health/check_scheduler.h"
#include "tests/health/fixtures.h"

namespace sluice::health {
namespace {

using balancer::EndpointHealth;
using balancer::Random;

conf::Health settings_of(uint32_t rise, uint32_t fall) {
  conf::Health settings;
  settings.enabled = true;
  settings.rise = rise;
  settings.fall = fall;
  return settings;
}

std::optional<CheckTransition> run(ActiveCheck& check, const ProbeResult& result, Random& random) {
  const uint64_t begin_ms = check.due_ms();
  check.start(begin_ms);
  return check.finish(result, begin_ms + 10, random);
}

TEST_CASE("active check: an unknown endpoint is up after one success and not before") {
  Random random(1);
  ActiveCheck check(settings_of(5, 3), 0, random);
  for (int i = 0; i < 20; ++i) {
    CHECK(!run(check, failure(), random));
    CHECK(check.health() == EndpointHealth::unknown);
  }
  CHECK(check.failures() == 20);
  CHECK(check.last_failure() == "connection refused");
  const auto transition = run(check, kOk, random);
  REQUIRE(transition.has_value());
  CHECK(transition->to == EndpointHealth::up);
}

TEST_CASE("active check: falls after `fall` failures in a row and rises after `rise` successes in a row") {
  Random random(1);
  ActiveCheck check(settings_of(2, 3), 0, random);
  run(check, kOk, random);
  CHECK(!run(check, failure(), random));
  CHECK(!run(check, failure(), random));
  CHECK(!run(check, kOk, random));  // not in a row
  CHECK(!run(check, failure(), random));
  CHECK(!run(check, failure(), random));
  const auto down = run(check, failure("status 500"), random);
  REQUIRE(down.has_value());
  CHECK(down->from == EndpointHealth::up);
  CHECK(down->to == EndpointHealth::down);
  CHECK(down->reason == "3 failed checks: status 500");
  CHECK(!run(check, kOk, random));
  CHECK(!run(check, failure(), random));
  CHECK(!run(check, kOk, random));
  const auto up = run(check, kOk, random);
  REQUIRE(up.has_value());
  CHECK(up->to == EndpointHealth::up);
}

TEST_CASE("active check: keeps its interval within the jitter, and is faster while anything is wrong") {
  Random random(3);
  ActiveCheck check(settings_of(2, 3), 500, random);
  CHECK(check.due_ms() >= 500);
  CHECK(check.due_ms() < 600);
  const uint64_t first_ms = check.due_ms() + 10;
  run(check, kOk, random);
  CHECK(check.due_ms() > first_ms);  // spread over the whole interval
  CHECK(check.due_ms() <= first_ms + 2000);
  std::set<uint64_t> gaps;
  for (int i = 0; i < 100; ++i) {
    const uint64_t begin_ms = check.due_ms();
    run(check, kOk, random);
    gaps.insert(check.due_ms() - begin_ms);
  }
  CHECK(*gaps.begin() >= 1800);
  CHECK(*gaps.rbegin() <= 2200);
  CHECK(gaps.size() > 50);
  for (int i = 0; i < 10; ++i) {
    const uint64_t begin_ms = check.due_ms();
    run(check, failure(), random);
    CHECK(check.due_ms() - begin_ms >= 450);
    CHECK(check.due_ms() - begin_ms <= 550);
  }
}

TEST_CASE("active check: a short interval is kept, and is no longer while something is wrong") {
  Random random(5);
  conf::Health settings = settings_of(2, 3);
  const auto gap = [&](ActiveCheck& check, const ProbeResult& result) {
    const uint64_t begin_ms = check.due_ms();
    check.start(begin_ms);
    check.finish(result, begin_ms, random);
    return static_cast<double>(check.due_ms() - begin_ms);
  };
  for (const auto& [interval_ms, unhealthy_ms] :
       {std::pair{10U, 10U}, std::pair{40U, 40U}, std::pair{60U, 50U}, std::pair{400U, 100U}}) {
    CAPTURE(interval_ms);
    settings.interval_ms = interval_ms;
    ActiveCheck check(settings, 500, random);
    CHECK(gap(check, kOk) <= interval_ms);
    for (int i = 0; i < 20; ++i) {
      CHECK(gap(check, kOk) <= interval_ms * 1.1);
      CHECK(gap(check, failure()) <= unhealthy_ms * 1.1);
      CHECK(gap(check, failure()) >= unhealthy_ms * 0.9 - 1);
      CHECK(gap(check, kOk) <= interval_ms * 1.1);
    }
  }
}

TEST_CASE("active check: a probe that takes longer than the interval is not overlapped") {
  Random random(4);
  ActiveCheck check(settings_of(2, 3), 0, random);
  check.start(100);
  CHECK(check.due_ms() == ActiveCheck::kNever);
  CHECK(check.deadline_ms() == 1100);
  check.finish(failure(), 90'000, random);
  CHECK(check.due_ms() == 90'001);
}

TEST_CASE("http expectation: wants a status in the set and the text, across any cut of the body") {
  conf::Health settings;
  settings.status = {{200, 204}, {301, 301}};
  settings.body = "all is well";
  const std::string body = "<p>all is all is well</p>";
  for (size_t cut = 0; cut <= body.size(); ++cut) {
    HttpExpectation expectation(settings);
    expectation.on_status(204);
    CHECK(!expectation.decided());
    expectation.on_body(body.substr(0, cut));
    expectation.on_body(body.substr(cut));
    CHECK(expectation.decided());
    CHECK(expectation.result().ok());
  }
  HttpExpectation other(settings);
  other.on_status(205);
  CHECK(other.decided());
  CHECK(other.result().reason == "status 205");
  HttpExpectation endless(settings);
  endless.on_status(200);
  for (size_t sent = 0; sent < HttpExpectation::kMaxBodyBytes; sent += 1024) {
    CHECK(!endless.decided());
    endless.on_body(std::string(1024, 'x'));
  }
  CHECK(endless.decided());
  CHECK(!endless.result().ok());
  CHECK(HttpExpectation(settings).result().reason == "no answer");
  settings.body.clear();
  HttpExpectation plain(settings);
  plain.on_status(301);
  CHECK(plain.decided());
  CHECK(plain.result().ok());
}

// A scheduler with scripted probes.
struct Bench {
  std::vector<std::pair<CheckId, CheckTransition>> transitions;
  CheckScheduler scheduler{
      7, [this](CheckId id, const CheckTransition& transition) { transitions.emplace_back(id, transition); },
      [this](CheckId) { wakeups.push_back(scheduler.next_wakeup_ms()); }};
  std::vector<uint64_t> wakeups;  // as told after each result
  std::map<CheckId, std::shared_ptr<ProbeScript>> probes;

  CheckId add(const conf::Health& settings, uint64_t now_ms) {
    auto script = std::make_shared<ProbeScript>();
    const CheckId id = scheduler.add(settings, std::make_unique<ScriptedProbe>(script), now_ms);
    probes[id] = script;
    return id;
  }
};

TEST_CASE("check scheduler: starts what is due, at most so many at a time, and nothing twice") {
  Bench bench;
  constexpr size_t kChecks = 1000;
  for (size_t i = 0; i < kChecks; ++i) bench.add(settings_of(2, 3), 0);
  uint64_t now_ms = 0;
  int finished = 0;
  for (; now_ms < 10'000; ++now_ms) {
    bench.scheduler.advance(now_ms);
    REQUIRE(bench.scheduler.running() <= CheckScheduler::kMaxRunning);
    for (auto& [id, probe] : bench.probes) {
      if (probe->running() && now_ms % 3 == 0) {
        probe->finish(kOk, now_ms);
        ++finished;
      }
    }
  }
  CHECK(bench.transitions.size() == kChecks);
  // About one each 2 s, and one sooner for the spread.
  CHECK(finished > 4500);
  CHECK(finished < 6500);
}

TEST_CASE("check scheduler: spreads the checks of many endpoints over the interval") {
  Bench bench;
  constexpr size_t kChecks = 400;
  for (size_t i = 0; i < kChecks; ++i) bench.add(settings_of(2, 3), 0);
  int busiest = 0;
  for (uint64_t now_ms = 0; now_ms < 20'000; now_ms += 10) {
    bench.scheduler.advance(now_ms);
    int started = 0;
    for (auto& [id, probe] : bench.probes) {
      if (!probe->running()) continue;
      ++started;
      probe->finish(kOk, now_ms);
    }
    if (now_ms > 2000) busiest = std::max(busiest, started);
  }
  CHECK(busiest <= 15);  // 2 on average
}

TEST_CASE("check scheduler: a silent probe is cancelled at its timeout and its late result ignored") {
  Bench bench;
  const CheckId id = bench.add(settings_of(1, 1), 0);
  bench.scheduler.advance(100);
  REQUIRE(bench.probes[id]->running());
  const Probe::Done late = bench.probes[id]->done;
  CHECK(bench.scheduler.next_wakeup_ms() == 1100);
  bench.scheduler.advance(1100);
  CHECK(bench.probes[id]->cancels == 1);
  CHECK(bench.scheduler.find(id)->last_failure() == "timed out");
  late(kOk, 1101);
  CHECK(bench.scheduler.find(id)->health() == EndpointHealth::unknown);
  bench.scheduler.advance(bench.scheduler.next_wakeup_ms());
  REQUIRE(bench.probes[id]->running());
  late(kOk, 2000);  // while the next attempt runs
  CHECK(bench.scheduler.find(id)->health() == EndpointHealth::unknown);
  bench.probes[id]->finish(kOk, 2001);
  CHECK(bench.scheduler.find(id)->health() == EndpointHealth::up);
}

TEST_CASE("check scheduler: a timeout longer than the interval does not hold up the next check") {
  Bench bench;
  conf::Health settings = settings_of(1, 1);
  settings.timeout_ms = 60'000;
  const CheckId id = bench.add(settings, 0);
  bench.scheduler.advance(100);
  CHECK(bench.scheduler.next_wakeup_ms() == 60'100);
  bench.probes[id]->finish(kOk, 101);
  REQUIRE(bench.wakeups.size() == 1);
  CHECK(bench.wakeups[0] == bench.scheduler.find(id)->due_ms());
  CHECK(bench.wakeups[0] <= 101 + settings.interval_ms + settings.interval_ms / 10);
}

TEST_CASE("check scheduler: a check is removed while it waits, while it runs, and by its own transition") {
  Bench bench;
  const CheckId waiting = bench.add(settings_of(1, 1), 0);
  const CheckId running = bench.add(settings_of(1, 1), 0);
  bench.scheduler.remove(waiting);
  bench.scheduler.advance(100);
  bench.scheduler.remove(running);
  bench.scheduler.remove(running);
  CHECK(bench.probes[running]->cancels == 1);
  CHECK(bench.scheduler.size() == 0);
  CHECK(bench.scheduler.next_wakeup_ms() == CheckScheduler::kNever);

  CheckScheduler* inner = nullptr;
  CheckScheduler scheduler(
      1, [&](CheckId id, const CheckTransition&) { inner->remove(id); }, [](CheckId) {});
  inner = &scheduler;
  auto script = std::make_shared<ProbeScript>();
  scheduler.add(settings_of(1, 1), std::make_unique<ScriptedProbe>(script), 0);
  scheduler.advance(100);
  script->finish(kOk, 101);
  CHECK(scheduler.size() == 0);
}

}  // namespace
}  // namespace sluice::health
