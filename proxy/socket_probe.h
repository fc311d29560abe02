// SocketProbe: one health check of one endpoint over a connection of its own,
// as [service.X.health] says: HTTP or a mere TCP connection. Where the upstream
// has TLS, either begins with the handshake and what it verifies.
//
// Thread: the control thread. Owner: the CheckScheduler. What is in flight when
// it is cancelled or destroyed closes by itself.
#pragma once

#include <memory>

#include "balancer/endpoint.h"
#include "conf/config.h"
#include "health/probe.h"
#include "proxy/loop.h"
#include "proxy/tls_session.h"

namespace sluice::proxy {

class TlsClientContext;

class SocketProbe final : public health::Probe {
 public:
  // `tls`: how connections to the endpoint are secured, null: not at all. It may
  // change from one check to the next, and outlives the probe.
  SocketProbe(Loop& loop, std::shared_ptr<const balancer::EndpointState> endpoint,
              const conf::Health& settings, const std::shared_ptr<const TlsClientContext>& tls);
  ~SocketProbe() override;

  void start(Done done) override;
  void cancel() override;

 private:
  class Attempt;

  Loop& loop_;
  const std::shared_ptr<const balancer::EndpointState> endpoint_;
  const conf::Health settings_;
  const std::shared_ptr<const TlsClientContext>& tls_;
  const std::shared_ptr<TlsSession> session_ = std::make_shared<TlsSession>();
  Attempt* attempt_ = nullptr;  // deletes itself
};

}  // namespace sluice::proxy
