#include "conf/address.h"

#include <catch2/catch.hpp>
#include <string>
#include <utility>
#include <vector>

using namespace sluice::conf;

namespace {

struct Mapped {
  uint8_t bytes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
};
Mapped v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  Mapped out;
  out.bytes[12] = a;
  out.bytes[13] = b;
  out.bytes[14] = c;
  out.bytes[15] = d;
  return out;
}

}  // namespace

TEST_CASE("each form of an address reads and writes the same text") {
  using Kind = Address::Kind;
  CHECK(*parse_address("10.0.0.5:8080") == Address{Kind::inet, "10.0.0.5", 8080});
  CHECK(*parse_address("[::1]:80") == Address{Kind::inet, "::1", 80});
  CHECK(*parse_address("unix:/run/app.sock") == Address{Kind::unix_socket, "/run/app.sock", 0});
  CHECK(*parse_address("dns:app-green.default.svc:8080") ==
        Address{Kind::dns, "app-green.default.svc", 8080});
  CHECK(*parse_address("0.0.0.0:0") == Address{Kind::inet, "0.0.0.0", 0});
  for (const char* text :
       {"10.0.0.5:8080", "[::1]:80", "[::]:65535", "unix:/run/app.sock", "unix:/a:1", "dns:app:1"}) {
    INFO(text);
    REQUIRE(parse_address(text));
    CHECK(parse_address(text)->to_string() == text);
  }
}

TEST_CASE("equal addresses have one text") {
  CHECK(parse_address("[0:0:0::0:1]:80")->to_string() == "[::1]:80");
  CHECK(parse_address("[2001:DB8::A]:80")->to_string() == "[2001:db8::a]:80");
  CHECK(parse_address("dns:App.SVC:80")->to_string() == "dns:app.svc:80");
  CHECK(parse_address("127.0.0.1:0080")->to_string() == "127.0.0.1:80");
}

TEST_CASE("what is no address says what to write") {
  const std::string long_path = "unix:/" + std::string(kMaxSocketPath, 'x');
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "\"\" has no port: write \"HOST:PORT\""},
      {"127.0.0.1", "\"127.0.0.1\" has no port: write \"HOST:PORT\""},
      {"[::1]", "\"[::1]\" has no port: write \"HOST:PORT\""},
      {"127.0.0.1:", "\"127.0.0.1:\" has no valid port: write a number up to 65535 after the last colon"},
      {"127.0.0.1:65536",
       "\"127.0.0.1:65536\" has no valid port: write a number up to 65535 after the last colon"},
      {"127.0.0.1:http",
       "\"127.0.0.1:http\" has no valid port: write a number up to 65535 after the last colon"},
      {":8080", "\":8080\" has no host: write \"127.0.0.1:8080\""},
      {"::1:80", "\"::1:80\" is not an address: write IPv6 in brackets, as in \"[::1]:80\""},
      {"localhost:80",
       "\"localhost\" is not an IP address: write \"dns:localhost:80\" to have the name looked up"},
      {"256.0.0.1:80",
       "\"256.0.0.1:80\" is not an address: write \"10.0.0.5:8080\", \"[::1]:80\", "
       "\"unix:/run/app.sock\" or \"dns:app.svc:8080\""},
      {"a b:80",
       "\"a b:80\" is not an address: write \"10.0.0.5:8080\", \"[::1]:80\", \"unix:/run/app.sock\" or "
       "\"dns:app.svc:8080\""},
      {"dns:a..b:80", "\"dns:a..b:80\" has no valid host name: write \"dns:app.svc:8080\""},
      {"dns::80", "\"dns::80\" has no valid host name: write \"dns:app.svc:8080\""},
      {"unix:run/app.sock", "\"unix:run/app.sock\" has no absolute path: write \"unix:/run/app.sock\""},
      {long_path, "\"" + long_path + "\" is no path for a socket: at most 107 bytes, none of them zero"},
  };
  for (const auto& [text, detail] : cases) {
    INFO(text);
    const auto result = parse_address(text);
    REQUIRE(!result);
    CHECK(result.error().detail == detail);
  }
}

TEST_CASE("what cannot be listened on is never answered with a name to write") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"localhost:80",
       "\"localhost\" is not an IP address, and a name cannot be listened on: write \"127.0.0.1:80\", or "
       "\"0.0.0.0:80\" for any"},
      {"*:80", "\"*:80\" is not an address: write \"0.0.0.0:80\" or \"[::]:80\" for any"},
      {":8080", "\":8080\" has no host: write \"0.0.0.0:8080\" or \"[::]:8080\" for any"},
      {"a b:80",
       "\"a b:80\" is not an address: write \"10.0.0.5:8080\", \"[::1]:80\" or \"unix:/run/app.sock\""},
      {"dns:a:80", "a name cannot be listened on: write an IP address"},
      {"dns:a..b", "a name cannot be listened on: write an IP address"},
  };
  for (const auto& [text, detail] : cases) {
    INFO(text);
    const auto result = parse_address(text, AddressUse::listen);
    REQUIRE(!result);
    CHECK(result.error().detail == detail);
  }
  CHECK(parse_address("*:80").error().detail.find("dns:app.svc:8080") != std::string::npos);
  CHECK(*parse_address("[::]:80", AddressUse::listen) == Address{Address::Kind::inet, "::", 80});
  CHECK(parse_address("unix:/a", AddressUse::listen));
}

