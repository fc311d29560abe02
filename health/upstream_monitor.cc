#include "health/upstream_monitor.h"

#include <algorithm>
#include <utility>

#include "balancer/rollout_text.h"

namespace sluice::health {

using balancer::EndpointCondition;
using balancer::EndpointHealth;

namespace {

bool same(const EndpointCondition& a, const EndpointCondition& b) {
  return a.health == b.health && a.mode == b.mode && a.ejected == b.ejected &&
         a.ramp_percent == b.ramp_percent && a.awaited == b.awaited;
}

}  // namespace

UpstreamMonitor::UpstreamMonitor(const conf::Health& health, const conf::Outlier& outlier,
                                 uint64_t slow_start_ms, uint64_t now_ms)
    : checked_(health.enabled),
      outlier_enabled_(outlier.enabled),
      slow_start_ms_(slow_start_ms),
      outlier_(outlier, now_ms) {}

void UpstreamMonitor::add(EndpointKey key, std::shared_ptr<balancer::EndpointState> endpoint,
                          uint64_t now_ms) {
  const EndpointCondition known = endpoint->condition();
  const auto [added, fresh] =
      endpoints_.emplace(key, Endpoint{std::move(endpoint), SlowStart(slow_start_ms_), known});
  if (!fresh) return;
  outlier_.add(key);
  if (known.usable()) ++usable_;
  EndpointCondition next = known;
  next.ejected = false;
  if (!checked_) next.health = EndpointHealth::up;
  next.awaited = next.health == EndpointHealth::unknown;
  changed_ = true;
  apply(added->second, next, now_ms);
}

void UpstreamMonitor::remove(EndpointKey key, uint64_t now_ms) {
  const auto found = endpoints_.find(key);
  if (found == endpoints_.end()) return;
  if (found->second.condition.usable()) --usable_;
  endpoints_.erase(found);
  changed_ = true;
  for (const OutlierEvent& event : outlier_.remove(key, now_ms)) record(event, now_ms);
}

void UpstreamMonitor::checked(EndpointKey key, const CheckTransition& transition, uint64_t now_ms) {
  const auto found = endpoints_.find(key);
  if (found == endpoints_.end()) return;
  EndpointCondition next = found->second.condition;
  next.health = transition.to;
  next.awaited = false;
  const auto kind = transition.to == EndpointHealth::up ? MonitorEvent::Kind::up : MonitorEvent::Kind::down;
  const std::string why = transition.reason.empty() ? "" : ": " + transition.reason;
  events_.push_back({kind, found->second.state->name(), to_string(transition.to) + why, transition.reason});
  apply(found->second, next, now_ms);
}

void UpstreamMonitor::first_check_failed(EndpointKey key, uint64_t now_ms) {
  const auto found = endpoints_.find(key);
  if (found == endpoints_.end()) return;
  EndpointCondition next = found->second.condition;
  next.awaited = false;
  apply(found->second, next, now_ms);
}

void UpstreamMonitor::set_mode(EndpointKey key, balancer::EndpointMode mode, uint64_t now_ms) {
  const auto found = endpoints_.find(key);
  if (found == endpoints_.end()) return;
  EndpointCondition next = found->second.condition;
  next.mode = mode;
  events_.push_back(
      {MonitorEvent::Kind::mode, found->second.state->name(), std::string("set to ") + to_string(mode), {}});
  apply(found->second, next, now_ms);
}

void UpstreamMonitor::polled(EndpointKey key, uint64_t succeeded, uint64_t failed, uint64_t longest_row,
                             uint64_t now_ms) {
  if (!outlier_enabled_) return;
  if (const auto event = outlier_.polled(key, succeeded, failed, longest_row, now_ms)) record(*event, now_ms);
}

void UpstreamMonitor::advance(uint64_t now_ms) {
  for (const OutlierEvent& event : outlier_.advance(now_ms)) record(event, now_ms);
  for (auto& [key, endpoint] : endpoints_) apply(endpoint, endpoint.condition, now_ms);
}

uint64_t UpstreamMonitor::next_wakeup_ms(uint64_t now_ms) const {
  uint64_t next_ms = outlier_.next_wakeup_ms();
  for (const auto& [key, endpoint] : endpoints_)
    next_ms = std::min(next_ms, endpoint.ramp.next_change_ms(now_ms));
  return next_ms;
}

bool UpstreamMonitor::take_changed() {
  return std::exchange(changed_, false);
}

std::vector<MonitorEvent> UpstreamMonitor::take_events() {
  return std::exchange(events_, {});
}

void UpstreamMonitor::record(const OutlierEvent& event, uint64_t now_ms) {
  Endpoint& endpoint = endpoints_.at(event.endpoint);
  EndpointCondition next = endpoint.condition;
  next.ejected = event.ejected;
  events_.push_back(
      {event.ejected ? MonitorEvent::Kind::ejected : MonitorEvent::Kind::returned, endpoint.state->name(),
       event.ejected ? "ejected for " + balancer::duration_text(event.until_ms - now_ms) + ": " + event.reason
                     : "back from ejection",
       event.reason});
  apply(endpoint, next, now_ms);
}

void UpstreamMonitor::apply(Endpoint& endpoint, EndpointCondition next, uint64_t now_ms) {
  const EndpointCondition before = endpoint.condition;
  if (next.usable() && !before.usable()) {
    ++usable_;
    endpoint.ramp.begin(now_ms);
  } else if (!next.usable() && before.usable()) {
    --usable_;
  }
  next.ramp_percent = endpoint.ramp.percent(now_ms);
  if (same(next, before)) return;
  endpoint.condition = next;
  endpoint.state->set_condition(next);
  changed_ = true;
}

}  // namespace sluice::health
