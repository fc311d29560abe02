// What the tests of Rollout share: plans, observations of a healthy service, and
// a clock.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>

#include "balancer/random.h"
#include "balancer/rollout.h"

namespace sluice::balancer {

constexpr const char* kGate = "https://gate.example.com/";

inline RolloutPlan plan_of(std::vector<conf::BasisPoints> steps) {
  RolloutPlan plan;
  plan.steps = std::move(steps);
  plan.hold_ms = 60'000;
  plan.min_requests = 600;
  return plan;
}

// A service in the laboratory: so many requests a second, with these error
// rates and latencies. An observation is of what one tick of it shows.
struct FakeService {
  double requests_per_s = 500;
  double error_rate[2] = {0, 0};
  double latency_ms[2] = {20, 20};
  double held_ms[2] = {40, 40};  // how long each request holds a connection
  uint32_t endpoints_out = 0;
  std::vector<SharedCap> caps;
  std::string judge_hold;
  bool state_saved = true;
  uint32_t green_max = 0;
  uint32_t idle[2] = {0, 0};

  // The latencies of the last observation, which points here.
  HistogramSnapshot latency[2];

  Observation observe(conf::BasisPoints split, uint64_t passed_ms, Random& random) {
    Observation seen;
    const double green = static_cast<double>(split) / conf::kFullSplit;
    uint32_t ours[2] = {0, 0};
    for (const size_t colour : {0, 1}) {
      const double share = colour == 0 ? 1 - green : green;
      const double per_ms = requests_per_s * share / 1000;
      UpstreamObservation& upstream = seen.upstreams[colour];
      upstream.attempts = around(per_ms * static_cast<double>(passed_ms), random);
      upstream.errors = around(static_cast<double>(upstream.attempts) * error_rate[colour], random);
      upstream.errors = std::min(upstream.errors, upstream.attempts);
      latency[colour] = {};
      draw_latencies(latency[colour], upstream.attempts, latency_ms[colour], random);
      upstream.latency = &latency[colour];
      upstream.endpoints = 2;
      upstream.idle = idle[colour];
      upstream.connections = ours[colour] = static_cast<uint32_t>(std::lround(per_ms * held_ms[colour]));
    }
    seen.upstreams[1].endpoints_out = endpoints_out;
    seen.upstreams[1].max_connections = green_max;
    seen.caps = caps;
    for (SharedCap& cap : seen.caps)
      cap.used += (cap.counts[0] ? ours[0] : 0) + (cap.counts[1] ? ours[1] : 0);
    seen.judge_hold = judge_hold;
    seen.state_saved = state_saved;
    return seen;
  }

 private:
  // At most kDraws different ones, however many requests there were.
  static void draw_latencies(HistogramSnapshot& into, uint64_t count, double middle_ms, Random& random) {
    constexpr uint64_t kDraws = 50;
    for (uint64_t left = std::min(count, kDraws); left > 0; --left) {
      const double value_ns = middle_ms * 1e6 * (0.7 + 0.6 * random.unit());
      into.add(HistogramBuckets::index_of(static_cast<uint64_t>(value_ns)), count / left);
      count -= count / left;
    }
  }
  // The whole number below or above, by chance, so that the mean is right.
  static uint64_t around(double mean, Random& random) {
    const double floor = std::floor(mean);
    return static_cast<uint64_t>(floor) + (random.unit() < mean - floor ? 1 : 0);
  }
};

inline bool waits_for(const Rollout& rollout, std::string_view what) {
  return std::any_of(rollout.waiting_for().begin(), rollout.waiting_for().end(),
                     [&](const Waiting& one) { return one.what == what; });
}

inline const RolloutAction* find(const RolloutActions& actions, RolloutAction::Kind kind) {
  for (const RolloutAction& action : actions) {
    if (action.kind == kind) return &action;
  }
  return nullptr;
}

inline const RolloutAction* find(const RolloutActions& actions, Notice notice) {
  for (const RolloutAction& action : actions) {
    if (action.kind == RolloutAction::Kind::notify && action.notice == notice) return &action;
  }
  return nullptr;
}

// A rollout with a service under it and a clock that is moved by hand.
struct Bench {
  FakeService service;
  Random random{11};
  Rollout rollout{"web", 0};
  Moment at{1000, 1'700'000'000'000};
  RolloutActions done;  // all actions since it was cleared last

  void keep(const RolloutActions& actions) { done.insert(done.end(), actions.begin(), actions.end()); }
  void tick(uint64_t passed_ms = 1000) {
    at.now_ms += passed_ms;
    at.unix_ms += static_cast<int64_t>(passed_ms);
    keep(rollout.tick(at, service.observe(rollout.split(), passed_ms, random)));
  }
  void run(uint64_t duration_ms) {
    for (uint64_t passed = 0; passed < duration_ms; passed += 1000) tick();
  }
  // False: the time ran out.
  bool run_until_split(conf::BasisPoints split, uint64_t limit_ms = 3'600'000) {
    for (uint64_t passed = 0; passed < limit_ms && rollout.split() != split; passed += 1000) tick();
    return rollout.split() == split;
  }
  conf::Status start(const RolloutPlan& plan) {
    auto actions = rollout.start(plan, at);
    if (!actions) return actions.error();
    keep(*actions);
    return conf::Done{};
  }
};

// Ticks until the gate is asked, says yes to it, and ticks on to the split.
inline void pass_gate(Bench& bench, conf::BasisPoints split) {
  while (find(bench.done, RolloutAction::Kind::ask_gate) == nullptr) bench.tick();
  const uint64_t number = find(bench.done, RolloutAction::Kind::ask_gate)->number;
  bench.keep(bench.rollout.gate_answered(number, true, "", bench.at));
  bench.run_until_split(split);
  bench.tick();
  bench.done.clear();
}

}  // namespace sluice::balancer
