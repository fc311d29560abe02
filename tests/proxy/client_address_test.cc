#include "proxy/client_address.h"

#include <arpa/inet.h>

#include <catch2/catch.hpp>

namespace sluice::proxy {
namespace {

ClientAddress of_text(const char* text) {
  sockaddr_storage peer{};
  auto& v4 = reinterpret_cast<sockaddr_in&>(peer);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(peer);
  if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
    peer.ss_family = AF_INET;
  } else {
    REQUIRE(inet_pton(AF_INET6, text, &v6.sin6_addr) == 1);
    peer.ss_family = AF_INET6;
  }
  return ClientAddress::of(peer);
}

TEST_CASE("client address: shown as inet_ntop shows it") {
  for (const char* const text : {"0.0.0.0", "9.10.99.100", "127.0.0.1", "255.255.255.255", "::", "::1",
                                 "2001:db8::a:0:0:1", "fe80::ffff:1:2", "1:2:3:4:5:6:7:8"}) {
    CHECK(of_text(text).text() == text);
  }
}

TEST_CASE("client address: an IPv4-mapped one is the IPv4 one") {
  CHECK(of_text("::ffff:192.0.2.7") == of_text("192.0.2.7"));
  CHECK(of_text("::ffff:192.0.2.7").text() == "192.0.2.7");
}

}  // namespace
}  // namespace sluice::proxy
