#include "proxy/client_address.h"

#include <arpa/inet.h>
#include <fmt/compile.h>

#include <algorithm>
#include <cstring>

namespace sluice::proxy {
namespace {

constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

}  // namespace

ClientAddress ClientAddress::of_ipv4(const uint8_t* four) {
  ClientAddress address;
  std::memcpy(address.octets.data(), kMapped, sizeof(kMapped));
  std::memcpy(address.octets.data() + sizeof(kMapped), four, 4);
  return address;
}

ClientAddress ClientAddress::of(const sockaddr_storage& peer) {
  if (peer.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(peer);
    return of_ipv4(reinterpret_cast<const uint8_t*>(&v4.sin_addr));
  }
  ClientAddress address;
  std::memcpy(address.octets.data(), &reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr, 16);
  return address;
}

std::string ClientAddress::text() const {
  if (std::memcmp(octets.data(), kMapped, sizeof(kMapped)) == 0) {
    // Asked for each connection; inet_ntop goes through sprintf, for ten times as
    // many instructions.
    const uint8_t* const four = octets.data() + sizeof(kMapped);
    return fmt::format(FMT_COMPILE("{}.{}.{}.{}"), four[0], four[1], four[2], four[3]);
  }
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(AF_INET6, octets.data(), text, sizeof(text));
  return text;
}

bool ClientAddress::is_in(const std::vector<conf::Network>& networks) const {
  uint8_t plain[16];
  std::memcpy(plain, octets.data(), sizeof(plain));
  return std::any_of(networks.begin(), networks.end(),
                     [&](const conf::Network& network) { return network.contains(plain); });
}

}  // namespace sluice::proxy
