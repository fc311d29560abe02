// Dialer: opens streams to upstreams. The worker's opens sockets; a test's
// hands out scripted streams.
#pragma once

#include <memory>

#include "balancer/endpoint.h"
#include "proxy/stream.h"

namespace sluice::proxy {

class Dialer {
 public:
  virtual ~Dialer() = default;
  // The handler hears on_connected() later, never from within dial().
  virtual std::unique_ptr<Stream> dial(const balancer::EndpointState& endpoint, Stream::Handler* handler) = 0;
};

}  // namespace sluice::proxy
