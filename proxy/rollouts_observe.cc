// What rollouts are told of the traffic: sums over the workers' counters, and
// what the caps have left.
#include <algorithm>

#include "balancer/judged_outcome.h"
#include "proxy/control.h"
#include "proxy/rollouts.h"

namespace sluice::proxy {

using balancer::Outcome;
using conf::Colour;

namespace {

using Attempts = std::array<uint64_t, balancer::kOutcomes>;

// How attempts have ended, over all workers.
Attempts attempts_of(const balancer::UpstreamState& upstream) {
  Attempts sum{};
  for (uint32_t worker = 0; worker < upstream.workers(); ++worker) {
    const balancer::UpstreamCounters& counters = upstream.stats(worker).counters;
    for (size_t i = 0; i < balancer::kOutcomes; ++i) sum[i] += counters.attempts[i].get();
  }
  return sum;
}

struct Connections {
  uint32_t in_use = 0;
  uint32_t idle = 0;
};

// The workers count their idle ones a moment apart from the places.
Connections connections_of(const balancer::Cap& cap) {
  const uint32_t used = cap.used();
  const uint32_t idle = std::min(cap.idle(), used);
  return {used - idle, idle};
}

// For a moment a counter may seem to shrink; see Judge.
uint64_t grown(uint64_t now, uint64_t& before) {
  const uint64_t fresh = now > before ? now - before : 0;
  before = std::max(now, before);
  return fresh;
}

}  // namespace

balancer::Observation Rollouts::observe(Case& one, const ServiceEntry& entry) {
  balancer::Observation seen;
  for (const Colour colour : conf::kColours) {
    observe_upstream(one, entry, colour, seen.upstreams[static_cast<size_t>(colour)]);
  }
  observe_caps(one.rollout->service(), seen.caps);
  const balancer::TripBreaker* const breaker = control_.judge().find(one.rollout->service());
  if (breaker != nullptr && breaker->verdict().kind == balancer::Verdict::Kind::hold) {
    seen.judge_hold = breaker->verdict().reason;
  }
  seen.state_saved = control_.state_saved();
  return seen;
}

void Rollouts::observe_upstream(Case& one, const ServiceEntry& entry, Colour colour,
                                balancer::UpstreamObservation& seen) {
  const auto i = static_cast<size_t>(colour);
  const balancer::UpstreamState& upstream = *entry.upstreams[i];
  Seen& before = one.seen[i];
  const Attempts total = attempts_of(upstream);
  balancer::HistogramSnapshot latency;
  for (uint32_t worker = 0; worker < upstream.workers(); ++worker) {
    upstream.stats(worker).upstream_duration.add_to(latency);
  }
  if (one.observing) {
    const conf::Trip& trip = control_.service_conf(one.rollout->service()).trip;
    for (size_t outcome = 0; outcome < balancer::kOutcomes; ++outcome) {
      const uint64_t ended = grown(total[outcome], before.attempts[outcome]);
      if (outcome == static_cast<size_t>(Outcome::cancelled)) continue;
      seen.attempts += ended;
      if (balancer::counts_as_error(trip, static_cast<Outcome>(outcome))) seen.errors += ended;
    }
    one.fresh[i] = latency.since(before.latency);
    seen.latency = &one.fresh[i];
  } else {
    before.attempts = total;
  }
  before.latency = latency;
  seen.endpoints = static_cast<uint32_t>(entry.endpoints[i].size());
  seen.endpoints_out = static_cast<uint32_t>(
      std::count_if(entry.endpoints[i].begin(), entry.endpoints[i].end(),
                    [](const auto& endpoint) { return !endpoint.state->condition().usable(); }));
  if (colour == Colour::green) seen.endpoints_out = std::max(seen.endpoints_out, unanswered(one, entry));
  const balancer::Cap& cap = *upstream.connections();
  const Connections connections = connections_of(cap);
  seen.connections = connections.in_use;
  seen.idle = connections.idle;
  seen.max_connections = cap.max() == balancer::Cap::kUnlimited ? 0 : cap.max();
}

// Before green gets anything somebody has to answer there, and without health
// checks nobody else has asked.
uint32_t Rollouts::unanswered(const Case& one, const ServiceEntry& entry) {
  const std::string& service = one.rollout->service();
  if (one.rollout->state() != balancer::RolloutState::preflight ||
      control_.service_conf(service).health.enabled) {
    knocks_.erase(service);
    return 0;
  }
  std::unique_ptr<Knocks>& knocks = knocks_[service];
  if (knocks == nullptr) knocks = std::make_unique<Knocks>(control_.loop());
  return knocks->unanswered(entry.endpoints[static_cast<size_t>(Colour::green)]);
}

void Rollouts::observe_caps(const std::string& service, std::vector<balancer::SharedCap>& caps) const {
  for (const auto& [name, settings] : control_.config().caps) {
    const auto state = control_.registry().caps().find(name);
    if (state == control_.registry().caps().end()) continue;
    balancer::SharedCap cap;
    cap.name = name;
    cap.max = state->second->max();
    cap.used = connections_of(*state->second).in_use;
    cap.warn_at = settings.warn_at;
    cap.granted = granted_to_others(service, settings, name);
    for (const conf::Cap::Member& member : settings.members) {
      if (member.service == service) cap.counts[static_cast<size_t>(member.colour)] = true;
    }
    if (cap.counts[0] || cap.counts[1]) caps.push_back(std::move(cap));
  }
}

double Rollouts::granted_to_others(const std::string& service, const conf::Cap& cap,
                                   const std::string& name) const {
  double sum = 0;
  for (const auto& [other, one] : cases_) {
    const double granted = other == service ? 0 : one->rollout->granted(name);
    const ServiceEntry* const entry = granted > 0 ? control_.registry().find(other) : nullptr;
    if (entry == nullptr) continue;
    double used = 0;
    for (const conf::Cap::Member& member : cap.members) {
      if (member.service != other) continue;
      const balancer::UpstreamState& upstream = *entry->upstreams[static_cast<size_t>(member.colour)];
      used += connections_of(*upstream.connections()).in_use;
    }
    sum += std::max(0.0, granted - used);
  }
  return sum;
}

}  // namespace sluice::proxy
