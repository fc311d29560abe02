// WorkerContext: what the connections and exchanges of one worker share.
//
// It is the seam between the data path and the thread that runs it: a Worker
// fills it with sockets and a real clock, a test with scripts.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "balancer/plan.h"
#include "proxy/dialer.h"
#include "proxy/h1_downstream_codec.h"
#include "proxy/loop.h"
#include "proxy/report.h"

namespace sluice::proxy {

class Exchange;
class UpstreamPool;

// One plan as one worker uses it, with the pools looked up. It lives as long as
// an exchange that began with it, or as long as it is the current one.
struct WorkerPlan {
  struct Service {
    const balancer::ServicePlan* plan = nullptr;
    UpstreamPool* pools[2] = {nullptr, nullptr};
    mutable uint64_t routed = 0;  // requests, since the plan is there
  };
  std::shared_ptr<const balancer::Plan> plan;
  std::vector<Service> services;
  uint32_t exchanges = 0;
  bool current = true;
};

struct WorkerContext {
  WorkerContext(Loop& the_loop, uint32_t the_number, Dialer& the_dialer, Reporter& the_reporter)
      : loop(the_loop), number(the_number), dialer(the_dialer), reporter(the_reporter) {}
  WorkerContext(const WorkerContext&) = delete;
  WorkerContext& operator=(const WorkerContext&) = delete;
  ~WorkerContext();

  // The pool of an upstream, made at its first mention.
  UpstreamPool& pool(const std::shared_ptr<balancer::UpstreamState>& state);
  // Makes `plan` the one that new requests begin with.
  void adopt(std::shared_ptr<const balancer::Plan> plan);
  void release_plan(WorkerPlan* plan);

  Exchange* new_exchange();
  void recycle(Exchange* exchange);

  // Offers free places and wishes to reclaim to this worker's queues; see Cap.
  void serve_caps();
  void serve_caps_later() { loop.defer(serve_caps_); }
  // Tells a cap since when this worker's oldest waiter has stood at it.
  void publish_oldest(balancer::Cap* cap);
  // Closes up to `count` idle connections under `cap`; how many it were.
  uint32_t give_up_idle(const balancer::Cap& cap, uint32_t count);
  // Moves all requests that wait for the upstream elsewhere.
  void redirect_waiters(balancer::UpstreamState* upstream);
  // Lets go of the pools of upstreams that are in no plan any more.
  void sweep_pools_later() { loop.defer(sweep_pools_); }
  void begin_drain();
  void close_all();

  Loop& loop;
  const uint32_t number;
  Dialer& dialer;
  Reporter& reporter;
  CodecWorkspace workspace;
  WorkerPlan* plan = nullptr;
  bool draining = false;
  uint32_t upstream_connections = 0;  // open, on this worker
  // Requests that no route led to a service, by the status they got.
  std::array<balancer::Counter, balancer::UpstreamCounters::kCodes> unrouted;
  // Requests waiting for a place in the whole process, and their limit.
  std::atomic<uint32_t>* queued = nullptr;
  uint32_t max_queued = 0;
  // Places for clients in the whole process; null: no limit.
  std::shared_ptr<const balancer::CapSet> client_caps;
  uint32_t paused_listeners = 0;  // of this worker, for want of a place
  uint64_t paused_since_us = 0;   // the first of them
  // Client connections of the whole process, and how many are served; those above
  // are told so.
  std::atomic<uint32_t>* clients = nullptr;
  uint32_t max_clients = UINT32_MAX;
  // What [overload] refused, on this worker.
  balancer::Counter shed_connections;
  balancer::Counter shed_requests;

 private:
  void sweep_pools();

  std::vector<std::unique_ptr<WorkerPlan>> plans_;
  std::unordered_map<balancer::UpstreamState*, std::unique_ptr<UpstreamPool>> pools_;
  std::vector<std::unique_ptr<Exchange>> exchanges_;  // all that were ever made
  std::vector<Exchange*> free_exchanges_;
  Deferred sweep_pools_{[](void* self) { static_cast<WorkerContext*>(self)->sweep_pools(); }, this};
  Deferred serve_caps_{[](void* self) { static_cast<WorkerContext*>(self)->serve_caps(); }, this};
};

}  // namespace sluice::proxy
