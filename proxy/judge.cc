#include "proxy/judge.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "balancer/hash.h"
#include "conf/units.h"
#include "proxy/control.h"
#include "proxy/control_text.h"
#include "proxy/trip_report.h"

namespace sluice::proxy {

using balancer::Outcome;
using balancer::Verdict;
using conf::Colour;

namespace {

balancer::Origin origin(std::string_view label) {
  if (label.empty()) return {};
  return {balancer::hash_finish(balancer::hash_append(balancer::kFnvOffset, label)), label};
}

// By the lot, and placed by something else.
struct Oks {
  uint64_t by_lot = 0;
  uint64_t others = 0;
};

Oks ok_attempts(const balancer::UpstreamState& upstream) {
  Oks sum;
  for (uint32_t worker = 0; worker < upstream.workers(); ++worker) {
    const balancer::UpstreamCounters& counters = upstream.stats(worker).counters;
    // The worker sets apart before it counts, so read in this order the
    // difference is never too large.
    const uint64_t ok = counters.attempts[static_cast<size_t>(Outcome::ok)].get();
    const uint64_t apart = counters.ok_not_by_lot.get();
    sum.by_lot += ok - std::min(ok, apart);
    sum.others += apart;
  }
  return sum;
}

// Is there any of it?
struct GreenEndpoints {
  bool usable = false;
  bool awaited = false;  // a first check that is not over; until then blue has green's share
};

GreenEndpoints green_of(const ServiceEntry& entry) {
  GreenEndpoints found;
  for (const balancer::EndpointPlan& endpoint : entry.endpoints[static_cast<size_t>(Colour::green)]) {
    const balancer::EndpointCondition condition = endpoint.state->condition();
    found.usable = found.usable || condition.usable();
    found.awaited = found.awaited || condition.worth_waiting();
  }
  return found;
}

std::unique_ptr<balancer::HistogramSnapshot> latency_so_far(const balancer::UpstreamState& upstream) {
  auto sum = std::make_unique<balancer::HistogramSnapshot>();
  for (uint32_t worker = 0; worker < upstream.workers(); ++worker) {
    upstream.stats(worker).upstream_duration.add_to(*sum);
  }
  return sum;
}

std::string milliseconds(uint64_t us) {
  std::string text = std::to_string(us / 1000);
  text += '.';
  text += static_cast<char>('0' + us / 100 % 10);
  return text;
}

}  // namespace

void Judge::configure() {
  const conf::Config& config = control_.config();
  std::erase_if(cases_, [&](const auto& one) { return !config.services.contains(one.first); });
  for (const auto& [name, service] : config.services) {
    std::unique_ptr<Case>& one = cases_[name];
    if (one != nullptr) {
      one->breaker.configure(service.trip);
      continue;
    }
    one = std::make_unique<Case>(name, service.trip);
    split_changed(name);
    const ServiceEntry* const entry = control_.registry().find(name);
    if (entry != nullptr && entry->state->tripped()) restore(name, entry->trip_reason);
  }
}

void Judge::split_changes(const std::string& service) {
  const ServiceEntry* const entry = control_.registry().find(service);
  const auto found = cases_.find(service);
  if (entry != nullptr && found != cases_.end()) feed_oks(*found->second, *entry);
}

void Judge::split_changed(const std::string& service) {
  const ServiceEntry* const entry = control_.registry().find(service);
  const auto found = cases_.find(service);
  if (entry == nullptr || found == cases_.end()) return;
  Case& one = *found->second;
  one.green_had_endpoint = entry->has_usable(Colour::green);
  one.green_lost.reset();
  if (!one.breaker.tripped()) {
    for (size_t i = 0; i < 2; ++i) one.latency_before[i] = latency_so_far(*entry->upstreams[i]);
  }
  one.breaker.begin_step(entry->state->split().get().green, control_.loop().now_ms());
}

balancer::BlueKnown Judge::blue_known(const std::string& service) const {
  const balancer::TripBreaker* const breaker = find(service);
  return breaker == nullptr ? balancer::BlueKnown{} : breaker->blue_known();
}

void Judge::recall_blue(const std::string& service, const balancer::BlueKnown& known) {
  const auto found = cases_.find(service);
  if (found != cases_.end()) found->second->breaker.recall_blue(known, control_.loop().now_ms());
}

void Judge::restore(const std::string& service, const std::string& reason) {
  const auto found = cases_.find(service);
  if (found == cases_.end()) return;
  balancer::Evidence evidence;
  evidence.service = service;
  evidence.verdict = {Verdict::Kind::trip, balancer::Detector::none, reason};
  found->second->breaker.restore(std::move(evidence));
}

void Judge::feed_oks(Case& one, const ServiceEntry& entry) {
  // For a moment a sum may seem to shrink.
  const auto fresh = [](uint64_t now, uint64_t& seen) {
    const uint64_t before = std::exchange(seen, std::max(now, seen));
    return seen - before;
  };
  uint64_t by_lot[2] = {0, 0};
  uint64_t others[2] = {0, 0};
  for (const Colour colour : conf::kColours) {
    const auto i = static_cast<size_t>(colour);
    const Oks now = ok_attempts(*entry.upstreams[i]);
    by_lot[i] = fresh(now.by_lot, one.ok_seen[i]);
    others[i] = fresh(now.others, one.others_seen[i]);
  }
  const uint64_t now_ms = control_.loop().now_ms();
  one.breaker.add_other_oks(others[0], others[1], now_ms);
  one.breaker.add_oks(by_lot[0], by_lot[1], now_ms);
}

void Judge::on_failure(const FailureNote& note) {
  const ServiceEntry* const entry = control_.registry().find(note.service);
  const auto found = cases_.find(note.service);
  if (entry == nullptr || found == cases_.end()) return;
  Case& one = *found->second;
  feed_oks(one, *entry);
  balancer::FailedAttempt attempt;
  attempt.colour = note.colour;
  attempt.outcome = note.outcome;
  attempt.by_lot = note.by_lot;
  attempt.begun_ms = note.begun_us / 1000;
  attempt.request_id = note.request_id;
  attempt.endpoint = note.endpoint;
  attempt.client = origin(note.client);
  attempt.path = origin(note.path);
  one.breaker.add_error(attempt, control_.loop().now_ms());
  act(note.service, one, note.at_us);
}

void Judge::on_sample(const SampleNote& note) {
  const auto found = cases_.find(note.service);
  if (found != cases_.end())
    found->second->breaker.sample_traffic(origin(note.client), origin(note.path), note.every);
}

void Judge::tick() {
  for (const auto& [name, one] : cases_) {
    const ServiceEntry* const entry = control_.registry().find(name);
    if (entry == nullptr) continue;
    feed_oks(*one, *entry);
    act(name, *one, control_.loop().now_us());
    look_at_endpoints(name);
  }
}

void Judge::look_at_endpoints(const std::string& service) {
  const ServiceEntry* const entry = control_.registry().find(service);
  const auto found = cases_.find(service);
  if (entry == nullptr || found == cases_.end()) return;
  Case& one = *found->second;
  if (one.breaker.tripped() || entry->state->split().get().green == 0) return;
  const GreenEndpoints green = green_of(*entry);
  if (green.usable) {
    one.green_had_endpoint = true;
    one.green_lost.reset();
  } else if (one.green_had_endpoint && !green.awaited) {
    if (!one.green_lost) one.green_lost = Lost{control_.loop().now_ms(), one.ok_seen[0] + one.others_seen[0]};
    if (!blue_answers_since(*one.green_lost, one, *entry)) return;
    one.breaker.green_has_no_endpoint(control_.loop().now_ms());
    act(service, one, control_.loop().now_us());
  }
}

// Green's requests go to blue already. Whether it is green's fault shows when blue
// is still there: what takes the endpoints of both away takes one's a moment
// earlier than the other's.
bool Judge::blue_answers_since(const Lost& lost, const Case& one, const ServiceEntry& entry) const {
  constexpr uint64_t kWithoutAWordMs = 1000;
  constexpr uint64_t kWithoutACheckMs = 3000;
  const uint64_t waited_ms = control_.loop().now_ms() - lost.at_ms;
  if (!control_.service_conf(entry.state->name()).health.enabled) {
    const bool answers = one.ok_seen[0] + one.others_seen[0] > lost.blue_oks;
    return entry.has_usable(Colour::blue) && (answers || waited_ms >= kWithoutAWordMs);
  }
  const std::vector<balancer::EndpointPlan>& all = entry.endpoints[static_cast<size_t>(Colour::blue)];
  return std::any_of(all.begin(), all.end(), [&](const balancer::EndpointPlan& endpoint) {
    const balancer::EndpointState* const state = endpoint.state.get();
    const HealthMonitor& checks = control_.health();
    return state->condition().usable() &&
           (checks.answered_since(state, lost.at_ms) ||
            (waited_ms >= kWithoutACheckMs && checks.check_failure(state).empty()));
  });
}

void Judge::act(const std::string& service, Case& one, uint64_t first_us) {
  const Verdict& verdict = one.breaker.verdict();
  if (verdict.tripped()) {
    if (!control_.registry().find(service)->state->tripped()) carry_out_trip(service, one, first_us);
    return;
  }
  const bool held = verdict.kind == Verdict::Kind::hold;
  if (held == one.held) return;
  one.held = held;
  if (held) {
    control_.add_event("judge_holds", service, verdict.reason, {{"detector", to_string(verdict.detector)}});
  } else {
    control_.add_event("judge_released", service,
                       "the judge of " + service + " holds nothing against green any more");
  }
  control_.changed();
}

void Judge::carry_out_trip(const std::string& service, Case& one, uint64_t first_us) {
  // First of all: no request that starts from here on goes to green, and those
  // that wait for it go to blue.
  ServiceEntry& entry = *control_.registry().find(service);
  const conf::BasisPoints green_before = entry.state->split().get().green;
  entry.state->set_tripped(true);
  control_.put_split(service, 0, "trip");
  const uint64_t decided_us = control_.loop().now_us();
  control_.redirect_green(service, [this, service, green_before, first_us, decided_us](uint64_t last_us) {
    tell_of_trip(service, green_before, first_us, decided_us, last_us);
  });
  one.held = false;
  const uint64_t wall_us = Loop::wall_clock_us();
  one.last_trip = std::make_unique<balancer::Evidence>(gather(one, entry));
  const balancer::Evidence& evidence = *one.last_trip;
  ++trips_[{service, evidence.verdict.detector}];
  entry.trip_reason = evidence.verdict.reason;
  entry.tripped_at_us = wall_us;
  control_.rollouts().tripped(service, evidence.verdict.reason);
  control_.save_service(service);
  control_.write_report("trip", service, static_cast<int64_t>(wall_us / 1000), to_json(evidence) + "\n",
                        balancer::to_text(evidence));
}

void Judge::tell_of_trip(const std::string& service, conf::BasisPoints green_before, uint64_t first_us,
                         uint64_t decided_us, uint64_t last_us) {
  const balancer::Evidence* const evidence = last_trip(service);
  if (evidence == nullptr) return;  // a reload took the service away
  const Verdict& verdict = evidence->verdict;
  const uint64_t since_error_ms =
      evidence->first_error_ms == 0 ? 0 : evidence->tripped_ms - evidence->first_error_ms;
  control_.add_event("tripped", service, service + " is back on blue: " + verdict.reason,
                     {{"detector", to_string(verdict.detector)},
                      {"reason", verdict.reason},
                      {"green_before", conf::format_percent(green_before)},
                      {"since_first_error_ms", std::to_string(since_error_ms)},
                      {"decision_ms", milliseconds(decided_us > first_us ? decided_us - first_us : 0)},
                      {"switch_ms", milliseconds(last_us > first_us ? last_us - first_us : 0)}});
  control_.changed();
}

conf::Status Judge::trip_by_hand(const std::string& service, const std::string& reason) {
  Case& one = *cases_.at(service);
  feed_oks(one, *control_.registry().find(service));
  conf::Status status = one.breaker.trip_by_hand(reason, control_.loop().now_ms());
  if (status.ok()) act(service, one, control_.loop().now_us());
  return status;
}

conf::Status Judge::reset(const std::string& service) {
  Case& one = *cases_.at(service);
  conf::Status status = one.breaker.reset();
  if (!status.ok()) return status;
  control_.registry().find(service)->state->set_tripped(false);
  split_changed(service);
  return status;
}

const balancer::TripBreaker* Judge::find(const std::string& service) const {
  const auto found = cases_.find(service);
  return found == cases_.end() ? nullptr : &found->second->breaker;
}

balancer::Evidence Judge::gather(const Case& one, const ServiceEntry& entry) const {
  balancer::Evidence evidence = one.breaker.evidence();
  evidence.clock_began_unix_ms =
      static_cast<int64_t>((Loop::wall_clock_us() - control_.loop().now_us()) / 1000);
  for (const Colour colour : conf::kColours) {
    const auto i = static_cast<size_t>(colour);
    if (one.latency_before[i] == nullptr) continue;
    const auto now = latency_so_far(*entry.upstreams[i]);
    evidence.latencies[i] = balancer::LatencySummary::of(now->since(*one.latency_before[i]));
  }
  return evidence;
}

std::optional<balancer::Evidence> Judge::evidence(const std::string& service) const {
  const auto found = cases_.find(service);
  const ServiceEntry* const entry = control_.registry().find(service);
  if (found == cases_.end() || entry == nullptr) return std::nullopt;
  const Case& one = *found->second;
  if (!one.breaker.tripped()) return gather(one, *entry);
  return one.last_trip != nullptr ? *one.last_trip : one.breaker.evidence();
}

const balancer::Evidence* Judge::last_trip(const std::string& service) const {
  const auto found = cases_.find(service);
  return found == cases_.end() ? nullptr : found->second->last_trip.get();
}

}  // namespace sluice::proxy
