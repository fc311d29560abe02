#include "proxy/webhooks.h"

#include <catch2/catch.hpp>

namespace sluice::proxy {
namespace {

TEST_CASE("webhooks: the signature is HMAC-SHA256, as the second test case of RFC 4231 has it") {
  CHECK(hmac_sha256_hex("Jefe", "what do ya want for nothing?") ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST_CASE("http_client: URLs that can be called") {
  const auto url = HttpUrl::parse("http://hooks.test:9800/a/b?c=d#e");
  REQUIRE(url.ok());
  CHECK((url->host == "hooks.test" && url->port == 9800));
  CHECK((url->authority == "hooks.test:9800" && url->target == "/a/b?c=d"));
  CHECK(HttpUrl::parse("http://hooks.test")->target == "/");
  CHECK(HttpUrl::parse("http://hooks.test?x")->target == "/?x");
  CHECK(HttpUrl::parse("http://hooks.test")->port == 80);
  CHECK(HttpUrl::parse("http://[::1]:81/")->host == "::1");
  CHECK(HttpUrl::parse("http://hooks.test/to@us")->target == "/to@us");
  CHECK(!HttpUrl::parse("http://user@hooks.test/").ok());
  CHECK(HttpUrl::parse("http://[::1]/")->port == 80);
  CHECK_FALSE(url->secure);
  const auto secure = HttpUrl::parse("https://hooks.test/a");
  REQUIRE(secure.ok());
  CHECK((secure->secure && secure->port == 443 && secure->host == "hooks.test" && secure->target == "/a"));
  CHECK(HttpUrl::parse("https://hooks.test:9800")->port == 9800);
}

TEST_CASE("http_client: URLs that cannot") {
  for (const char* const text : {"", "hooks.test", "httpsx://hooks.test/", "https://", "https://a:0/",
                                 "http://", "http:///x", "http://a:0/", "http://a:66000/", "http://a:b/",
                                 "http://u@a/", "http://a/b c", "http://a/\r\nX: y"}) {
    INFO(text);
    CHECK_FALSE(HttpUrl::parse(text).ok());
  }
}

}  // namespace
}  // namespace sluice::proxy
