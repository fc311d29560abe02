// Downstream: the client's connection as an exchange sees it.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/codec.h"
#include "proxy/stream.h"

namespace sluice::proxy {

class Downstream {
 public:
  virtual ~Downstream() = default;

  virtual DownstreamCodec& codec() = 0;
  virtual Outbox& out() = 0;
  virtual size_t pending() const = 0;
  // Body octets are wanted again.
  virtual void resume_body() = 0;
  // The response is complete; the exchange is gone after this returns. `last`:
  // the connection must not serve another one. `idle_ms`: how long its service
  // lets a client be idle; 0: no service is known.
  virtual void exchange_finished(StreamId stream, bool last, uint32_t idle_ms) = 0;
  // The response can't be completed: the client must see that, by a reset
  // where an orderly end would look like the response's.
  virtual void exchange_aborted(StreamId stream, bool ends_by_close) = 0;
  // The response waits for the client to take what is pending.
  virtual void watch_drain() = 0;
  // Both directions are octets from now on.
  virtual void begin_tunnel(StreamId stream) = 0;
  // The upstream of a tunnel has ended its direction.
  virtual void end_tunnel_output() = 0;

  virtual std::string_view client_ip() const = 0;  // empty for unix sockets
  virtual bool trusted() const = 0;                // forwarding fields are believed
  virtual bool secure() const = 0;                 // came by TLS
  // Of a client that proved who it is; null for others.
  virtual const PeerCertificate* client_certificate() const = 0;
};

}  // namespace sluice::proxy
