#include "proxy/proxy_protocol.h"

#include <catch2/catch.hpp>
#include <string>

#include "balancer/journal.h"
#include "fixtures.h"
#include "proxy/proxy_protocol_stream.h"

using namespace sluice;
using namespace sluice::proxy;
using namespace sluice::proxy::test;

namespace {

using Verdict = ProxyHeader::Verdict;

std::string two_octets(size_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
}

std::string version2(char command, char family, const std::string& rest) {
  return std::string("\r\n\r\n\0\r\nQUIT\n", 12) + command + family + two_octets(rest.size()) + rest;
}

const std::string kAddresses4("\x0a\x01\x02\x03\x7f\0\0\x01\x30\x39\0\x50", 12);
const std::string kAddresses6 = std::string("\x20\x01\x0d\xb8", 4) + std::string(11, '\0') + "\x01" +
                                std::string(15, '\0') + "\x01" + std::string("\x30\x39\0\x50", 4);

std::string tlv(char type, const std::string& value) {
  return type + two_octets(value.size()) + value;
}

std::string with_checksum(std::string header) {
  const uint32_t crc = balancer::crc32c(header);
  for (int i = 0; i < 4; ++i) header[header.size() - 4 + i] = static_cast<char>(crc >> (24 - 8 * i));
  return header;
}

std::string source_of(const std::string& header) {
  const ProxyHeader read = read_proxy_header(header);
  REQUIRE(read.verdict == Verdict::complete);
  REQUIRE(read.size == header.size());
  return read.source ? read.source->text() : "none";
}

}  // namespace

TEST_CASE("proxy_protocol: both versions name the source") {
  CHECK(source_of("PROXY TCP4 10.1.2.3 127.0.0.1 12345 80\r\n") == "10.1.2.3");
  CHECK(source_of("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n") == "2001:db8::1");
  CHECK(source_of("PROXY TCP6 ::ffff:10.1.2.3 ::1 1 2\r\n") == "10.1.2.3");
  CHECK(source_of(version2('\x21', '\x11', kAddresses4)) == "10.1.2.3");
  CHECK(source_of(version2('\x21', '\x21', kAddresses6)) == "2001:db8::1");
}

TEST_CASE("proxy_protocol: the balancer's own connections and unknown ones have no source") {
  CHECK(source_of("PROXY UNKNOWN\r\n") == "none");
  CHECK(source_of("PROXY UNKNOWN ffff::1 whatever 1 2\r\n") == "none");
  CHECK(source_of(version2('\x20', '\0', "")) == "none");
  CHECK(source_of(version2('\x20', '\x11', kAddresses4)) == "none");
  CHECK(source_of(version2('\x21', '\0', "anything")) == "none");
  CHECK(source_of(version2('\x21', '\x31', std::string(216, '\0'))) == "none");
}

TEST_CASE("proxy_protocol: TLVs are skipped and a checksum among them is verified") {
  CHECK(source_of(version2('\x21', '\x11', kAddresses4 + tlv('\x04', "") + tlv('\x02', "shop.example"))) ==
        "10.1.2.3");
  const std::string good = with_checksum(
      version2('\x21', '\x11', kAddresses4 + tlv('\x05', "id") + tlv('\x03', std::string(4, '\0'))));
  CHECK(source_of(good) == "10.1.2.3");
  const size_t checksum_type = good.size() - 7;  // without it there is none to verify
  for (size_t at = 16; at < good.size(); ++at) {
    if (at == checksum_type) continue;
    CAPTURE(at);
    std::string damaged = good;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    CHECK(read_proxy_header(damaged).verdict == Verdict::bad);
  }
}

TEST_CASE("proxy_protocol: a header is complete at its last octet and nothing behind it belongs to it") {
  const std::string headers[] = {"PROXY TCP4 10.1.2.3 127.0.0.1 12345 80\r\n", "PROXY UNKNOWN\r\n",
                                 version2('\x21', '\x11', kAddresses4), version2('\x20', '\0', "")};
  for (const std::string& header : headers) {
    CAPTURE(header);
    for (size_t at = 0; at < header.size(); ++at) {
      CHECK(read_proxy_header(header.substr(0, at)).verdict == Verdict::more);
    }
    CHECK(read_proxy_header(header + "GET / HTTP/1.1\r\n").size == header.size());
  }
}