TEST_CASE("a URL is called over HTTP, at a host and a port that can be") {
  for (const char* url :
       {"http://h", "https://h", "http://h/", "http://h:1/x", "https://hooks.example.com:65535/a/b?c=d",
        "http://10.0.0.1:80/x", "http://[::1]/x", "http://[::1]:8080", "http://h?x=1", "http://a_b/"}) {
    INFO(url);
    CHECK(check_url(url));
  }
  const std::string no_url = " is not a URL: write \"http://HOST:PORT/PATH\"";
  const std::string port =
      " has no valid port: write a number from 1 to 65535 behind the host, or leave the colon out";
  const std::string user =
      " has a user before its host: leave out what stands before the \"@\"; it is not sent";
  const std::string fragment = " has a fragment: leave out the \"#\" and what is behind it; it is not sent";
  const std::string host =
      " has no valid host: write a name, an IPv4 address, or an IPv6 address in brackets";
  const std::string letter =
      " has a character that a URL cannot have: write it as \"%\" and two hexadecimal digits";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"ftp://h", no_url},          {"h", no_url},
      {"http://", no_url},          {"https:///x", no_url},
      {"http://:80/", no_url},      {"http://h/ x", no_url},
      {"http://h:99999/", port},    {"http://h:65536", port},
      {"http://h:0/", port},        {"http://h:/x", port},
      {"http://h:http/", port},     {"http://[::1]:0/", port},
      {"http://user:pw@h/x", user}, {"http://user@h", user},
      {"http://h/#f", fragment},    {"http://h#f", fragment},
      {"http://h?x#f", fragment},   {"http://a:b:80/x", host},
      {"http://[::1/x", host},      {"http://[x]/", host},
      {"http://a..b/", host},       {"http://h/ü", letter},
  };
  for (const auto& [url, detail] : cases) {
    INFO(url);
    const auto result = check_url(url);
    REQUIRE(!result);
    CHECK(result.error().detail == "\"" + url + "\"" + detail);
  }
}

TEST_CASE("an address with a zero byte in it is refused") {
  CHECK(!parse_address(std::string("127.0.0.1\0:80", 13)));
  CHECK(!parse_address(std::string("unix:/a\0b", 9)));
  CHECK(!parse_network(std::string("10.0.0.1\0", 9)));
}

TEST_CASE("host names have labels of 1 to 63 letters and 253 bytes at most") {
  CHECK(is_host_name("a"));
  CHECK(is_host_name("shop.example.com."));
  CHECK(is_host_name("my_app.svc"));
  CHECK(is_host_name(std::string(63, 'a')));
  CHECK(!is_host_name(std::string(64, 'a')));
  CHECK(!is_host_name(""));
  CHECK(!is_host_name("."));
  CHECK(!is_host_name(".a"));
  CHECK(!is_host_name("a..b"));
  CHECK(!is_host_name("a b"));
  std::string longest;
  for (int i = 0; i < 127; ++i) longest += i == 0 ? "a" : ".a";
  CHECK(is_host_name(longest));
  CHECK(!is_host_name(longest + "aa"));
}

TEST_CASE("a network contains the addresses that share its prefix") {
  const Network ten = *parse_network("10.0.0.0/8");
  CHECK(ten.contains(v4(10, 255, 1, 2).bytes));
  CHECK(!ten.contains(v4(11, 0, 0, 0).bytes));
  const Network odd = *parse_network("192.168.4.0/22");
  CHECK(odd.contains(v4(192, 168, 7, 255).bytes));
  CHECK(!odd.contains(v4(192, 168, 8, 0).bytes));
  const Network one = *parse_network("127.0.0.1");
  CHECK(one.prefix_bits == 128);
  CHECK(one.contains(v4(127, 0, 0, 1).bytes));
  CHECK(!one.contains(v4(127, 0, 0, 2).bytes));
  const Network any4 = *parse_network("0.0.0.0/0");
  CHECK(any4.contains(v4(1, 2, 3, 4).bytes));
  const uint8_t loopback6[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  CHECK(!any4.contains(loopback6));
  CHECK(parse_network("::1")->contains(loopback6));
  CHECK(parse_network("::/0")->contains(loopback6));
  CHECK(parse_network("::/0")->contains(v4(1, 2, 3, 4).bytes));
}

TEST_CASE("a network reads and writes the same text") {
  for (const char* text : {"10.0.0.0/8", "127.0.0.1/32", "0.0.0.0/0", "fd00::/8", "::1/128", "::/0"}) {
    INFO(text);
    REQUIRE(parse_network(text));
    CHECK(to_string(*parse_network(text)) == text);
  }
}

TEST_CASE("what is no network says what to write") {
  for (const char* text :
       {"", "10.0.0.0/33", "10.0.0/8", "::1/129", "10.0.0.0/", "10.0.0.0/8/8", "example.com", "/8"}) {
    INFO(text);
    REQUIRE(!parse_network(text));
    CHECK(parse_network(text).error().detail ==
          "\"" + std::string(text) +
              "\" is not a network: write \"10.0.0.0/8\", \"fd00::/8\" or one address");
  }
  REQUIRE(!parse_network("10.1.2.3/8"));
  CHECK(parse_network("10.1.2.3/8").error().detail ==
        "\"10.1.2.3/8\" has bits behind its prefix: write \"10.0.0.0/8\"");
}
