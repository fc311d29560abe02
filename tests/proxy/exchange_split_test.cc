// Which upstream a request goes to.
#include <set>

#include "fixtures.h"

using namespace sluice;
using namespace sluice::proxy;
using namespace sluice::proxy::test;
using balancer::EndpointMode;
using balancer::Outcome;
using balancer::Refusal;
using conf::Colour;

namespace {

std::string with(const std::string& field) {
  return "GET / HTTP/1.1\r\nHost: a\r\n" + field + "\r\n\r\n";
}

// Sends a request and says which upstream had it.
std::string upstream_of(DataPath& path, const std::string& request, const std::string& ip = "192.0.2.7") {
  auto client = path.connect(ip);
  const size_t before = path.reporter.finished.size();
  CHECK(status_of(path.ask(*client, request, kOk)) == 200);
  REQUIRE(path.reporter.finished.size() == before + 1);
  client->end();
  path.run();
  return path.reporter.finished.back().upstream;
}

}  // namespace

TEST_CASE("exchange_split: 0 is all blue, 100 all green, and a change is in force at once") {
  DataPath path(one_service());
  for (int i = 0; i < 50; ++i) REQUIRE(upstream_of(path, kGet) == "blue");
  path.set_split(conf::kFullSplit);
  for (int i = 0; i < 50; ++i) REQUIRE(upstream_of(path, kGet) == "green");
  path.set_split(0);
  for (int i = 0; i < 50; ++i) REQUIRE(upstream_of(path, kGet) == "blue");
}

TEST_CASE("exchange_split: the share is met") {
  DataPath path(one_service(), 42);
  path.set_split(2500);
  auto client = path.connect();
  int greens = 0;
  constexpr int kRequests = 4000;
  for (int i = 0; i < kRequests; ++i) {
    path.ask(*client, kGet, kOk);
    greens += path.reporter.finished.back().upstream == "green" ? 1 : 0;
  }
  // Four standard deviations of a binomial: 4 * sqrt(4000 * 0.25 * 0.75) = 110.
  CHECK(greens >= 1000 - 110);
  CHECK(greens <= 1000 + 110);
}

TEST_CASE("exchange_split: sticky clients only ever move from blue to green while the split rises") {
  for (const conf::Sticky::Kind kind :
       {conf::Sticky::Kind::client_ip, conf::Sticky::Kind::header, conf::Sticky::Kind::cookie}) {
    conf::Config config = one_service();
    web(config).sticky = {kind, kind == conf::Sticky::Kind::header ? "x-user" : "sid"};
    DataPath path(config);
    std::set<int> greens;
    for (const conf::BasisPoints split : {0U, 500U, 2500U, 5000U, 10000U}) {
      path.set_split(split);
      std::set<int> now;
      for (int user = 0; user < 60; ++user) {
        const std::string id = std::to_string(user);
        std::string request = kGet;
        if (kind == conf::Sticky::Kind::header) request = with("X-User: " + id);
        if (kind == conf::Sticky::Kind::cookie) request = with("Cookie: a=b; sid=" + id + "; c=d");
        const std::string ip = kind == conf::Sticky::Kind::client_ip ? "10.1.1." + id : "192.0.2.7";
        if (upstream_of(path, request, ip) == "green") now.insert(user);
      }
      CAPTURE(split);
      CHECK(std::includes(now.begin(), now.end(), greens.begin(), greens.end()));
      greens = now;
      if (split == 5000) CHECK((greens.size() > 15 && greens.size() < 45));
    }
    CHECK(greens.size() == 60);
  }
}

TEST_CASE("exchange_split: the override header wins over the split, other values do not") {
  conf::Config config = one_service();
  web(config).override_header = "x-sluice-upstream";
  DataPath path(config);
  CHECK(upstream_of(path, with("X-Sluice-Upstream: green")) == "green");
  CHECK(upstream_of(path, with("X-Sluice-Upstream: red")) == "blue");
  path.set_split(conf::kFullSplit);
  CHECK(upstream_of(path, with("X-Sluice-Upstream: blue")) == "blue");
  CHECK(upstream_of(path, with("X-Sluice-Upstream: ")) == "green");
}

