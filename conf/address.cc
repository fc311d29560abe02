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

Error bad_host(std::string_view text, const std::string& host, const std::string& port, AddressUse use) {
  const bool listens = use == AddressUse::listen;
  const std::string any = "\"0.0.0.0:" + port + "\" or \"[::]:" + port + "\" for any";
  if (listens && host == "*") return invalid(quote(text) + " is not an address: write " + any);
  if (host.empty()) {
    return invalid(quote(text) + " has no host: write " + (listens ? any : quote("127.0.0.1:" + port)));
  }
  if (host.find(':') != std::string::npos) {
    return invalid(quote(text) + " is not an address: write IPv6 in brackets, as in \"[::1]:80\"");
  }
  const bool has_letter = host.find_first_not_of("0123456789.") != std::string::npos;
  if (is_host_name(host) && has_letter && listens) {
    return invalid(quote(host) +
                   " is not an IP address, and a name cannot be listened on: write \"127.0.0.1:" + port +
                   "\", or \"0.0.0.0:" + port + "\" for any");
  }
  if (is_host_name(host) && has_letter) {
    return invalid(quote(host) + " is not an IP address: write \"dns:" + host + ":" + port +
                   "\" to have the name looked up");
  }
  return invalid(
      quote(text) + " is not an address: write \"10.0.0.5:8080\", \"[::1]:80\"" +
      (listens ? " or \"unix:/run/app.sock\"" : ", \"unix:/run/app.sock\" or \"dns:app.svc:8080\""));
}

// The host of a URL: a name, an IPv4 address, or an IPv6 address in brackets.
bool is_url_host(const std::string& host) {
  if (!host.starts_with('[')) return is_host_name(host);
  return host.ends_with(']') && canonical_ip(AF_INET6, host.substr(1, host.size() - 2)).has_value();
}

Status check_authority(std::string_view text, std::string_view authority) {
  if (authority.find('@') != std::string_view::npos) {
    return invalid(quote(text) +
                   " has a user before its host: leave out what stands before the \"@\"; it is not sent");
  }
  // The colons of an IPv6 address stand before its bracket.
  const size_t bracket = authority.starts_with('[') ? authority.find(']') : 0;
  const size_t colon = bracket == std::string_view::npos ? bracket : authority.find_last_of(':');
  const bool has_port = colon != std::string_view::npos && colon >= bracket;
  if (!is_url_host(std::string(has_port ? authority.substr(0, colon) : authority))) {
    return invalid(quote(text) +
                   " has no valid host: write a name, an IPv4 address, or an IPv6 address in brackets");
  }
  const std::optional<uint64_t> port = has_port ? parse_unsigned(authority.substr(colon + 1)) : 80;
  if (!port || *port == 0 || *port > 65535) {
    return invalid(
        quote(text) +
        " has no valid port: write a number from 1 to 65535 behind the host, or leave the colon out");
  }
  return Done{};
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

Status check_url(std::string_view text) {
  std::string_view rest = text;
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!text.starts_with(scheme)) continue;
    rest.remove_prefix(scheme.size());
    break;
  }
  const bool has_host = rest.size() < text.size() && !rest.empty() && rest[0] != '/' && rest[0] != ':';
  if (!has_host || rest.find(' ') != std::string_view::npos) {
    return invalid(quote(text) + " is not a URL: write \"http://HOST:PORT/PATH\"");
  }
  if (rest.find('#') != std::string_view::npos) {
    return invalid(quote(text) +
                   " has a fragment: leave out the \"#\" and what is behind it; it is not sent");
  }
  const auto is_unfit = [](unsigned char c) { return c <= ' ' || c >= 0x7f; };
  if (std::any_of(rest.begin(), rest.end(), is_unfit)) {
    return invalid(quote(text) +
                   " has a character that a URL cannot have: write it as \"%\" and two hexadecimal digits");
  }
  return check_authority(text, rest.substr(0, rest.find_first_of("/?")));
}

Result<Address> parse_address(std::string_view text, AddressUse use) {
  if (text.starts_with("unix:")) return parse_unix(text, text.substr(5));
  const bool dns = text.starts_with("dns:");
  if (dns && use == AddressUse::listen) return invalid("a name cannot be listened on: write an IP address");
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
  if (!ip || host.find('\0') != std::string::npos) return bad_host(text, host, port_text, use);
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
