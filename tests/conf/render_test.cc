#include "conf/render.h"

#include <catch2/catch.hpp>
#include <string>

#include "conf/diff.h"
#include "tests/conf/fixtures.h"

using namespace sluice::conf;

TEST_CASE("the rendered configuration parses to the same one, but for secrets") {
  for (const char* text : {kSmallConfig, kFullConfig}) {
    Config config = parse_valid(text);
    const std::string rendered = render(config);
    INFO(rendered);
    const Config again = parse_valid(rendered);
    for (auto& [name, service] : config.services) {
      std::string& secret = service.rollout.webhook_secret;
      if (!secret.empty()) secret = kMaskedSecret;
    }
    CHECK(diff(config, again).empty());
    CHECK(render(again) == rendered);
  }
}

TEST_CASE("the order of listeners, routes and key pairs survives rendering") {
  const Config again = parse_valid(render(parse_valid(kFullConfig)));
  REQUIRE(again.listeners.size() == 2);
  CHECK(again.listeners[1].bind.kind == Address::Kind::unix_socket);
  REQUIRE(again.listeners[0].tls);
  CHECK(again.listeners[0].tls->pairs.at(1).cert == "/etc/b.pem");
  REQUIRE(again.routes.size() == 2);
  CHECK(again.routes[0].host == "*.example.com");
}

TEST_CASE("secrets are masked") {
  const std::string rendered = render(parse_valid(kFullConfig));
  CHECK(rendered.find("hush") == std::string::npos);
  CHECK(rendered.find("webhook_secret = \"********\"") != std::string::npos);
}

TEST_CASE("defaults are rendered, and what is absent is not") {
  const std::string rendered = render(parse_valid(kSmallConfig));
  CHECK(rendered.find("drain_timeout = \"30s\"\n") != std::string::npos);
  CHECK(rendered.find("[service.web.trip]\nenabled = true\n") != std::string::npos);
  CHECK(rendered.find("state_dir") == std::string::npos);
  CHECK(rendered.find("green") == std::string::npos);
  CHECK(rendered.find("rollout") == std::string::npos);
}

TEST_CASE("a key that wants another is rendered only beside it, unless it was changed") {
  const auto rendered = [](const std::string& keys) {
    const std::string tls = "[listener.tls]\ncert = \"/a\"\nkey = \"/b\"\n" + keys;
    std::string text = kSmallConfig;
    text.insert(text.find("[service"), tls);
    const Config config = parse_valid(text);
    CHECK(diff(config, parse_valid(render(config))).empty());
    return render(config);
  };
  CHECK(rendered("").find("client_required") == std::string::npos);
  CHECK(rendered("client_required = false\n").find("client_required = false") != std::string::npos);
  CHECK(rendered("client_ca = \"/c\"\n").find("client_required = true") != std::string::npos);
}

TEST_CASE("texts with quotes and backslashes survive rendering") {
  const std::string text = std::string(kSmallConfig) + "[service.web.health]\nbody = 'say \"hi\" \\ größe'\n";
  const Config config = parse_valid(text);
  CHECK(config.services.at("web").health.body == "say \"hi\" \\ größe");
  CHECK(diff(config, parse_valid(render(config))).empty());
}
