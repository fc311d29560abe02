#include "proxy/tls_session.h"

#include <openssl/ssl.h>

namespace sluice::proxy {

TlsSession::~TlsSession() {
  SSL_SESSION_free(session_);
}

void TlsSession::keep(SSL_SESSION* session, uint64_t context_serial) {
  SSL_SESSION_free(session_);
  session_ = session;
  serial_ = context_serial;
}

}  // namespace sluice::proxy
