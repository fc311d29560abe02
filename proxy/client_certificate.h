// What a client proved to be, as the header fields X-Client-Cert-Subject and
// X-Client-Cert-San tell it to the upstream.
//
//   CN=app-7,O=Example                                  RFC 2253
//   DNS:app-7.example.com, URI:spiffe://example/app-7   also IP: and EMAIL:
//
// A certificate may hold any octets, so whatever is not plain in such a value
// is escaped, and no entry can pass for two: in the subject by RFC 2253's
// backslash, in the SAN by percent signs, the comma and the blank too. A text
// above kMostCertificateText is left out as a whole rather than cut.
//
// Any thread.
#pragma once

#include <openssl/ssl.h>

#include <memory>

#include "proxy/stream.h"

namespace sluice::proxy {

inline constexpr size_t kMostCertificateText = 4096;

// Of a connection whose handshake is done; null when the client sent none.
std::unique_ptr<PeerCertificate> read_client_certificate(const SSL* ssl);
PeerCertificate describe_client(X509* certificate);

}  // namespace sluice::proxy
