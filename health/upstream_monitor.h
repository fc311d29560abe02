// UpstreamMonitor: brings together what is known of the endpoints of one
// upstream (active checks, outlier ejection, the operator's mode, slow start)
// into each EndpointState's condition, which is all that a worker looks at.
//
//   check results ─┐
//   live outcomes ─┼─> UpstreamMonitor ──> EndpointState::set_condition()
//   set endpoint  ─┤                  └──> changed(): bump the upstream's epoch
//   time          ─┘                  └──> events, for the log and `show events`
//
// Without active checks an endpoint is up at once; with them it is awaited until
// its first check is over, and unknown until one succeeds. An endpoint that becomes
// usable, for the first time or again, ramps up over slow_start_ms. One whose
// state was known before (a reload made a new monitor) stays as it was, but for
// an ejection, which ends.
//
// Thread: the control thread. Owner: the upstream's control state. It keeps the
// endpoint states alive. Units: milliseconds on the caller's clock.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "balancer/endpoint.h"
#include "conf/config.h"
#include "health/active_check.h"
#include "health/outlier.h"
#include "health/slow_start.h"

namespace sluice::health {

struct MonitorEvent {
  enum class Kind : uint8_t { up, down, ejected, returned, mode };
  Kind kind = Kind::up;
  std::string endpoint;  // its name
  std::string text;      // "down: 3 failed checks: connection refused"
  std::string reason;    // "3 failed checks: connection refused"
};
constexpr const char* to_string(MonitorEvent::Kind kind) {
  constexpr const char* names[] = {"up", "down", "ejected", "returned", "mode"};
  return names[static_cast<size_t>(kind)];
}

class UpstreamMonitor {
 public:
  UpstreamMonitor(const conf::Health& health, const conf::Outlier& outlier, uint64_t slow_start_ms,
                  uint64_t now_ms);

  void add(EndpointKey key, std::shared_ptr<balancer::EndpointState> endpoint, uint64_t now_ms);
  void remove(EndpointKey key, uint64_t now_ms);

  void checked(EndpointKey key, const CheckTransition& transition, uint64_t now_ms);
  // Its first check is over and did not succeed: nobody need wait for it.
  void first_check_failed(EndpointKey key, uint64_t now_ms);
  void set_mode(EndpointKey key, balancer::EndpointMode mode, uint64_t now_ms);
  // Live outcomes since the last call, as Outlier takes them.
  void polled(EndpointKey key, uint64_t succeeded, uint64_t failed, uint64_t longest_row, uint64_t now_ms);

  void advance(uint64_t now_ms);
  uint64_t next_wakeup_ms(uint64_t now_ms) const;

  // Conditions have changed since the last call: bump the upstream's epoch.
  bool take_changed();
  std::vector<MonitorEvent> take_events();

  size_t size() const { return endpoints_.size(); }
  size_t usable() const { return usable_; }  // 0: the upstream is gone
  const Outlier& outlier() const { return outlier_; }

 private:
  struct Endpoint {
    std::shared_ptr<balancer::EndpointState> state;
    SlowStart ramp;
    balancer::EndpointCondition condition;  // as last set
  };

  void apply(Endpoint& endpoint, balancer::EndpointCondition next, uint64_t now_ms);
  void record(const OutlierEvent& event, uint64_t now_ms);

  const bool checked_;  // there are active checks
  const bool outlier_enabled_;
  const uint64_t slow_start_ms_;
  Outlier outlier_;
  std::map<EndpointKey, Endpoint> endpoints_;
  size_t usable_ = 0;
  bool changed_ = false;
  std::vector<MonitorEvent> events_;
};

}  // namespace sluice::health
