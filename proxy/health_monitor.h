// HealthMonitor: keeps every endpoint's condition up to date. It runs the active
// checks, once for the process, reads what live traffic shows, and brings both
// to the UpstreamMonitor of each upstream, which decides.
//
// Whatever changes is in the EndpointState already; here the workers are told by
// the upstream's epoch, and an event is written.
//
// Thread: the control thread. Owner: Control.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "health/check_scheduler.h"
#include "health/upstream_monitor.h"
#include "proxy/loop.h"

namespace sluice::proxy {

class Control;
class TlsClientContext;

class HealthMonitor {
 public:
  explicit HealthMonitor(Control& control);
  HealthMonitor(const HealthMonitor&) = delete;
  HealthMonitor& operator=(const HealthMonitor&) = delete;

  // Takes over the endpoints and settings of the current plan.
  void configure();
  // Looks at the tallies of live traffic, at ejections and at ramps; every
  // Judge::kTickMs.
  void tick();
  void close();

  // The operator's word. The endpoint must be one of the current plan.
  void set_mode(const std::string& service, conf::Colour colour, const balancer::EndpointState* endpoint,
                balancer::EndpointMode mode);

  // Do requests go to all endpoints that were ever up, because too few are left?
  bool in_panic(const std::string& service, conf::Colour colour) const;

  // Why the latest check of an endpoint failed; empty where it succeeded, or
  // none has ended yet.
  std::string check_failure(const balancer::EndpointState* endpoint) const;
  // Have `fall` checks in a row failed?
  bool fails(const balancer::EndpointState* endpoint) const;
  // Has a check of it succeeded since, and none failed after that?
  bool answered_since(const balancer::EndpointState* endpoint, uint64_t since_ms) const;

 private:
  // Null: it has none.
  const health::ActiveCheck* check_of(const balancer::EndpointState* endpoint) const;

  struct Watched {
    std::shared_ptr<balancer::EndpointState> state;
    balancer::EndpointState::Tally tallied;  // at the latest tick
    health::CheckId check = 0;               // 0: none
    uint64_t last_seen = 0;                  // the configure() that mentioned it
  };
  struct Settings {
    conf::Health health;
    conf::Outlier outlier;
    uint32_t slow_start_ms = 0;
    bool operator==(const Settings&) const = default;
  };
  struct Upstream {
    std::string service;
    conf::Colour colour = conf::Colour::blue;
    std::shared_ptr<const TlsClientContext> tls;  // null: plain
    Settings settings;
    std::unique_ptr<health::UpstreamMonitor> monitor;
    std::map<health::EndpointKey, Watched> endpoints;
    bool panic = false;
  };
  struct Checked {
    Upstream* upstream;
    health::EndpointKey endpoint;
  };

  void configure(Upstream& upstream);
  void drop(Upstream& upstream, health::EndpointKey key);
  void on_result(health::CheckId id);
  void on_transition(health::CheckId id, const health::CheckTransition& transition);
  // Tells the workers and the log what the monitor has decided.
  void tell(Upstream& upstream);
  // As each worker's Picker decides it for itself.
  void look_for_panic(Upstream& upstream);
  void advance();
  void arm();  // for the scheduler's next wakeup
  static health::EndpointKey key_of(const balancer::EndpointState* state) {
    return reinterpret_cast<health::EndpointKey>(state);
  }

  Control& control_;
  health::CheckScheduler scheduler_;
  std::map<std::string, Upstream> upstreams_;  // "web/green"
  std::map<health::CheckId, Checked> checks_;
  uint64_t configured_ = 0;
  bool closed_ = false;
  Timer timer_;
};

}  // namespace sluice::proxy
