// TlsSession: the latest session of one endpoint, with which the next
// connection to it saves the handshake's signatures (RFC 8446, 2.2).
//
// It belongs to the TlsClientContext that it was made under: another one may
// trust others, so it gets none. A session is offered to several connections,
// as servers expect of a proxy, until a newer one comes.
//
// Thread: the worker's. Owner: the PooledEndpoint.
#pragma once

#include <cstdint>

struct ssl_session_st;  // BoringSSL's SSL_SESSION

namespace sluice::proxy {

class TlsSession {
 public:
  TlsSession() = default;
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;
  ~TlsSession();

  // Takes over the caller's reference.
  void keep(ssl_session_st* session, uint64_t context_serial);
  // Null when there is none of that context.
  ssl_session_st* of(uint64_t context_serial) const { return context_serial == serial_ ? session_ : nullptr; }

 private:
  ssl_session_st* session_ = nullptr;
  uint64_t serial_ = 0;
};

}  // namespace sluice::proxy
