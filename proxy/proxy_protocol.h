// The PROXY protocol, versions 1 and 2: the header in which a load balancer
// tells whose connection it passes on (proxy-protocol.txt of HAProxy, 2.1, 2.2).
//
//   v1   "PROXY" SP ("TCP4" / "TCP6") SP source SP destination SP port SP port CRLF
//        "PROXY UNKNOWN" ... CRLF                             at most 107 octets
//   v2   signature:12  version:4 command:4  family:4 protocol:4  length:16
//        addresses, then TLVs                                 `length` octets
//
// Read strictly: one wrong octet is `bad`, as soon as it is seen. A CRC32C TLV
// is verified where there is one; other TLVs are only checked for their framing.
// Only connections are meant, so a datagram's header is `bad`.
//
// A pure function; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "proxy/client_address.h"

namespace sluice::proxy {

struct ProxyHeader {
  // Those of version 2 may be 64 KiB long; nobody sends such.
  static constexpr size_t kMostOctets = 4096;

  enum class Verdict : uint8_t { more, complete, bad };
  Verdict verdict = Verdict::more;
  size_t size = 0;  // octets that it takes, when it is complete
  // Whose connection it is; nothing for the balancer's own (LOCAL) and where it
  // does not know (UNKNOWN, or no family of addresses).
  std::optional<ClientAddress> source;
};

// The header at the front of `octets`.
ProxyHeader read_proxy_header(std::string_view octets);

}  // namespace sluice::proxy
