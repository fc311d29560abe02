#include "health/upstream_monitor.h"

#include <catch2/catch.hpp>

#include "tests/health/fixtures.h"

namespace sluice::health {
namespace {

using balancer::EndpointHealth;
using balancer::EndpointMode;

struct Bench {
  conf::Health health;
  conf::Outlier outlier;
  std::unique_ptr<UpstreamMonitor> monitor;
  std::vector<std::shared_ptr<balancer::EndpointState>> endpoints;

  Bench(size_t count, bool checked, uint64_t slow_start_ms) {
    health.enabled = checked;
    outlier.enabled = true;
    monitor = std::make_unique<UpstreamMonitor>(health, outlier, slow_start_ms, 0);
    for (size_t i = 0; i < count; ++i) {
      endpoints.push_back(make_endpoint("e" + std::to_string(i)));
      monitor->add(i, endpoints.back(), 0);
    }
  }
  void fail(EndpointKey key, uint64_t now_ms) {
    for (uint32_t i = 0; i < outlier.consecutive; ++i) monitor->polled(key, 0, 1, 1, now_ms);
  }
};

TEST_CASE("upstream monitor: without checks an endpoint is up at once, with them after its first success") {
  Bench plain(2, false, 0);
  CHECK(plain.endpoints[0]->condition().usable());
  CHECK(plain.monitor->usable() == 2);
  Bench checked(2, true, 0);
  CHECK(!checked.endpoints[0]->condition().usable());
  CHECK(!checked.endpoints[0]->condition().usable_in_panic());
  checked.monitor->checked(0, {EndpointHealth::unknown, EndpointHealth::up, "ok"}, 10);
  CHECK(checked.endpoints[0]->condition().usable());
  CHECK(checked.monitor->usable() == 1);
  CHECK(checked.monitor->take_events().front().text == "up: ok");
}

TEST_CASE("upstream monitor: an endpoint is worth waiting for until its first check is over") {
  Bench plain(1, false, 0);
  CHECK(!plain.endpoints[0]->condition().worth_waiting());
  Bench bench(3, true, 0);
  bench.monitor->take_changed();
  for (const auto& endpoint : bench.endpoints) CHECK(endpoint->condition().worth_waiting());
  bench.monitor->checked(0, {EndpointHealth::unknown, EndpointHealth::up, "ok"}, 10);
  CHECK(!bench.endpoints[0]->condition().worth_waiting());
  bench.monitor->take_changed();
  bench.monitor->first_check_failed(1, 20);
  CHECK(!bench.endpoints[1]->condition().worth_waiting());
  CHECK(bench.endpoints[1]->condition().health == EndpointHealth::unknown);
  CHECK(bench.monitor->take_changed());
  bench.monitor->first_check_failed(1, 30);
  CHECK(!bench.monitor->take_changed());
  // Whoever takes it out says that nobody need wait.
  bench.monitor->set_mode(2, EndpointMode::maint, 40);
  CHECK(!bench.endpoints[2]->condition().worth_waiting());
}

TEST_CASE("upstream monitor: ejection, mode and checks each take an endpoint out by themselves") {
  Bench bench(2, false, 0);
  CHECK(bench.monitor->take_changed());
  CHECK(!bench.monitor->take_changed());
  bench.fail(0, 100);
  CHECK(bench.endpoints[0]->condition().ejected);
  CHECK(bench.monitor->take_changed());
  CHECK(bench.monitor->take_events().front().text == "ejected for 30 s: 5 failures in a row");
  bench.monitor->set_mode(0, EndpointMode::maint, 200);
  bench.monitor->advance(30'100);
  CHECK(!bench.endpoints[0]->condition().ejected);
  CHECK(!bench.endpoints[0]->condition().usable());
  bench.monitor->set_mode(1, EndpointMode::drain, 30'200);
  CHECK(bench.monitor->usable() == 0);
  bench.monitor->set_mode(0, EndpointMode::ready, 30'300);
  CHECK(bench.monitor->usable() == 1);
}

TEST_CASE("upstream monitor: an endpoint that comes back ramps up, and each step is announced") {
  Bench bench(2, false, 9000);
  bench.monitor->advance(9000);
  CHECK(bench.endpoints[0]->condition().ramp_percent == 100);
  bench.fail(0, 10'000);
  bench.monitor->advance(40'000);
  CHECK(bench.endpoints[0]->condition().ramp_percent == 10);
  CHECK(bench.endpoints[1]->condition().ramp_percent == 100);
  CHECK(bench.monitor->next_wakeup_ms(40'000) == 41'000);
  bench.monitor->take_changed();
  bench.monitor->advance(41'000);
  CHECK(bench.monitor->take_changed());
  CHECK(bench.endpoints[0]->condition().ramp_percent == 20);
}

TEST_CASE("upstream monitor: a new monitor takes endpoints over as they are, but for ejections") {
  Bench old(2, true, 5000);
  for (EndpointKey key : {0, 1})
    old.monitor->checked(key, {EndpointHealth::unknown, EndpointHealth::up, "ok"}, 0);
  old.monitor->advance(5000);
  old.fail(0, 6000);
  REQUIRE(old.monitor->usable() == 1);
  UpstreamMonitor next(old.health, old.outlier, 5000, 7000);
  next.add(0, old.endpoints[0], 7000);
  next.add(1, old.endpoints[1], 7000);
  CHECK(next.usable() == 2);
  CHECK(old.endpoints[1]->condition().ramp_percent == 100);
  CHECK(old.endpoints[0]->condition().ramp_percent == 10);
}

TEST_CASE("upstream monitor: events for endpoints that are gone are ignored") {
  Bench bench(2, true, 0);
  bench.monitor->checked(0, {EndpointHealth::unknown, EndpointHealth::up, "ok"}, 0);
  bench.monitor->remove(0, 10);
  CHECK(bench.monitor->usable() == 0);
  bench.monitor->checked(0, {EndpointHealth::up, EndpointHealth::down, "x"}, 20);
  bench.monitor->set_mode(0, EndpointMode::maint, 20);
  bench.monitor->polled(0, 3, 0, 0, 0);
  bench.fail(0, 30);
  CHECK(bench.monitor->size() == 1);
}

}  // namespace
}  // namespace sluice::health