TEST_CASE("proxy_protocol: what the grammar does not allow is refused") {
  const std::string bad[] = {
      "GET / HTTP/1.1\r\n",
      "proxy TCP4 10.1.2.3 127.0.0.1 1 2\r\n",
      "PROXY  TCP4 10.1.2.3 127.0.0.1 1 2\r\n",
      "PROXY TCP5 10.1.2.3 127.0.0.1 1 2\r\n",
      "PROXY TCP4 10.1.2.3 127.0.0.1 1 2\n",
      "PROXY TCP4 10.1.2.3 127.0.0.1 1 2 \r\n",
      "PROXY TCP4 10.1.2.3 127.0.0.1 1\r\n",
      "PROXY TCP4 10.1.2.300 127.0.0.1 1 2\r\n",
      "PROXY TCP4 10.1.2.03 127.0.0.1 1 2\r\n",
      "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
      "PROXY TCP6 10.1.2.3 127.0.0.1 1 2\r\n",
      "PROXY TCP4 10.1.2.3 127.0.0.1 01 2\r\n",
      "PROXY TCP4 10.1.2.3 127.0.0.1 1 65536\r\n",
      "PROXY TCP4 10.1.2.3 127.0.0.1 +1 2\r\n",
      "PROXY UNKNOWNX\r\n",
      std::string("PROXY TCP4 10.1.2.3\0 127.0.0.1 1 2\r\n", 37),
      "PROXY UNKNOWN " + std::string(200, 'x'),
      version2('\x11', '\x11', kAddresses4),
      version2('\x22', '\x11', kAddresses4),
      version2('\x21', '\x12', kAddresses4),
      version2('\x21', '\x41', kAddresses4),
      version2('\x21', '\x11', kAddresses4.substr(1)),
      version2('\x21', '\x21', kAddresses4),
      version2('\x21', '\x11', kAddresses4 + "\x01"),
      version2('\x21', '\x11',
               kAddresses4 + std::string("\x01\0\x05"
                                         "abcd",
                                         7)),
      version2('\x21', '\x11', kAddresses4 + tlv('\x03', "abc")),
      version2('\x21', '\0', std::string(ProxyHeader::kMostOctets, 'x')),
  };
  for (const std::string& header : bad) {
    CAPTURE(header);
    CHECK(read_proxy_header(header).verdict == Verdict::bad);
  }
}

namespace {

// A path whose clients connect through a balancer that says who they are.
struct Balanced {
  explicit Balanced(std::vector<conf::Network> trusted = {}) : path(one_service()) {
    path.traits->trusted = std::move(trusted);
    auto stream = std::make_unique<ProxyProtocolStream>(path.network.make(client));
    ProxyProtocolStream* const greeting = stream.get();
    DownstreamConnection& connection = DownstreamConnection::start(
        path.context, path.connections, path.traits, std::move(stream), "192.0.2.1", true);
    greeting->on_source([&connection](const ClientAddress& source) { connection.set_client(source); });
  }
  std::string forwarded() {
    path.run();
    return path.dials() == 0 ? "nothing" : path.origin(0).received();
  }

  DataPath path;
  std::shared_ptr<Peer> client;
};

const std::string kHeader = "PROXY TCP4 10.1.2.3 127.0.0.1 12345 80\r\n";

}  // namespace

TEST_CASE(
    "proxy_protocol: a request behind the header comes from the client that it names, however it is cut") {
  for (const size_t read_size : {Peer::kAll, size_t{1}, size_t{7}, kHeader.size()}) {
    CAPTURE(read_size);
    Balanced balanced;
    balanced.client->read_size = read_size;
    balanced.client->send(kHeader + "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
    CHECK(contains(balanced.forwarded(), "X-Forwarded-For: 10.1.2.3\r\n"));
  }
}

TEST_CASE("proxy_protocol: a client's forwarding fields are believed when it is trusted itself") {
  conf::Network network;
  for (size_t i = 10; i < 12; ++i) network.bytes[i] = 0xff;
  network.bytes[12] = 10;
  network.prefix_bits = 96 + 8;
  Balanced balanced({network});
  balanced.client->send(kHeader + "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
  CHECK(contains(balanced.forwarded(), "X-Forwarded-For: 6.6.6.6, 10.1.2.3\r\n"));
}

TEST_CASE("proxy_protocol: a last answer is held for the end") {
  Balanced balanced;
  balanced.client->send(kHeader + "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  balanced.path.run();
  balanced.path.origin(0).send(kOk);
  balanced.path.run();
  CHECK(balanced.client->held_for_end());
  CHECK(status_of(balanced.client->received()) == 200);
}

TEST_CASE("proxy_protocol: a wrong header ends the connection without a word") {
  Balanced balanced;
  balanced.client->send(kGet);
  CHECK(balanced.forwarded() == "nothing");
  CHECK(balanced.client->was_closed());
  CHECK(balanced.client->received().empty());
}

TEST_CASE("proxy_protocol: a header that does not come in time ends the connection") {
  Balanced balanced;
  balanced.client->send(kHeader.substr(0, 20));
  balanced.path.run();
  balanced.path.pass_ms(9'000);
  CHECK_FALSE(balanced.client->was_closed());
  balanced.path.pass_ms(2'000);
  CHECK(balanced.client->was_closed());
}
