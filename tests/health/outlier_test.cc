#include "health/outlier.h"

#include <catch2/catch.hpp>
#include <utility>

#include "balancer/endpoint.h"
#include "health/slow_start.h"

namespace sluice::health {
namespace {

conf::Outlier settings_of(uint32_t max_ejected_percent = 50) {
  conf::Outlier settings;
  settings.enabled = true;
  settings.max_ejected_percent = max_ejected_percent;
  return settings;
}

Outlier with_endpoints(size_t count, conf::Outlier settings = settings_of()) {
  Outlier outlier(settings, 0);
  for (size_t i = 0; i < count; ++i) outlier.add(i);
  return outlier;
}

// Fails often enough in a row to be ejected, if it may be.
std::optional<OutlierEvent> break_endpoint(Outlier& outlier, EndpointKey key, uint64_t now_ms) {
  std::optional<OutlierEvent> event;
  for (int i = 0; i < 5 && !event; ++i) event = outlier.polled(key, 0, 1, 1, now_ms);
  return event;
}

TEST_CASE("outlier: ejects after so many failures in a row, and a success breaks the row") {
  Outlier outlier = with_endpoints(4);
  for (int i = 0; i < 4; ++i) CHECK(!outlier.polled(1, 0, 1, 1, 100));
  outlier.polled(1, 1, 0, 0, 100);
  for (int i = 0; i < 4; ++i) CHECK(!outlier.polled(1, 0, 1, 1, 100));
  const auto event = outlier.polled(1, 0, 1, 1, 100);
  REQUIRE(event.has_value());
  CHECK(event->reason == "5 failures in a row");
  CHECK(event->until_ms == 30'100);
  CHECK(outlier.is_ejected(1));
  CHECK(!outlier.polled(1, 0, 1, 1, 200));  // a request that was under way
  CHECK(outlier.next_wakeup_ms() == 10'000);
  for (const OutlierEvent& other : outlier.advance(30'099)) CHECK(other.endpoint != 1);
  const auto back = outlier.advance(30'100);
  REQUIRE(back.size() == 1);
  CHECK(!back.front().ejected);
  CHECK(!outlier.polled(1, 0, 1, 1, 30'200));  // the row began anew
}

TEST_CASE("outlier: totals are a row of failures only when no success came with them") {
  Outlier outlier = with_endpoints(4);
  CHECK(!outlier.polled(0, 100, 50, 2, 10));
  CHECK(!outlier.polled(0, 0, 4, 4, 20));
  CHECK(!outlier.polled(0, 1, 4, 4, 30));
  CHECK(!outlier.polled(0, 0, 0, 0, 40));
  CHECK(!outlier.polled(0, 0, 2, 2, 50));
  const auto event = outlier.polled(0, 0, 3, 3, 60);
  REQUIRE(event.has_value());
  CHECK(event->reason == "5 failures in a row");
}

TEST_CASE("outlier: a row that one observer saw counts, whatever others saw meanwhile") {
  Outlier outlier = with_endpoints(2);
  CHECK(!outlier.polled(0, 10, 90, 4, 100));
  const auto event = outlier.polled(0, 10, 90, 23, 200);
  REQUIRE(event.has_value());
  CHECK(event->ejected);
  CHECK(event->reason == "23 failures in a row");
  CHECK(!outlier.polled(0, 0, 50, 50, 300));  // under way when it was taken out
}

// An endpoint as workers count at it, and an Outlier that polls it as the control
// thread does.
struct Polled {
  Outlier outlier = with_endpoints(2);
  std::shared_ptr<balancer::EndpointState> state =
      std::make_shared<balancer::EndpointState>(conf::Address{}, "e", "e", 2);
  balancer::EndpointState::Tally before;

  void fail(uint32_t worker, int times = 1) {
    for (int i = 0; i < times; ++i) state->count(worker, true, 1000);
  }
  void succeed(uint32_t worker) { state->count(worker, false, 1000); }
  void set_ejected(bool ejected) {
    state->set_condition({.health = balancer::EndpointHealth::up, .ejected = ejected});
  }

  std::optional<OutlierEvent> poll(uint64_t now_ms) {
    const auto now = state->tally();
    const auto then = std::exchange(before, now);
    auto event = outlier.polled(0, now.succeeded - then.succeeded, now.failed - then.failed,
                                state->take_longest_row(), now_ms);
    if (event) set_ejected(event->ejected);
    return event;
  }
  void bring_back(uint64_t now_ms) {
    for (const OutlierEvent& event : outlier.advance(now_ms)) set_ejected(event.ejected);
  }
};

TEST_CASE("outlier: after an ejection every worker's row begins anew") {
  Polled one;
  one.fail(0, 3);
  one.fail(1, 9);
  REQUIRE(one.poll(100).has_value());
  one.fail(1, 2);  // were under way, and are looked at only when it is back
  one.bring_back(30'100);
  REQUIRE(!one.outlier.is_ejected(0));
  for (uint32_t worker : {0U, 1U}) {
    one.fail(worker);
    one.succeed(worker);
  }
  CHECK(!one.poll(30'200));
  one.fail(1, 5);
  one.succeed(0);
  const auto event = one.poll(30'300);
  REQUIRE(event.has_value());
  CHECK(event->reason == "5 failures in a row");
}

TEST_CASE("outlier: ejections grow, up to a limit, and are forgotten") {
  Outlier outlier = with_endpoints(4);
  uint64_t now_ms = 1000;
  const auto length_of_next = [&] {
    const auto event = break_endpoint(outlier, 0, now_ms);
    REQUIRE(event.has_value());
    const uint64_t length_ms = event->until_ms - now_ms;
    now_ms = event->until_ms;
    outlier.advance(now_ms);
    return length_ms;
  };
  for (uint64_t i = 1; i <= 12; ++i) CHECK(length_of_next() == std::min<uint64_t>(i * 30'000, 300'000));
  for (int i = 0; i < 10; ++i) {  // ten quiet periods
    now_ms += 30'000;
    outlier.advance(now_ms);
  }
  CHECK(length_of_next() == 90'000);
}

TEST_CASE("outlier: never ejects more than the limit, one of two at least, and never the only one") {
  const auto limit_of = [](size_t count, uint32_t percent) {
    return with_endpoints(count, settings_of(percent)).limit();
  };
  CHECK(limit_of(1, 100) == 0);
  CHECK(limit_of(2, 10) == 1);
  CHECK(limit_of(2, 0) == 0);
  CHECK(limit_of(3, 50) == 1);
  CHECK(limit_of(10, 50) == 5);
  CHECK(limit_of(10, 100) == 10);
  Outlier outlier = with_endpoints(10);
  for (EndpointKey key = 0; key < 10; ++key)
    CHECK(break_endpoint(outlier, key, 100).has_value() == (key < 5));
  CHECK(outlier.ejected() == 5);
}

TEST_CASE("outlier: fewer endpoints may mean fewer ejections") {
  Outlier outlier = with_endpoints(4);
  break_endpoint(outlier, 0, 100);
  break_endpoint(outlier, 1, 200);
  CHECK(outlier.ejected() == 2);
  const auto events = outlier.remove(3, 300);
  REQUIRE(events.size() == 1);
  CHECK(events.front().endpoint == 0);  // it would have come back first
  CHECK(outlier.remove(1, 300).empty());
  CHECK(outlier.ejected() == 0);
}

// One sweep over ten endpoints, of which the first has this success rate.
std::vector<OutlierEvent> sweep_with(uint64_t ok, uint64_t failed, uint64_t others_failed,
                                     size_t count = 10) {
  conf::Outlier settings = settings_of();
  settings.consecutive = 1'000'000;
  Outlier outlier = with_endpoints(count, settings);
  for (EndpointKey key = 0; key < count; ++key) {
    for (uint64_t i = 0; i < (key == 0 ? failed : others_failed); ++i) outlier.polled(key, 0, 1, 1, 1);
    outlier.polled(key, key == 0 ? ok : 1000 - others_failed, 0, 0, 1);
  }
  return outlier.advance(Outlier::kSweepMs);
}

TEST_CASE("outlier: ejects by success rate what is far below the others") {
  const auto events = sweep_with(800, 200, 10);
  REQUIRE(events.size() == 1);
  CHECK(events.front().endpoint == 0);
  CHECK(events.front().reason == "a success rate of 80.0 %, where the mean is 97.1 %");
}

TEST_CASE("outlier: the success rate needs volume, company and a gap that matters") {
  CHECK(sweep_with(49, 50, 10).empty());       // too few requests
  CHECK(sweep_with(800, 200, 10, 4).empty());  // too few endpoints
  CHECK(sweep_with(980, 20, 0).empty());       // many deviations away, but 2 % off
  CHECK(sweep_with(700, 300, 300).empty());    // all are bad alike
}

TEST_CASE("slow start: rises from a tenth to all in even steps, and says when") {
  SlowStart ramp(9000);
  CHECK(ramp.percent(0) == 100);
  CHECK(ramp.next_change_ms(0) == SlowStart::kNever);
  ramp.begin(1000);
  CHECK(ramp.percent(1000) == 10);
  uint64_t now_ms = 1000;
  for (int percent = 20; percent <= 100; percent += 10) {
    const uint64_t next_ms = ramp.next_change_ms(now_ms);
    CHECK(next_ms == now_ms + 1000);
    CHECK(ramp.percent(next_ms - 1) == percent - 10);
    CHECK(ramp.percent(next_ms) == percent);
    now_ms = next_ms;
  }
  CHECK(ramp.next_change_ms(now_ms) == SlowStart::kNever);
  SlowStart none(0);
  none.begin(5);
  CHECK(none.percent(5) == 100);
  SlowStart odd(7);
  odd.begin(0);
  for (uint64_t t = 0; odd.next_change_ms(t) != SlowStart::kNever; t = odd.next_change_ms(t)) {
    REQUIRE(odd.percent(odd.next_change_ms(t)) > odd.percent(t));
  }
}

}  // namespace
}  // namespace sluice::health
