// SocketProbe: one health check of one endpoint over a connection of its own,
// as [service.X.health] says: HTTP or a mere TCP connection.
//
// Thread: the control thread. Owner: the CheckScheduler. What is in flight when
// it is cancelled or destroyed closes by itself.
#pragma once

#include <memory>

#include "balancer/endpoint.h"
#include "conf/config.h"
#include "health/probe.h"
#include "proxy/loop.h"

namespace sluice::proxy {

class SocketProbe final : public health::Probe {
 public:
  SocketProbe(Loop& loop, std::shared_ptr<const balancer::EndpointState> endpoint,
              const conf::Health& settings);
  ~SocketProbe() override;

  void start(Done done) override;
  void cancel() override;

 private:
  class Attempt;

  Loop& loop_;
  const std::shared_ptr<const balancer::EndpointState> endpoint_;
  const conf::Health settings_;
  Attempt* attempt_ = nullptr;  // deletes itself
};

}  // namespace sluice::proxy
