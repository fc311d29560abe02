#include "proxy/health_monitor.h"

#include <algorithm>
#include <utility>

#include "proxy/control.h"
#include "proxy/socket_probe.h"

namespace sluice::proxy {

using balancer::EndpointHealth;
using balancer::EndpointState;
using conf::Colour;

namespace {

bool same_check(const conf::Health& a, const conf::Health& b) {
  return a.enabled == b.enabled && a.tcp == b.tcp && a.path == b.path && a.host == b.host &&
         a.interval_ms == b.interval_ms && a.timeout_ms == b.timeout_ms && a.rise == b.rise &&
         a.fall == b.fall && a.status == b.status && a.body == b.body;
}

}  // namespace

HealthMonitor::HealthMonitor(Control& control)
    : control_(control),
      scheduler_(control.loop().random().next(),
                 [this](health::CheckId id, const health::CheckTransition& transition) {
                   on_transition(id, transition);
                 }),
      timer_([](void* self) { static_cast<HealthMonitor*>(self)->advance(); }, this) {}

void HealthMonitor::configure() {
  ++configured_;
  const uint64_t now_ms = control_.loop().now_ms();
  for (const auto& [name, entry] : control_.registry().services()) {
    const conf::Health& settings = control_.service_conf(name).health;
    for (const Colour colour : conf::kColours) {
      for (const balancer::EndpointPlan& one : entry.endpoints[static_cast<size_t>(colour)]) {
        Watched& watched = endpoints_[one.state.get()];
        watched.last_seen = configured_;
        if (watched.state != nullptr && same_check(watched.settings, settings)) continue;
        if (watched.check != 0) {
          scheduler_.remove(watched.check);
          by_check_.erase(watched.check);
          watched.check = 0;
        }
        watched.state = one.state;
        watched.service = name;
        watched.colour = colour;
        watched.settings = settings;
        if (!settings.enabled) continue;
        watched.check = scheduler_.add(
            settings, std::make_unique<SocketProbe>(control_.loop(), one.state, watched.settings), now_ms);
        by_check_.emplace(watched.check, one.state.get());
      }
      configure_outlier(name, colour);
    }
  }
  for (auto it = endpoints_.begin(); it != endpoints_.end();) {
    if (it->second.last_seen == configured_) {
      ++it;
      continue;
    }
    scheduler_.remove(it->second.check);
    by_check_.erase(it->second.check);
    it = endpoints_.erase(it);
  }
  advance();
}

void HealthMonitor::configure_outlier(const std::string& service, Colour colour) {
  const conf::Outlier& settings = control_.service_conf(service).outlier;
  const std::string upstream = service + "/" + to_string(colour);
  if (!settings.enabled) {
    ejectors_.erase(upstream);
    return;
  }
  Ejector& ejector = ejectors_[upstream];
  const uint64_t now_ms = control_.loop().now_ms();
  if (ejector.outlier == nullptr) ejector.outlier = std::make_unique<health::Outlier>(settings, now_ms);
  std::map<health::EndpointKey, const EndpointState*> wanted;
  for (const auto& one : control_.registry().find(service)->endpoints[static_cast<size_t>(colour)]) {
    wanted.emplace(key_of(one.state.get()), one.state.get());
  }
  for (const auto& [key, state] : ejector.endpoints) {
    if (wanted.contains(key)) continue;
    for (const health::OutlierEvent& event : ejector.outlier->remove(key, now_ms))
      on_outlier(upstream, event);
  }
  for (const auto& [key, state] : wanted) {
    if (!ejector.endpoints.contains(key)) ejector.outlier->add(key);
  }
  ejector.endpoints = std::move(wanted);
}

void HealthMonitor::advance() {
  if (closed_) return;
  const uint64_t now_ms = control_.loop().now_ms();
  scheduler_.advance(now_ms);
  const uint64_t next_ms = scheduler_.next_wakeup_ms();
  if (next_ms == health::CheckScheduler::kNever) return;
  control_.loop().arm(timer_, next_ms > now_ms ? next_ms - now_ms : 1);
}

void HealthMonitor::on_transition(health::CheckId id, const health::CheckTransition& transition) {
  const auto found = by_check_.find(id);
  if (found == by_check_.end()) return;
  const Watched& endpoint = endpoints_.at(found->second);
  balancer::EndpointCondition condition = endpoint.state->condition();
  condition.health = transition.to;
  endpoint.state->set_condition(condition);
  const std::string name = endpoint.state->name();
  control_.add_event(
      transition.to == EndpointHealth::up ? "endpoint_up" : "endpoint_down", endpoint.service,
      "endpoint " + name + " of " + endpoint.service + "/" + to_string(endpoint.colour) + " is " +
          to_string(transition.to) + (transition.reason.empty() ? "" : ": " + transition.reason),
      {{"upstream", to_string(endpoint.colour)}, {"endpoint", name}, {"reason", transition.reason}});
  changed(endpoint);
}

void HealthMonitor::on_outlier(const std::string& upstream, const health::OutlierEvent& event) {
  const auto found = endpoints_.find(reinterpret_cast<const EndpointState*>(event.endpoint));
  if (found == endpoints_.end()) return;
  const Watched& endpoint = found->second;
  balancer::EndpointCondition condition = endpoint.state->condition();
  condition.ejected = event.ejected;
  endpoint.state->set_condition(condition);
  const std::string name = endpoint.state->name();
  control_.add_event(
      event.ejected ? "endpoint_ejected" : "endpoint_returned", endpoint.service,
      event.ejected ? "endpoint " + name + " of " + upstream + " is ejected: " + event.reason
                    : "endpoint " + name + " of " + upstream + " is back",
      {{"upstream", to_string(endpoint.colour)}, {"endpoint", name}, {"reason", event.reason}});
  changed(endpoint);
}

// The workers look again, waiters too, and the judge.
void HealthMonitor::changed(const Watched& endpoint) {
  control_.endpoints_changed(endpoint.service, endpoint.colour);
}

void HealthMonitor::tick() {
  const uint64_t now_ms = control_.loop().now_ms();
  for (auto& [upstream, ejector] : ejectors_) {
    for (const auto& [key, state] : ejector.endpoints) {
      const EndpointState::Tally tally = state->tally();
      const auto event = ejector.outlier->polled(key, tally.succeeded, tally.failed, now_ms);
      if (event.has_value()) on_outlier(upstream, *event);
    }
    for (const health::OutlierEvent& event : ejector.outlier->advance(now_ms)) on_outlier(upstream, event);
  }
}

std::string HealthMonitor::last_failure(const EndpointState* endpoint) const {
  const auto found = endpoints_.find(endpoint);
  if (found == endpoints_.end() || found->second.check == 0) return {};
  const health::ActiveCheck* const check = scheduler_.find(found->second.check);
  return check == nullptr ? std::string{} : check->last_failure();
}

void HealthMonitor::close() {
  closed_ = true;
  timer_.disarm();
  for (const auto& [id, state] : by_check_) scheduler_.remove(id);
  by_check_.clear();
  endpoints_.clear();
}

}  // namespace sluice::proxy
