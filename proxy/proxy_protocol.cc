#include "proxy/proxy_protocol.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "balancer/journal.h"

namespace sluice::proxy {
namespace {

using Verdict = ProxyHeader::Verdict;

constexpr std::string_view kSignature2("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::string_view kWord1 = "PROXY ";
constexpr size_t kMostOctets1 = 107;
constexpr size_t kFixedOctets2 = 16;
constexpr uint8_t kCrcTlv = 0x03;

ProxyHeader bad() {
  ProxyHeader header;
  header.verdict = Verdict::bad;
  return header;
}

// The front of `text` up to `end`, which is taken as well; nothing without it.
std::optional<std::string_view> word(std::string_view& text, char end) {
  const size_t at = text.find(end);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view found = text.substr(0, at);
  text.remove_prefix(at + 1);
  return found;
}

bool is_port(std::string_view text) {
  if (text.empty() || text.size() > 5 || (text.size() > 1 && text.front() == '0')) return false;
  uint32_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + static_cast<uint32_t>(c - '0');
  }
  return value <= UINT16_MAX;
}

std::optional<ClientAddress> address_of(std::string_view text, int family) {
  uint8_t octets[16];
  if (inet_pton(family, std::string(text).c_str(), octets) != 1) return std::nullopt;
  if (family == AF_INET) return ClientAddress::of_ipv4(octets);
  ClientAddress address;
  std::copy(std::begin(octets), std::end(octets), address.octets.begin());
  return address;
}

ProxyHeader read_version1(std::string_view octets) {
  const std::string_view front = octets.substr(0, kMostOctets1);
  const size_t end = front.find('\n');
  if (end == std::string_view::npos) return front.size() == kMostOctets1 ? bad() : ProxyHeader{};
  if (front[end - 1] != '\r') return bad();
  ProxyHeader header{Verdict::complete, end + 1, std::nullopt};
  std::string_view line = front.substr(kWord1.size(), end - 1 - kWord1.size());
  if (line.find('\r') != std::string_view::npos || line.find('\0') != std::string_view::npos) return bad();
  if (line == "UNKNOWN" || line.starts_with("UNKNOWN ")) return header;
  const std::optional<std::string_view> protocol = word(line, ' ');
  if (!protocol || (*protocol != "TCP4" && *protocol != "TCP6")) return bad();
  const int family = *protocol == "TCP4" ? AF_INET : AF_INET6;
  const std::optional<std::string_view> source = word(line, ' ');
  const std::optional<std::string_view> destination = word(line, ' ');
  const std::optional<std::string_view> source_port = word(line, ' ');
  if (!source || !destination || !source_port) return bad();
  header.source = address_of(*source, family);
  if (!header.source || !address_of(*destination, family)) return bad();
  return is_port(*source_port) && is_port(line) ? header : bad();
}

size_t length_at(std::string_view octets, size_t at) {
  return static_cast<size_t>(static_cast<uint8_t>(octets[at])) << 8 | static_cast<uint8_t>(octets[at + 1]);
}

// The TLVs from `at` on fill the header exactly, and a checksum among them is
// that of the header with the checksum's own octets as zeros.
bool are_tlvs(std::string_view header, size_t at) {
  while (at < header.size()) {
    if (header.size() - at < 3) return false;
    const auto type = static_cast<uint8_t>(header[at]);
    const size_t length = length_at(header, at + 1);
    at += 3;
    if (header.size() - at < length) return false;
    if (type == kCrcTlv) {
      if (length != 4) return false;
      const uint32_t told = static_cast<uint32_t>(length_at(header, at) << 16 | length_at(header, at + 2));
      uint32_t crc = balancer::crc32c(header.substr(0, at));
      crc = balancer::crc32c(std::string_view("\0\0\0\0", 4), crc);
      if (balancer::crc32c(header.substr(at + 4), crc) != told) return false;
    }
    at += length;
  }
  return true;
}

ProxyHeader read_version2(std::string_view octets) {
  if (octets.size() > 12 && static_cast<uint8_t>(octets[12]) >> 4 != 2) return bad();
  if (octets.size() < kFixedOctets2) return {};
  const size_t size = kFixedOctets2 + length_at(octets, 14);
  if (size > ProxyHeader::kMostOctets) return bad();
  if (octets.size() < size) return {};
  const std::string_view whole = octets.substr(0, size);
  ProxyHeader header{Verdict::complete, size, std::nullopt};
  const auto command = static_cast<uint8_t>(octets[12]) & 0x0f;
  if (command == 0) return header;  // LOCAL: whatever else it says
  if (command != 1) return bad();
  const auto* const addresses = reinterpret_cast<const uint8_t*>(whole.data() + kFixedOctets2);
  size_t addresses_size = 0;
  switch (static_cast<uint8_t>(octets[13])) {
    case 0x00:  // unknown
      break;
    case 0x11:  // TCP over IPv4
      addresses_size = 12;
      break;
    case 0x21:  // TCP over IPv6
      addresses_size = 36;
      break;
    case 0x31:  // a unix stream
      addresses_size = 216;
      break;
    default:
      return bad();
  }
  if (size < kFixedOctets2 + addresses_size) return bad();
  if (addresses_size != 0 && !are_tlvs(whole, kFixedOctets2 + addresses_size)) return bad();
  if (addresses_size == 12) header.source = ClientAddress::of_ipv4(addresses);
  if (addresses_size == 36) {
    header.source.emplace();
    std::memcpy(header.source->octets.data(), addresses, 16);
  }
  return header;
}

}  // namespace

ProxyHeader read_proxy_header(std::string_view octets) {
  const std::string_view front2 = octets.substr(0, kSignature2.size());
  if (kSignature2.starts_with(front2)) return front2 == kSignature2 ? read_version2(octets) : ProxyHeader{};
  const std::string_view front1 = octets.substr(0, kWord1.size());
  if (!kWord1.starts_with(front1)) return bad();
  return front1 == kWord1 ? read_version1(octets) : ProxyHeader{};
}

}  // namespace sluice::proxy
