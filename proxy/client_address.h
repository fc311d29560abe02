// ClientAddress: who a connection comes from, as the octets that conf::Network
// compares and as the text that logs and fields show.
//
// IPv4 is held IPv4-mapped (RFC 4291, 2.5.5.2) and shown as IPv4. A value; any
// thread.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "conf/config.h"

namespace sluice::proxy {

struct ClientAddress {
  std::array<uint8_t, 16> octets{};

  // Of 4 octets in network order.
  static ClientAddress of_ipv4(const uint8_t* four);
  // AF_INET or AF_INET6.
  static ClientAddress of(const sockaddr_storage& peer);

  std::string text() const;
  bool is_in(const std::vector<conf::Network>& networks) const;

  bool operator==(const ClientAddress&) const = default;
};

}  // namespace sluice::proxy
