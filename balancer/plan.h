// Plan: everything a worker needs to know to place a request, as one immutable
// value that is swapped whole.
//
//   Plan ── RouteTable                     host and path -> service
//     └── ServicePlan ── ServiceState      split, latch: changes without a plan
//           └── UpstreamPlan ×2 ── UpstreamState    caps, counters, epoch
//                 └── endpoints ── EndpointState    health, mode
//
// The plans hold what the configuration says; the states hold what happens at
// run time, are shared by all threads and survive a reload: the next plan
// refers to the same ones. A request keeps the plan it began with.
//
// Thread: a Plan is built by the control thread and read by any. Owner:
// shared_ptr, from each worker's current plan and from the control thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "balancer/cap.h"
#include "balancer/counters.h"
#include "balancer/endpoint.h"
#include "balancer/histogram.h"
#include "balancer/permit.h"
#include "balancer/retry_budget.h"
#include "balancer/routes.h"
#include "balancer/split.h"
#include "conf/config.h"

namespace sluice::proxy {
class TlsClientContext;
}

namespace sluice::balancer {

// What one worker counts about one upstream; written by that worker alone.
struct UpstreamStats {
  UpstreamCounters counters;
  Histogram upstream_duration;  // an attempt: from its start to its last byte
  Histogram request_duration;   // a request, as the client sees it
  Histogram connect_duration;
  Histogram first_byte_duration;
  Histogram queue_duration;
};

class UpstreamState {
 public:
  UpstreamState(std::string service, conf::Colour colour, uint32_t workers, Cap::Wake wake);

  const std::string& service() const { return service_; }
  conf::Colour colour() const { return colour_; }
  const std::string& name() const { return name_; }  // "web/green"

  // Goes up when an endpoint's condition has changed; see Picker.
  uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  void bump_epoch() { epoch_.fetch_add(1, std::memory_order_release); }

  // Its own max_connections; counts connections also where there is no limit.
  const std::shared_ptr<Cap>& connections() const { return connections_; }

  // Requests waiting for a place, over all workers.
  std::atomic<uint32_t>& queued() { return queued_; }

  RetryFloor& retry_floor() { return retry_floor_; }

  UpstreamStats& stats(uint32_t worker) { return *stats_[worker]; }
  const UpstreamStats& stats(uint32_t worker) const { return *stats_[worker]; }
  uint32_t workers() const { return static_cast<uint32_t>(stats_.size()); }

 private:
  const std::string service_;
  const conf::Colour colour_;
  const std::string name_;
  std::atomic<uint64_t> epoch_{1};
  std::atomic<uint32_t> queued_{0};
  std::shared_ptr<Cap> connections_;
  RetryFloor retry_floor_;
  std::vector<std::unique_ptr<UpstreamStats>> stats_;
};

class ServiceState {
 public:
  ServiceState(std::string name, Split::Value split) : name_(std::move(name)), split_(split) {}

  const std::string& name() const { return name_; }
  Split& split() { return split_; }
  const Split& split() const { return split_; }

  // While set, no request goes to green, whatever the split, a sticky key or an
  // override says.
  bool tripped() const { return tripped_.load(std::memory_order_relaxed); }
  void set_tripped(bool tripped) { tripped_.store(tripped, std::memory_order_seq_cst); }

  bool maintenance() const { return maintenance_.load(std::memory_order_relaxed); }
  void set_maintenance(bool on) { maintenance_.store(on, std::memory_order_seq_cst); }

 private:
  const std::string name_;
  Split split_;
  std::atomic<bool> tripped_{false};
  std::atomic<bool> maintenance_{false};
};

struct EndpointPlan {
  std::shared_ptr<EndpointState> state;
  uint32_t weight = 1;
};

struct UpstreamPlan {
  std::shared_ptr<UpstreamState> state;
  std::shared_ptr<const CapSet> caps;  // state->connections() and the shared budgets
  std::vector<EndpointPlan> endpoints;
  // How connections are secured, for whoever makes them; null: not at all.
  std::shared_ptr<const proxy::TlsClientContext> tls;
};

struct ServicePlan {
  conf::Service conf;
  std::shared_ptr<ServiceState> state;
  UpstreamPlan upstreams[2];     // by conf::Colour; green's is empty without has_green
  std::string maintenance_page;  // the page's text, read when the plan was built

  const UpstreamPlan& upstream(conf::Colour colour) const { return upstreams[static_cast<size_t>(colour)]; }
};

struct Plan {
  uint64_t serial = 0;
  std::vector<ServicePlan> services;
  RouteTable routes;  // to indices of `services`

  // The widest of all services, for what must be decided before a request's
  // service is known.
  conf::Limits head_limits;
  conf::Timeouts client_timeouts;
  conf::Trace trace;
};

}  // namespace sluice::balancer