TEST_CASE("exchange_split: without the option the header means nothing") {
  DataPath path(one_service());
  CHECK(upstream_of(path, with("X-Sluice-Upstream: green")) == "blue");
}

TEST_CASE("exchange_split: a tripped service sends nothing to green, whatever asks for it") {
  conf::Config config = one_service();
  web(config).override_header = "x-sluice-upstream";
  DataPath path(config);
  path.set_split(conf::kFullSplit);
  path.trip();
  for (int i = 0; i < 20; ++i) REQUIRE(upstream_of(path, kGet) == "blue");
  CHECK(upstream_of(path, with("X-Sluice-Upstream: green")) == "blue");
  path.service().state->set_tripped(false);
  CHECK(upstream_of(path, kGet) == "green");
}

TEST_CASE("exchange_split: a trip moves requests that wait for green to blue") {
  conf::Config config = one_service();
  web(config).split = conf::kFullSplit;
  green(config).max_connections = 1;
  DataPath path(config);
  auto first = path.connect();
  auto second = path.connect();
  first->send(kGet);
  second->send(kGet);
  path.run();
  REQUIRE(path.dials() == 1);
  path.trip();
  path.run();
  REQUIRE(path.dials() == 2);
  CHECK(path.origin(1).name() == "10.0.0.1:80");
  path.origin(0).send(answer(200, "green"));  // what is under way may end
  path.origin(1).send(answer(200, "blue"));
  path.run();
  CHECK(body_of(first->received()) == "green");
  CHECK(body_of(second->received()) == "blue");
}

TEST_CASE("exchange_split: after a trip an attempt that failed on green is retried on blue") {
  conf::Config config = one_service();
  web(config).split = conf::kFullSplit;
  DataPath path(config);
  auto client = path.connect();
  client->send(kGet);
  path.run();
  CHECK(path.origin(0).name() == "10.0.0.2:80");
  path.trip();
  path.origin(0).fail(-104);
  path.run();
  REQUIRE(path.dials() == 2);
  CHECK(path.origin(1).name() == "10.0.0.1:80");
}

TEST_CASE("exchange_split: after a trip a stale green connection is not dialled anew") {
  conf::Config config = one_service();
  web(config).split = conf::kFullSplit;
  DataPath path(config);
  auto client = path.connect();
  CHECK(path.ask(*client, kGet, kOk) == kOk);
  client->send(kGet);
  path.run();
  path.trip();
  path.origin(0).end();
  path.run();
  REQUIRE(path.dials() == 2);
  CHECK(path.origin(1).name() == "10.0.0.1:80");
}

TEST_CASE(
    "exchange_split: a place that becomes free between the latch and the news of it is not used for green") {
  conf::Config config = one_service();
  web(config).split = conf::kFullSplit;
  green(config).max_connections = 1;
  DataPath path(config);
  auto first = path.connect();
  auto second = path.connect();
  first->send(kGet);
  second->send(kGet);
  path.run();
  path.service().state->set_tripped(true);  // the worker has not heard yet
  path.origin(0).send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  path.origin(0).end();
  path.run();
  REQUIRE(path.dials() == 2);
  CHECK(path.origin(1).name() == "10.0.0.1:80");
}

TEST_CASE("exchange_split: green without a usable endpoint is blue's") {
  DataPath path(one_service());
  path.set_split(conf::kFullSplit);
  CHECK(upstream_of(path, kGet) == "green");
  path.set_mode(Colour::green, 0, EndpointMode::drain);
  CHECK(upstream_of(path, kGet) == "blue");
  path.set_mode(Colour::green, 0, EndpointMode::ready);
  CHECK(upstream_of(path, kGet) == "green");
  path.set_mode(Colour::green, 0, EndpointMode::maint);
  CHECK(upstream_of(path, kGet) == "blue");
}

