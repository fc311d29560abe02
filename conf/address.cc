#include "conf/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "conf/units.h"

namespace sluice::conf {
namespace {

constexpr uint8_t kMappedPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr uint8_t kMappedBits = 96;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::optional<std::string> canonical_ip(int family, const std::string& text) {
  uint8_t bytes[16];
  char out[INET6_ADDRSTRLEN];
  if (inet_pton(family, text.c_str(), bytes) != 1) return std::nullopt;
  return inet_ntop(family, bytes, out, sizeof out);
}

Result<Address> parse_unix(std::string_view text, std::string_view path) {
  if (!path.starts_with('/')) {
    return invalid(quote(text) + " has no absolute path: write \"unix:/run/app.sock\"");
  }
  if (path.size() > kMaxSocketPath || path.find('\0') != std::string_view::npos) {
    return invalid(quote(text) + " is no path for a socket: at most " + std::to_string(kMaxSocketPath) +
                   " bytes, none of them zero");
  }
  return Address{Address::Kind::unix_socket, std::string(path), 0};
}

Error bad_host(std::string_view text, const std::string& host, const std::string& port) {
  if (host.empty()) return invalid(quote(text) + " has no host: write \"0.0.0.0:" + port + "\" for any");
  if (host.find(':') != std::string::npos) {
    return invalid(quote(text) + " is not an address: write IPv6 in brackets, as in \"[::1]:80\"");
  }
  const bool has_letter = host.find_first_not_of("0123456789.") != std::string::npos;
  if (is_host_name(host) && has_letter) {
    return invalid(quote(host) + " is not an IP address: write \"dns:" + host + ":" + port +
                   "\" to have the name looked up");
  }
  return invalid(quote(text) +
                 " is not an address: write \"10.0.0.5:8080\", \"[::1]:80\", "
                 "\"unix:/run/app.sock\" or \"dns:app.svc:8080\"");
}

bool bit(const uint8_t (&bytes)[16], size_t index) {
  return (bytes[index / 8] >> (7 - index % 8) & 1) != 0;
}

}  // namespace

bool is_host_name(std::string_view text) {
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.empty() || text.size() > 253) return false;
  size_t label = 0;
  for (const char c : text) {
    const bool letter =
        (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    if (c == '.' ? label == 0 : !letter || label == 63) return false;
    label = c == '.' ? 0 : label + 1;
  }
  return label != 0;
}

Result<Address> parse_address(std::string_view text) {
  if (text.starts_with("unix:")) return parse_unix(text, text.substr(5));
  const bool dns = text.starts_with("dns:");
  const std::string_view rest = dns ? text.substr(4) : text;
  const size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos || rest.ends_with(']')) {
    return invalid(quote(text) + " has no port: write \"HOST:PORT\"");
  }
  const std::string port_text(rest.substr(colon + 1));
  const std::optional<uint64_t> port = parse_unsigned(port_text);
  if (!port || *port > 65535) {
    return invalid(quote(text) + " has no valid port: write a number up to 65535 after the last colon");
  }
  std::string host(rest.substr(0, colon));
  Address address{dns ? Address::Kind::dns : Address::Kind::inet, {}, static_cast<uint16_t>(*port)};
  if (dns) {
    if (!is_host_name(host))
      return invalid(quote(text) + " has no valid host name: write \"dns:app.svc:8080\"");
    std::transform(host.begin(), host.end(), host.begin(), lower);
    address.host = std::move(host);
    return address;
  }
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  const std::optional<std::string> ip =
      bracketed ? canonical_ip(AF_INET6, host.substr(1, host.size() - 2)) : canonical_ip(AF_INET, host);
  if (!ip || host.find('\0') != std::string::npos) return bad_host(text, host, port_text);
  address.host = *ip;
  return address;
}

std::string Address::to_string() const {
  switch (kind) {
    case Kind::unix_socket:
      return "unix:" + host;
    case Kind::dns:
      return "dns:" + host + ":" + std::to_string(port);
    case Kind::inet:
      break;
  }
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Network> parse_network(std::string_view text) {
  const size_t slash = text.find('/');
  const std::string ip(text.substr(0, slash));
  const bool v6 = ip.find(':') != std::string::npos;
  const uint8_t family_bits = v6 ? 128 : 32;
  Network network;
  std::memcpy(network.bytes, kMappedPrefix, v6 ? 0 : sizeof kMappedPrefix);
  const int known =
      inet_pton(v6 ? AF_INET6 : AF_INET, ip.c_str(), network.bytes + (v6 ? 0 : sizeof kMappedPrefix));
  std::optional<uint64_t> prefix = family_bits;
  if (slash != std::string_view::npos) prefix = parse_unsigned(text.substr(slash + 1));
  if (known != 1 || !prefix || *prefix > family_bits || ip.find('\0') != std::string::npos) {
    return invalid(quote(text) + " is not a network: write \"10.0.0.0/8\", \"fd00::/8\" or one address");
  }
  network.prefix_bits = static_cast<uint8_t>(*prefix + (v6 ? 0 : kMappedBits));
  Network masked = network;
  for (size_t i = network.prefix_bits; i < 128; ++i) {
    masked.bytes[i / 8] &= static_cast<uint8_t>(~(0x80 >> i % 8));
  }
  if (!(masked == network)) {
    return invalid(quote(text) + " has bits behind its prefix: write \"" + to_string(masked) + "\"");
  }
  return network;
}

std::string to_string(const Network& network) {
  const bool v4 = network.prefix_bits >= kMappedBits &&
                  std::memcmp(network.bytes, kMappedPrefix, sizeof kMappedPrefix) == 0;
  char out[INET6_ADDRSTRLEN];
  inet_ntop(v4 ? AF_INET : AF_INET6, network.bytes + (v4 ? sizeof kMappedPrefix : 0), out, sizeof out);
  return std::string(out) + "/" + std::to_string(network.prefix_bits - (v4 ? kMappedBits : 0));
}

bool Network::contains(const uint8_t (&address)[16]) const {
  const size_t whole = prefix_bits / 8;
  if (std::memcmp(bytes, address, whole) != 0) return false;
  for (size_t i = whole * 8; i < prefix_bits; ++i) {
    if (bit(bytes, i) != bit(address, i)) return false;
  }
  return true;
}

}  // namespace sluice::conf
