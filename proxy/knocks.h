// Knocks: whether somebody listens at each endpoint of an upstream that has no
// health checks, by a TCP connection each to begin with and then each second.
//
// Thread: the control thread. Owner: Rollouts, while a pre-flight wants to know.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "balancer/plan.h"
#include "health/check_scheduler.h"
#include "proxy/loop.h"

namespace sluice::proxy {

class TlsClientContext;

class Knocks {
 public:
  explicit Knocks(Loop& loop);
  Knocks(const Knocks&) = delete;
  Knocks& operator=(const Knocks&) = delete;

  // How many of them have not answered, the last time or not yet. To be called
  // some times a second, which is what it runs on.
  uint32_t unanswered(const std::vector<balancer::EndpointPlan>& endpoints);

 private:
  Loop& loop_;
  health::CheckScheduler scheduler_;
  std::map<std::shared_ptr<balancer::EndpointState>, health::CheckId> checks_;
  const std::shared_ptr<const TlsClientContext> plain_;  // none
};

}  // namespace sluice::proxy
