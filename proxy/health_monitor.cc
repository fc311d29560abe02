#include "proxy/health_monitor.h"

#include <utility>

#include "balancer/picker.h"
#include "proxy/control.h"
#include "proxy/socket_probe.h"

namespace sluice::proxy {

using balancer::EndpointState;
using conf::Colour;
using health::MonitorEvent;

HealthMonitor::HealthMonitor(Control& control)
    : control_(control),
      scheduler_(
          control.loop().random().next(),
          [this](health::CheckId id, const health::CheckTransition& transition) {
            on_transition(id, transition);
          },
          [this](health::CheckId id) { on_result(id); }),
      timer_([](void* self) { static_cast<HealthMonitor*>(self)->advance(); }, this) {}

void HealthMonitor::configure() {
  ++configured_;
  for (const auto& [name, entry] : control_.registry().services()) {
    for (const Colour colour : conf::kColours) {
      Upstream& upstream = upstreams_[name + "/" + to_string(colour)];
      upstream.service = name;
      upstream.colour = colour;
      upstream.tls = entry.tls[static_cast<size_t>(colour)];
      configure(upstream);
    }
  }
  for (auto it = upstreams_.begin(); it != upstreams_.end();) {
    Upstream& upstream = it->second;
    if (control_.registry().find(upstream.service) != nullptr) {
      ++it;
      continue;
    }
    while (!upstream.endpoints.empty()) drop(upstream, upstream.endpoints.begin()->first);
    it = upstreams_.erase(it);
  }
  advance();
}

void HealthMonitor::configure(Upstream& upstream) {
  const uint64_t now_ms = control_.loop().now_ms();
  const conf::Service& service = control_.service_conf(upstream.service);
  const Settings wanted{service.health, service.outlier, service.upstream(upstream.colour).slow_start_ms};
  if (upstream.monitor == nullptr || upstream.settings != wanted) {
    while (!upstream.endpoints.empty()) drop(upstream, upstream.endpoints.begin()->first);
    upstream.settings = wanted;
    upstream.monitor = std::make_unique<health::UpstreamMonitor>(wanted.health, wanted.outlier,
                                                                 wanted.slow_start_ms, now_ms);
  }
  const auto& endpoints =
      control_.registry().find(upstream.service)->endpoints[static_cast<size_t>(upstream.colour)];
  for (const balancer::EndpointPlan& one : endpoints) {
    const health::EndpointKey key = key_of(one.state.get());
    const auto [watched, is_new] = upstream.endpoints.try_emplace(key);
    watched->second.last_seen = configured_;
    if (!is_new) continue;
    watched->second.state = one.state;
    // What was before is no news.
    watched->second.tallied = one.state->tally();
    static_cast<void>(one.state->take_longest_row());
    upstream.monitor->add(key, one.state, now_ms);
    if (!wanted.health.enabled) continue;
    watched->second.check = scheduler_.add(
        wanted.health, std::make_unique<SocketProbe>(control_.loop(), one.state, wanted.health, upstream.tls),
        now_ms, one.state->condition().health);
    checks_.emplace(watched->second.check, Checked{&upstream, key});
  }
  for (auto it = upstream.endpoints.begin(); it != upstream.endpoints.end();) {
    const auto here = it++;
    if (here->second.last_seen != configured_) drop(upstream, here->first);
  }
  tell(upstream);
}

void HealthMonitor::drop(Upstream& upstream, health::EndpointKey key) {
  const auto found = upstream.endpoints.find(key);
  if (found->second.check != 0) {
    scheduler_.remove(found->second.check);
    checks_.erase(found->second.check);
  }
  upstream.monitor->remove(key, control_.loop().now_ms());
  upstream.endpoints.erase(found);
}

void HealthMonitor::advance() {
  if (closed_) return;
  scheduler_.advance(control_.loop().now_ms());
  arm();
}

void HealthMonitor::arm() {
  const uint64_t next_ms = scheduler_.next_wakeup_ms();
  if (closed_ || next_ms == health::CheckScheduler::kNever) return;
  const uint64_t now_ms = control_.loop().now_ms();
  control_.loop().arm(timer_, next_ms > now_ms ? next_ms - now_ms : 1);
}

void HealthMonitor::on_result(health::CheckId id) {
  const health::ActiveCheck* const check = scheduler_.find(id);
  const auto found = checks_.find(id);
  if (check != nullptr && found != checks_.end() && check->health() == balancer::EndpointHealth::unknown) {
    Upstream& upstream = *found->second.upstream;
    upstream.monitor->first_check_failed(found->second.endpoint, control_.loop().now_ms());
    tell(upstream);
  }
  arm();
}

void HealthMonitor::on_transition(health::CheckId id, const health::CheckTransition& transition) {
  const auto found = checks_.find(id);
  if (found == checks_.end()) return;
  Upstream& upstream = *found->second.upstream;
  upstream.monitor->checked(found->second.endpoint, transition, control_.loop().now_ms());
  tell(upstream);
}

void HealthMonitor::set_mode(const std::string& service, Colour colour, const EndpointState* endpoint,
                             balancer::EndpointMode mode) {
  Upstream& upstream = upstreams_.at(service + "/" + to_string(colour));
  upstream.monitor->set_mode(key_of(endpoint), mode, control_.loop().now_ms());
  tell(upstream);
}

void HealthMonitor::tell(Upstream& upstream) {
  const std::string name = upstream.service + "/" + to_string(upstream.colour);
  for (const MonitorEvent& event : upstream.monitor->take_events()) {
    if (event.kind == MonitorEvent::Kind::mode) continue;  // whoever asked for it tells of it
    control_.add_event(
        std::string("endpoint_") + to_string(event.kind), upstream.service,
        "endpoint " + event.endpoint + " of " + name + " is " + event.text,
        {{"upstream", to_string(upstream.colour)}, {"endpoint", event.endpoint}, {"reason", event.reason}});
  }
  if (!upstream.monitor->take_changed()) return;
  look_for_panic(upstream);
  control_.endpoints_changed(upstream.service, upstream.colour);
}

void HealthMonitor::look_for_panic(Upstream& upstream) {
  size_t usable = 0;
  size_t candidates = 0;
  for (const auto& [key, watched] : upstream.endpoints) {
    const balancer::EndpointCondition condition = watched.state->condition();
    usable += condition.usable() ? 1 : 0;
    candidates += condition.usable_in_panic() ? 1 : 0;
  }
  const auto panic = balancer::Picker::Panic::of(upstream.settings.outlier, upstream.colour);
  if (panic.applies(usable, candidates) == upstream.panic) return;
  upstream.panic = !upstream.panic;
  const std::string name = upstream.service + "/" + to_string(upstream.colour);
  const std::string count = std::to_string(usable) + " of " + std::to_string(candidates);
  control_.add_event(
      upstream.panic ? "panic" : "panic_over", upstream.service,
      upstream.panic ? "only " + count + " endpoints of " + name +
                           " are in service: requests go to all of them rather than bury the rest"
                     : count + " endpoints of " + name + " are in service, and only these get requests again",
      {{"upstream", to_string(upstream.colour)},
       {"usable", std::to_string(usable)},
       {"endpoints", std::to_string(candidates)}});
}

bool HealthMonitor::in_panic(const std::string& service, Colour colour) const {
  const auto found = upstreams_.find(service + "/" + to_string(colour));
  return found != upstreams_.end() && found->second.panic;
}

void HealthMonitor::tick() {
  const uint64_t now_ms = control_.loop().now_ms();
  for (auto& [name, upstream] : upstreams_) {
    if (upstream.settings.outlier.enabled) {
      for (auto& [key, watched] : upstream.endpoints) {
        const EndpointState::Tally now = watched.state->tally();
        const EndpointState::Tally before = std::exchange(watched.tallied, now);
        upstream.monitor->polled(key, now.succeeded - before.succeeded, now.failed - before.failed,
                                 watched.state->take_longest_row(), now_ms);
      }
    }
    upstream.monitor->advance(now_ms);
    tell(upstream);
  }
}

const health::ActiveCheck* HealthMonitor::check_of(const EndpointState* endpoint) const {
  for (const auto& [name, upstream] : upstreams_) {
    const auto found = upstream.endpoints.find(key_of(endpoint));
    if (found != upstream.endpoints.end() && found->second.check != 0) {
      return scheduler_.find(found->second.check);
    }
  }
  return nullptr;
}

std::string HealthMonitor::check_failure(const EndpointState* endpoint) const {
  const health::ActiveCheck* const check = check_of(endpoint);
  return check == nullptr || check->failures() == 0 ? std::string{} : check->last_failure();
}

bool HealthMonitor::fails(const EndpointState* endpoint) const {
  const health::ActiveCheck* const check = check_of(endpoint);
  return check != nullptr && check->fails();
}

bool HealthMonitor::answered_since(const EndpointState* endpoint, uint64_t since_ms) const {
  const health::ActiveCheck* const check = check_of(endpoint);
  return check != nullptr && check->failures() == 0 && check->last_finished_ms() > since_ms;
}

void HealthMonitor::close() {
  closed_ = true;
  timer_.disarm();
  for (const auto& [id, checked] : checks_) scheduler_.remove(id);
  checks_.clear();
  upstreams_.clear();
}

}  // namespace sluice::proxy