TEST_CASE("exchange_split: requests that wait for green move to blue when its last endpoint goes") {
  conf::Config config = one_service();
  web(config).split = conf::kFullSplit;
  green(config).max_connections = 1;
  DataPath path(config);
  auto first = path.connect();
  auto second = path.connect();
  first->send(kGet);
  second->send(kGet);
  path.run();
  path.set_mode(Colour::green, 0, EndpointMode::maint);
  path.run();
  REQUIRE(path.dials() == 2);
  CHECK(path.origin(1).name() == "10.0.0.1:80");
}

TEST_CASE("exchange_split: without any endpoint a request is refused, and that is no error of an upstream") {
  DataPath path(one_service());
  path.set_mode(Colour::blue, 0, EndpointMode::maint);
  auto client = path.connect();
  client->send(kGet);
  path.run();
  CHECK(status_of(client->received()) == 503);
  CHECK(contains(client->received(), "Proxy-Status: sluice; error=destination_unavailable"));
  CHECK(contains(client->received(), "Retry-After: "));
  CHECK(path.refusals(Colour::blue, Refusal::no_endpoint) == 1);
  CHECK(path.reporter.failures.empty());
  CHECK(client->open());
}

TEST_CASE("exchange_split: maintenance answers 503 until it is over") {
  DataPath path(one_service());
  path.service().state->set_maintenance(true);
  auto client = path.connect();
  client->send(kGet + "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  path.run();
  CHECK(status_of(client->received()) == 503);
  CHECK(contains(client->received(), "Retry-After: "));
  CHECK(client->received().ends_with("\r\n\r\n"));  // that of HEAD has no body
  CHECK(path.refusals(Colour::blue, Refusal::maintenance) == 2);
  client->take_received();
  path.service().state->set_maintenance(false);
  CHECK(path.ask(*client, kGet, kOk) == kOk);
}

TEST_CASE("exchange_split: routes choose the service, and none is a 404") {
  conf::Config config = one_service();
  conf::Service api = web(config);
  api.name = "api";
  api.upstreams[0].endpoints = {{address("10.1.0.1"), 1}};
  config.services.emplace("api", api);
  config.routes = {{"shop.org", "/", "web", {}}, {"*.shop.org", "/api", "api", {}}};
  DataPath path(config);
  const std::pair<std::string, std::string> routed[] = {
      {"GET / HTTP/1.1\r\nHost: SHOP.org:8080\r\n\r\n", "10.0.0.1:80"},
      {"GET /api?x HTTP/1.1\r\nHost: a.shop.org\r\n\r\n", "10.1.0.1:80"},
      {"GET http://b.shop.org/api/x HTTP/1.1\r\nHost: other\r\n\r\n", "10.1.0.1:80"},
  };
  for (const auto& [request, endpoint] : routed) {
    auto client = path.connect();
    path.ask(*client, request, kOk);
    CHECK(path.reporter.finished.back().endpoint == endpoint);
  }
  for (const std::string request : {"GET /apix HTTP/1.1\r\nHost: a.shop.org\r\n\r\n",
                                    "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"}) {
    auto client = path.connect();
    client->send(request);
    path.run();
    CHECK(status_of(client->received()) == 404);
    CHECK(contains(client->received(), "error=destination_not_found"));
  }
  CHECK(path.context.unrouted[404].get() == 3);
}

TEST_CASE("exchange_split: an exchange ends under the plan that it began with") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send(kGet);
  path.run();
  conf::Config next = one_service();
  blue(next).endpoints = {{address("10.0.0.7"), 1}};
  path.adopt(next);
  path.origin(0).send(kOk);
  path.run();
  CHECK(client->take_received() == kOk);
  CHECK(path.origin(0).saw_end());  // its endpoint is not in the plan any more
  CHECK(path.ask(*client, kGet, kOk) == kOk);
  CHECK(path.origin(1).name() == "10.0.0.7:80");
}
