// What the balancer's part of a request costs: route, pick, permit, histogram;
// and, off the data path, what an error costs the judge.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "balancer/cap.h"
#include "balancer/cusum.h"
#include "balancer/endpoint.h"
#include "balancer/eprocess.h"
#include "balancer/histogram.h"
#include "balancer/permit.h"
#include "balancer/picker.h"
#include "balancer/random.h"
#include "balancer/routes.h"
#include "balancer/split.h"
#include "balancer/trip_breaker.h"

namespace sluice::balancer {
namespace {

constexpr uint64_t kSeed = 1;

// Latencies as they come, from 100 us to 10 ms, so that no branch is learned.
std::vector<uint64_t> latencies_ns() {
  Random random(kSeed);
  std::vector<uint64_t> values(4096);
  for (uint64_t& value : values) value = 100'000 + random.below(9'900'000);
  return values;
}

void histogram_record(benchmark::State& state) {
  const std::vector<uint64_t> values = latencies_ns();
  auto histogram = std::make_unique<Histogram>();
  size_t next = 0;
  for (auto _ : state) histogram->record(values[next++ & (values.size() - 1)]);
}
BENCHMARK(histogram_record);

void split_choose(benchmark::State& state) {
  Random random(kSeed);
  const Split split({.green = 2500, .generation = 7});
  for (auto _ : state) benchmark::DoNotOptimize(falls_on_green(random.next(), split.get().green));
}
BENCHMARK(split_choose);

// An upstream with `count` endpoints that are up.
struct Upstream {
  explicit Upstream(size_t count) : loads(count) {
    for (size_t i = 0; i < count; ++i) {
      conf::Address address;
      address.host = "127.0.0.1";
      address.port = static_cast<uint16_t>(1 + i);
      states.push_back(std::make_unique<EndpointState>(address, "endpoint", "endpoint", 1));
      states.back()->set_condition({.health = EndpointHealth::up});
      loads[i].state = states.back().get();
      entries.push_back({&loads[i], 1});
    }
  }
  std::vector<std::unique_ptr<EndpointState>> states;
  std::vector<EndpointLoad> loads;
  std::vector<Picker::Entry> entries;
};

void pick(benchmark::State& state, conf::Balance balance) {
  Upstream upstream(static_cast<size_t>(state.range(0)));
  Picker picker(upstream.entries, balance, {.below_percent = 50});
  Random random(kSeed);
  for (auto _ : state) benchmark::DoNotOptimize(picker.pick(random, 1, nullptr, 0));
}
BENCHMARK_CAPTURE(pick, p2c, conf::Balance::p2c)->Arg(1)->Arg(10)->Arg(1000);
BENCHMARK_CAPTURE(pick, round_robin, conf::Balance::round_robin)->Arg(1)->Arg(10)->Arg(1000);
BENCHMARK_CAPTURE(pick, random, conf::Balance::random)->Arg(1)->Arg(10)->Arg(1000);

// Its own cap, and with 2 also a shared one.
void permit_acquire_and_release(benchmark::State& state) {
  auto caps = std::make_shared<CapSet>();
  for (int64_t i = 0; i < state.range(0); ++i) {
    caps->push_back(std::make_shared<Cap>("cap", 100, [](uint32_t) {}));
  }
  const std::shared_ptr<const CapSet> set = caps;
  for (auto _ : state) benchmark::DoNotOptimize(Permit::try_acquire(set, 0, nullptr));
}
BENCHMARK(permit_acquire_and_release)->Arg(1)->Arg(2);

void route_find(benchmark::State& state) {
  RouteTable table;
  const auto count = static_cast<uint32_t>(state.range(0));
  for (uint32_t i = 0; i < count; ++i) table.add("shop.example.com", "/r" + std::to_string(i) + "/", i);
  const std::string path = "/r" + std::to_string(count - 1) + "/items/7";
  for (auto _ : state) benchmark::DoNotOptimize(table.find("shop.example.com", path));
}
BENCHMARK(route_find)->Arg(1)->Arg(100)->Arg(10000);

void cusum_add(benchmark::State& state) {
  Cusum cusum(0.01);
  for (auto _ : state) {
    cusum.add_oks(100);
    cusum.add_error();
    benchmark::DoNotOptimize(cusum.value());
  }
}
BENCHMARK(cusum_add);

void eprocess_add(benchmark::State& state) {
  EProcess process({2, 5, 20}, 0.25);
  process.expect(0.25, 0.01);
  Random random(kSeed);
  for (auto _ : state) {
    process.add_oks(75, 25);
    process.add_error(random.below(4) == 0 ? conf::Colour::green : conf::Colour::blue);
    benchmark::DoNotOptimize(process.value());
  }
}
BENCHMARK(eprocess_add);

// One error with the counts before it, as the control thread judges it, while
// both colours fail alike.
void trip_breaker_error(benchmark::State& state) {
  TripBreaker breaker("web", conf::Trip{});
  breaker.begin_step(2500, 0);
  Random random(kSeed);
  uint64_t now_ms = 0;
  FailedAttempt attempt;
  attempt.request_id = "0123456789abcdef";
  attempt.endpoint = "127.0.0.1:9002";
  for (auto _ : state) {
    now_ms += 20;
    attempt.colour = random.below(4) == 0 ? conf::Colour::green : conf::Colour::blue;
    attempt.client.hash = random.below(1000);
    attempt.path.hash = random.below(100);
    breaker.add_oks(75, 25, now_ms);
    breaker.add_error(attempt, now_ms);
  }
  if (breaker.tripped()) state.SkipWithError("it tripped, so most of it did nothing");
}
BENCHMARK(trip_breaker_error);

}  // namespace
}  // namespace sluice::balancer
