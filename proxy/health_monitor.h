// HealthMonitor: keeps every endpoint's condition up to date: active checks,
// once for the process, and ejection by what live traffic shows.
//
// Whatever changes is stored in the EndpointState, told to the workers by the
// upstream's epoch, and written as an event.
//
// Thread: the control thread. Owner: Control.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "health/check_scheduler.h"
#include "health/outlier.h"
#include "proxy/loop.h"

namespace sluice::proxy {

class Control;

class HealthMonitor {
 public:
  explicit HealthMonitor(Control& control);
  HealthMonitor(const HealthMonitor&) = delete;
  HealthMonitor& operator=(const HealthMonitor&) = delete;

  // Takes over the endpoints and settings of the current plan.
  void configure();
  // Looks at the tallies of live traffic; every Judge::kTickMs.
  void tick();
  void close();

  // The last failure of an endpoint's check, for `show endpoints`; may be empty.
  std::string last_failure(const balancer::EndpointState* endpoint) const;

 private:
  // An endpoint with the names that events call it by.
  struct Watched {
    std::shared_ptr<balancer::EndpointState> state;
    std::string service;
    conf::Colour colour = conf::Colour::blue;
    health::CheckId check = 0;  // 0: none
    conf::Health settings;
    uint64_t last_seen = 0;  // the configure() that mentioned it
  };
  struct Ejector {
    conf::Outlier settings;
    std::unique_ptr<health::Outlier> outlier;
    std::map<health::EndpointKey, const balancer::EndpointState*> endpoints;
  };

  void on_transition(health::CheckId id, const health::CheckTransition& transition);
  void on_outlier(const std::string& upstream, const health::OutlierEvent& event);
  void configure_outlier(const std::string& service, conf::Colour colour);
  void changed(const Watched& endpoint);
  void advance();
  static health::EndpointKey key_of(const balancer::EndpointState* state) {
    return reinterpret_cast<health::EndpointKey>(state);
  }

  Control& control_;
  health::CheckScheduler scheduler_;
  std::map<const balancer::EndpointState*, Watched> endpoints_;
  std::map<health::CheckId, const balancer::EndpointState*> by_check_;
  std::map<std::string, Ejector> ejectors_;  // by upstream, "web/green"
  uint64_t configured_ = 0;
  bool closed_ = false;
  Timer timer_;
};

}  // namespace sluice::proxy
