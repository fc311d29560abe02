// Registry: the run-time states of services, upstreams, endpoints and caps, by
// name, across reloads; and the plans that are built on them.
//
// Every plan refers to the states by shared_ptr. What a new configuration no
// longer mentions is dropped here and lives on only as long as a plan or a
// connection refers to it. An endpoint whose address is reached by another name,
// "dns:app:80" instead of "10.0.0.5:80", is another endpoint: what was known of
// it, its connections and its TLS sessions are not its successor's.
//
// Thread: the control thread's only; the states themselves are shared.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "balancer/plan.h"
#include "balancer/saved_state.h"
#include "conf/config.h"
#include "conf/result.h"
#include "proxy/exemplars.h"
#include "proxy/resolver.h"
#include "proxy/tls_store.h"

namespace sluice::proxy {

// The source of a split that is blue's since a trip may be missing.
inline constexpr const char* kRecovery = "recovery";

// A service as the control thread sees it.
struct ServiceEntry {
  std::shared_ptr<balancer::ServiceState> state;
  std::shared_ptr<balancer::UpstreamState> upstreams[2];
  // By address text, in the order of the configuration. Without green: empty.
  std::vector<balancer::EndpointPlan> endpoints[2];
  std::shared_ptr<const TlsClientContext> tls[2];  // null: plain
  std::string split_source;                        // config, admin, rollout, trip, kRecovery
  uint64_t split_since_us = 0;                     // wall clock
  std::string trip_reason;                         // while tripped
  std::string tripped_by;                          // who asked for it by hand; may be empty
  uint64_t tripped_at_us = 0;                      // wall clock
  balancer::ByHand by_hand;
  Exemplars exemplars[2];                       // by conf::Colour
  bool measures_endpoints[2] = {false, false};  // each one's latency; by hand, until a restart

  balancer::EndpointState* find_endpoint(conf::Colour colour, const std::string& name) const;
  bool has_usable(conf::Colour colour) const;
  // Is there anybody for its requests: of blue, to which all may fall, or of green
  // while that has a share?
  bool served() const;
  // The latch as it was saved, on or off.
  void take_latch(const balancer::SavedService& saved);
};

// Can every maintenance page be read?
conf::Status check_pages(const conf::Config& config);

class Registry {
 public:
  Registry(uint32_t workers, balancer::Cap::Wake wake) : workers_(workers), wake_(std::move(wake)) {}

  // Brings the states in line with `config` and returns a plan for it.
  std::shared_ptr<const balancer::Plan> build(const conf::Config& config, const ResolvedNames& names,
                                              uint64_t wall_us, const TlsClients& tls = {});

  // Bounds all connections to upstreams together; to be called before build().
  void limit_upstream_connections(uint32_t max) {
    all_connections_ = std::make_shared<balancer::Cap>("all connections", max, wake_);
  }
  balancer::Cap& all_connections() { return *all_connections_; }
  // How many the caps of upstreams with endpoints allow, each by itself, whether
  // their names have addresses now or not: more than there can be where several share
  // a cap or one has none. `config` is what was built last.
  uint64_t allowed_connections(const conf::Config& config) const;

  // Services that the last builds brought back, or where they ended something set
  // by hand: their state is to be saved.
  std::set<std::string> take_changed() { return std::exchange(changed_, {}); }

  // Puts in force what was set by hand before this process; not where the file
  // says the same by now, or an endpoint has gone. To be called when the service
  // was built and before anybody looks after its endpoints, or else these are to
  // be told.
  void restore_by_hand(const conf::Service& service, balancer::ByHand by_hand, const ResolvedNames& names);
  // Keeps generation and latch of a service that the configuration lacks, for
  // when it comes back. Of one that is kept already neither is taken back.
  void remember(const std::string& service, const balancer::SavedService& saved);

  const std::map<std::string, ServiceEntry>& services() const { return services_; }
  std::map<std::string, ServiceEntry>& services() { return services_; }
  ServiceEntry* find(const std::string& service);
  // Those that the configuration has no more, or lacked at the start.
  const std::map<std::string, ServiceEntry>& dropped() const { return dropped_; }
  // Of either kind; null: never heard of.
  const ServiceEntry* find_any(const std::string& service) const;
  // Marks the split of either kind as kRecovery's, unless it is the file's and 0:
  // of one that was dropped it becomes 0.
  void put_in_doubt(const std::string& service);
  // The shared budgets, by name.
  const std::map<std::string, std::shared_ptr<balancer::Cap>>& caps() const { return caps_; }
  uint32_t workers() const { return workers_; }

 private:
  void update_caps(const conf::Config& config);
  void drop(std::map<std::string, ServiceEntry>::iterator which);
  void update_service(const conf::Service& service, uint64_t wall_us);
  void apply_by_hand(const conf::Service& service, ServiceEntry& entry);
  void forget_modes(const conf::Service& service, const ResolvedNames& names, ServiceEntry& entry);
  std::vector<balancer::EndpointPlan> endpoints_of(const conf::Service& service, conf::Colour colour,
                                                   const ResolvedNames& names,
                                                   const ServiceEntry& entry) const;
  std::shared_ptr<const balancer::CapSet> caps_of(const conf::Config& config, const ServiceEntry& entry,
                                                  conf::Colour colour) const;

  const uint32_t workers_;
  const balancer::Cap::Wake wake_;
  uint64_t serial_ = 0;
  std::map<std::string, ServiceEntry> services_;
  std::set<std::string> changed_;
  std::map<std::string, ServiceEntry> dropped_;  // that the configuration has no more
  std::map<std::string, std::shared_ptr<balancer::Cap>> caps_;
  std::shared_ptr<balancer::Cap> all_connections_;  // null: no limit
};

}  // namespace sluice::proxy
