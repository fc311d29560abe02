// Places, queues and idle connections, through requests.
#include "proxy/upstream_pool.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "fixtures.h"

using namespace sluice;
using namespace sluice::proxy;
using namespace sluice::proxy::test;
using balancer::Refusal;
using conf::Colour;

namespace {

conf::Config capped(uint32_t max, uint32_t queue = 100) {
  conf::Config config = one_service();
  blue(config).max_connections = max;
  blue(config).max_queue = queue;
  return config;
}

// Two services whose blues share a budget: "web" at 10.0.0.1, "api" at 10.1.0.1.
conf::Config shared_cap(uint32_t max) {
  conf::Config config = one_service();
  conf::Service api = web(config);
  api.name = "api";
  api.upstreams[0].endpoints = {{address("10.1.0.1"), 1}};
  config.services.emplace("api", api);
  config.routes = {{"", "/api", "api", {}}, {"", "/", "web", {}}};
  conf::Cap cap;
  cap.name = "database";
  cap.members = {{"web", Colour::blue}, {"api", Colour::blue}};
  cap.max_connections = max;
  config.caps.emplace("database", cap);
  return config;
}

std::vector<std::shared_ptr<Peer>> crowd(DataPath& path, size_t size, const std::string& target = "/") {
  std::vector<std::shared_ptr<Peer>> clients;
  for (size_t i = 0; i < size; ++i) {
    clients.push_back(path.connect());
    clients.back()->send(get(target + std::to_string(i)));
    path.run();
    path.pass_ms(1);
  }
  return clients;
}

size_t open_origins(DataPath& path) {
  size_t open = 0;
  for (const auto& one : path.dialer.dialled) open += one->alive() ? 1 : 0;
  return open;
}

// The clients ask again and again, each answer takes 5 ms; how many requests each
// endpoint got.
std::map<std::string, size_t> serve(DataPath& path, const std::vector<std::shared_ptr<Peer>>& clients,
                                    uint64_t for_ms) {
  std::map<std::string, size_t> requests;
  for (uint64_t ms = 0; ms < for_ms; ms += 5) {
    for (const auto& client : clients) {
      if (client->take_received().empty() && ms > 0) continue;
      client->send(kGet);
    }
    path.run();
    path.pass_ms(5);
    for (const auto& origin : path.dialer.dialled) {
      if (!origin->alive()) continue;
      if (origin->saw_end()) {
        origin->end();
      } else if (!origin->take_received().empty()) {
        ++requests[origin->name()];
        origin->send(kOk);
      }
    }
    path.run();
  }
  return requests;
}

}  // namespace

TEST_CASE("upstream_pool: no more connections than max_connections, the rest waits in order") {
  DataPath path(capped(2));
  auto clients = crowd(path, 6);
  CHECK(path.dials() == 2);
  CHECK(path.cap(Colour::blue).used() == 2);
  CHECK(path.service().upstreams[0]->queued() == 4);
  CHECK(path.queued == 4);
  for (size_t i = 0; i < 6; ++i) {
    // The place is handed on with the connection, to whoever waited longest.
    Peer& origin = path.origin(i % 2);
    CHECK(contains(origin.take_received(), "GET /" + std::to_string(i) + " "));
    origin.send(answer(200, std::to_string(i)));
    path.run();
    CHECK(body_of(clients[i]->received()) == std::to_string(i));
  }
  CHECK(path.dials() == 2);
  CHECK(path.cap(Colour::blue).peak() == 2);
  CHECK(path.service().upstreams[0]->queued() == 0);
}

TEST_CASE("upstream_pool: a connection that ends gives its place to the longest waiter") {
  DataPath path(capped(1));
  auto clients = crowd(path, 3);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(contains(path.origin(i).received(), "GET /" + std::to_string(i) + " "));
    path.origin(i).send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    path.run();
    CHECK(path.dials() == i + 1);  // the place is held until the peer has let go
    path.origin(i).end();
    path.run();
  }
  for (const auto& client : clients) CHECK(status_of(client->received()) == 200);
  CHECK(path.cap(Colour::blue).peak() == 1);
}

TEST_CASE("upstream_pool: a full queue refuses at once") {
  DataPath path(capped(1, 2));
  auto clients = crowd(path, 4);
  CHECK(clients[2]->received().empty());
  CHECK(status_of(clients[3]->received()) == 503);
  CHECK(contains(clients[3]->received(), "error=connection_limit_reached"));
  CHECK(path.refusals(Colour::blue, Refusal::queue_full) == 1);
  CHECK(path.reporter.failures.empty());
}

TEST_CASE("upstream_pool: the process-wide queue has a limit too") {
  conf::Config config = capped(1);
  config.overload.max_queued = 1;
  DataPath path(config);
  auto clients = crowd(path, 3);
  CHECK(clients[1]->received().empty());
  CHECK(status_of(clients[2]->received()) == 503);
  CHECK(path.refusals(Colour::blue, Refusal::overload) == 1);
}

TEST_CASE("upstream_pool: a waiter whose patience ends is refused, and the next one is not held up") {
  conf::Config config = capped(1);
  blue(config).queue_timeout_ms = 100;
  DataPath path(config);
  auto clients = crowd(path, 2);
  path.pass_ms(60);
  auto late = path.connect();
  late->send(get("/late"));
  path.pass_ms(60);
  CHECK(status_of(clients[1]->received()) == 503);
  CHECK(contains(clients[1]->received(), "error=connection_limit_reached"));
  CHECK(path.refusals(Colour::blue, Refusal::queue_timeout) == 1);
  CHECK(late->received().empty());
  path.origin(0).send(kOk);
  path.run();
  path.origin(0).send(kOk);
  path.run();
  CHECK(late->received() == kOk);
}

TEST_CASE("upstream_pool: a client that leaves while it waits leaves the queue") {
  DataPath path(capped(1));
  auto clients = crowd(path, 3);
  clients[1]->fail(UV_ECONNRESET);
  path.run();
  CHECK(clients[1]->was_closed());
  CHECK(path.refusals(Colour::blue, Refusal::client_gone) == 1);
  CHECK(path.service().upstreams[0]->queued() == 1);
  path.origin(0).take_received();
  path.origin(0).send(kOk);
  path.run();
  CHECK(contains(path.origin(0).received(), "GET /2 "));
}

TEST_CASE(
    "upstream_pool: a connection that its peer has left is not given to a waiter that can't be repeated") {
  DataPath path(capped(1));
  auto clients = crowd(path, 1);
  auto client = path.connect();
  client->send("POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
  path.run();
  path.origin(0).send(kOk);
  path.origin(0).end();
  path.run();
  CHECK(contains(path.origin(1).received(), "POST /2 "));
  path.origin(1).send(kOk);
  path.run();
  CHECK(client->received() == kOk);
}

TEST_CASE("upstream_pool: what can't be repeated is not sent where a farewell may lie unread") {
  DataPath path(one_service());
  auto client = path.connect();
  path.ask(*client, kGet, kOk);
  path.origin(0).send(answer(408));
  path.origin(0).end();
  client->send("POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
  path.run();
  REQUIRE(path.dials() == 2);
  CHECK_FALSE(contains(path.origin(0).received(), "POST"));
  CHECK(contains(path.origin(1).received(), "POST /2 "));
  path.origin(1).send(kOk);
  path.run();
  CHECK(client->take_received() == kOk);
}

TEST_CASE("upstream_pool: a client that shuts its side while it waits has left, after that it is answered") {
  const std::string put = "PUT /2 HTTP/1.1\r\nHost: a\r\n";
  for (const std::string& request : {get("/2"), put + "Content-Length: 5\r\n\r\nhello",
                                     put + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"}) {
    DataPath path(capped(1));
    auto clients = crowd(path, 1);
    auto client = path.connect();
    client->send(request);
    path.run();
    CHECK(path.service().upstreams[0]->queued() == 1);
    SECTION("while it waits") {
      client->end();
      path.run();
      CHECK_FALSE(client->open());
      CHECK(path.service().upstreams[0]->queued() == 0);
    }
    SECTION("when its request is at the origin") {
      path.origin(0).take_received();
      path.origin(0).send(kOk);
      path.run();
      client->end();
      path.run();
      CHECK(contains(path.origin(0).received(), " /2 "));
      path.origin(0).send(kOk);
      path.run();
      CHECK(client->received() == kOk);
      CHECK(client->was_closed());
    }
  }
}

TEST_CASE("upstream_pool: a client that shuts its side within its body has left") {
  DataPath path(capped(1));
  auto clients = crowd(path, 1);
  auto client = path.connect();
  client->send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell");
  client->end();
  path.run();
  CHECK(client->was_closed());
  CHECK(path.refusals(Colour::blue, Refusal::client_gone) == 1);
  CHECK(path.service().upstreams[0]->queued() == 0);
}

TEST_CASE("upstream_pool: a waiting request's body waits with its client") {
  DataPath path(capped(1));
  auto first = crowd(path, 1);
  auto client = path.connect();
  client->send("PUT /big HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + pattern(1'000'000));
  path.run();
  CHECK_FALSE(client->reading());
  CHECK(client->unread() > 600'000);
  path.origin(0).take_received();
  path.origin(0).send(kOk);
  path.run();
  CHECK(body_of(path.origin(0).received()) == pattern(1'000'000));
}

TEST_CASE("upstream_pool: a newcomer does not pass those who wait") {
  DataPath path(capped(1));
  auto clients = crowd(path, 2);
  path.origin(0).take_received();
  // In one callback the answer ends and another request arrives.
  auto newcomer = path.connect();
  newcomer->send(get("/new"));
  path.origin(0).send(kOk);
  path.run();
  CHECK(contains(path.origin(0).received(), "GET /1 "));
}

TEST_CASE("upstream_pool: lowering the cap drains by attrition, raising it wakes who waits") {
  DataPath path(capped(3));
  auto clients = crowd(path, 5);
  CHECK(path.dials() == 3);
  path.cap(Colour::blue).set_max(1);
  CHECK(path.cap(Colour::blue).used() == 3);
  for (size_t i = 0; i < 3; ++i) {
    path.origin(i).take_received();
    path.origin(i).send(kOk);
    path.run();
    if (path.origin(i).saw_end()) path.origin(i).end();
    path.run();
    CHECK(path.cap(Colour::blue).used() <= 3 - std::min<size_t>(i + 1, 2));
  }
  CHECK(path.cap(Colour::blue).used() == 1);
  path.cap(Colour::blue).set_max(10);
  path.run();
  size_t asked = 0;
  for (const auto& one : path.dialer.dialled) asked += contains(one->received(), "GET /3 ") ? 1 : 0;
  for (const auto& one : path.dialer.dialled) asked += contains(one->received(), "GET /4 ") ? 1 : 0;
  CHECK(asked == 2);
}

TEST_CASE("upstream_pool: an idle connection is given up for another upstream under the same budget") {
  DataPath path(shared_cap(1));
  auto client = path.connect();
  CHECK(path.ask(*client, get("/"), kOk) == kOk);
  client->send(get("/api"));
  path.run();
  CHECK(path.dials() == 1);
  CHECK(path.origin(0).saw_end());
  path.origin(0).end();
  path.run();
  REQUIRE(path.dials() == 2);
  CHECK(path.origin(1).name() == "10.1.0.1:80");
  path.origin(1).send(kOk);
  path.run();
  CHECK(client->take_received() == kOk);
  CHECK(path.registry.caps().at("database")->peak() == 1);
}

TEST_CASE("upstream_pool: a busy connection goes to the other upstream's waiter when it is through") {
  DataPath path(shared_cap(1));
  auto first = path.connect();
  auto second = path.connect();
  first->send(get("/"));
  path.run();
  second->send(get("/api"));
  path.run();
  path.origin(0).send(kOk);
  path.run();
  CHECK(path.origin(0).saw_end());
  path.origin(0).end();
  path.run();
  REQUIRE(path.dials() == 2);
  CHECK(contains(path.origin(1).received(), "GET /api "));
}

TEST_CASE(
    "upstream_pool: a waiter that comes to stand at another cap has idle connections given up there too") {
  conf::Config config = shared_cap(2);
  blue(config).max_connections = 1;
  blue(config).queue_timeout_ms = 5000;
  DataPath path(config);
  auto api = path.connect();
  CHECK(path.ask(*api, get("/api"), kOk) == kOk);  // leaves an idle connection under the budget
  auto first = path.connect();
  auto second = path.connect();
  first->send(get("/1"));
  path.run();
  second->send(get("/2"));  // waits for a place of web's own
  path.run();
  REQUIRE(path.dials() == 2);
  CHECK_FALSE(path.origin(0).saw_end());
  path.cap(Colour::blue).set_max(2);  // now it is the budget that is full
  path.run();
  CHECK(path.origin(0).saw_end());
  path.origin(0).end();
  path.run();
  REQUIRE(path.dials() == 3);
  CHECK(contains(path.origin(2).received(), "GET /2 "));
}

TEST_CASE("upstream_pool: idle connections of an endpoint that was taken out are not used") {
  DataPath path(one_service(2));
  auto client = path.connect();
  for (int i = 0; i < 20; ++i) path.ask(*client, kGet, kOk);
  const std::string out = path.service().endpoints[0][0].state->name();
  path.set_mode(Colour::blue, 0, balancer::EndpointMode::drain);
  for (int i = 0; i < 20; ++i) {
    path.ask(*client, kGet, kOk);
    CHECK(path.reporter.finished.back().endpoint != out);
  }
}

TEST_CASE("upstream_pool: an endpoint that comes back where all places are taken gets its share again") {
  // Fewer clients than places, so that some are idle, and more, so that they wait.
  for (const size_t count : {size_t{3}, size_t{12}}) {
    INFO(count << " clients");
    conf::Config config = one_service(2);
    blue(config).max_connections = 4;
    blue(config).max_queue = 100;
    blue(config).balance = conf::Balance::round_robin;
    DataPath path(config);
    path.set_mode(Colour::blue, 1, balancer::EndpointMode::maint);
    std::vector<std::shared_ptr<Peer>> many;
    for (size_t i = 0; i < 12; ++i) many.push_back(path.connect());
    const std::string other = path.service().endpoints[0][1].state->name();
    CHECK(serve(path, many, 1000)[other] == 0);
    CHECK(path.cap(Colour::blue).used() == 4);
    path.set_mode(Colour::blue, 1, balancer::EndpointMode::ready);
    const std::vector<std::shared_ptr<Peer>> clients(many.begin(), many.begin() + static_cast<long>(count));
    serve(path, clients, 1000);  // in which it gets its connections
    const size_t dials = path.dials();
    auto requests = serve(path, clients, 60'000);
    const size_t all = requests[path.service().endpoints[0][0].state->name()] + requests[other];
    CHECK(all > 12'000 * std::min<size_t>(count, 4) * 9 / 10);  // it costs little
    CHECK(requests[other] * 10 > all * 4);
    CHECK(requests[other] * 10 < all * 6);
    CHECK(path.dials() - dials <= 60'000'000 / UpstreamPool::kSwapUs);
    CHECK(path.cap(Colour::blue).peak() == 4);
  }
}

TEST_CASE(
    "upstream_pool: where origins are slow to end a connection few are given up, and nobody is refused") {
  constexpr uint64_t kForMs = 200'000;
  conf::Config config = one_service(2);
  blue(config).max_connections = 1;
  blue(config).max_queue = 0;
  blue(config).balance = conf::Balance::round_robin;
  DataPath path(config);
  auto client = path.connect();
  client->send(kGet);
  uint64_t out_ms = 0;
  for (uint64_t ms = 0; ms < kForMs; ms += 5) {
    path.run();
    path.pass_ms(5);
    // Nobody ends what is ended here: it is reset after kCloseWaitMs.
    const auto& origin = path.dialer.dialled.back();
    const bool asked = !origin->take_received().empty();
    out_ms += asked ? 0 : 5;
    if (asked) origin->send(kOk);
    path.run();
    const std::string answer = client->take_received();
    if (answer.empty()) continue;
    REQUIRE(status_of(answer) == 200);
    client->send(kGet);
  }
  CHECK(path.dials() > 2);
  // The last one may not be over.
  CHECK(out_ms * UpstreamPool::kSwapShare <=
        kForMs + UpstreamPool::kSwapShare * UpstreamConnection::kCloseWaitMs);
}

TEST_CASE("upstream_pool: whoever was out meanwhile, each endpoint has its share of the places again") {
  conf::Config config = one_service(2);
  blue(config).max_connections = 1;
  blue(config).balance = conf::Balance::round_robin;
  DataPath path(config);
  std::vector<std::shared_ptr<Peer>> clients{path.connect()};
  for (uint64_t round = 0; round < 40; ++round) {
    serve(path, clients, 5 + 5 * round);
    const size_t out = round % 2;
    path.set_mode(Colour::blue, out, balancer::EndpointMode::maint);
    serve(path, clients, 20);
    path.set_mode(Colour::blue, out, balancer::EndpointMode::ready);
    auto requests = serve(path, clients, 2000);
    for (const auto& [state, weight] : path.service().endpoints[0]) CHECK(requests[state->name()] > 80);
  }
}

TEST_CASE("upstream_pool: endpoints that left the plan are let go with their connections") {
  DataPath path(one_service(3));
  auto client = path.connect();
  for (int i = 0; i < 30; ++i) path.ask(*client, kGet, kOk);
  const size_t open = open_origins(path);
  CHECK(open > 1);
  conf::Config next = one_service(3);
  blue(next).endpoints.resize(1);
  path.adopt(next);
  path.run();
  for (const auto& one : path.dialer.dialled) {
    if (one->saw_end()) one->end();
  }
  path.run();
  CHECK(open_origins(path) <= 1);
  CHECK(path.cap(Colour::blue).used() == open_origins(path));
}

TEST_CASE("upstream_pool: an endpoint that is asked by another name is another one") {
  DataPath path(one_service());
  const auto ask = [&] { path.ask(*path.connect(), "GET / HTTP/1.0\r\n\r\n", kOk); };
  ask();
  conf::Config named = one_service();
  conf::Address& asked = blue(named).endpoints[0].address;
  const ResolvedNames names{{"app.test", {std::exchange(asked.host, "app.test")}}};
  asked.kind = conf::Address::Kind::dns;
  path.adopt(named, names);
  path.run();
  CHECK(path.origin(0).saw_end());
  path.origin(0).end();
  path.run();
  ask();
  REQUIRE(path.dials() == 2);
  CHECK(contains(path.origin(1).received(), "Host: app.test:80\r\n"));
  path.adopt(named, names);  // which changes nothing
  ask();
  CHECK(path.dials() == 2);
}

TEST_CASE("upstream_pool: a service that left the configuration is let go when its last request has ended") {
  conf::Config both = one_service();
  conf::Service other = web(both);
  other.name = "other";
  both.services.emplace("other", other);
  both.routes.push_back({"", "/", "web", {}});
  both.routes.push_back({"", "/other", "other", {}});
  DataPath path(both);
  auto client = path.connect();
  auto late = path.connect();
  path.ask(*client, get("/other"), kOk);
  late->send(get("/other"));
  path.run();
  const std::weak_ptr<balancer::UpstreamState> state = path.registry.find("other")->upstreams[0];
  path.adopt(one_service());
  path.run();
  CHECK_FALSE(state.expired());
  path.origin(0).send(kOk);
  path.run();
  CHECK(late->received() == kOk);
  path.origin(0).end();
  path.run();
  CHECK(state.expired());
  CHECK(path.ask(*client, get("/other"), kOk) == kOk);
}

TEST_CASE("upstream_pool: the latest used idle connection is used first") {
  DataPath path(one_service());
  auto clients = crowd(path, 3);
  for (size_t i = 0; i < 3; ++i) {
    path.origin(i).take_received();
    path.origin(i).send(kOk);
    path.run();
  }
  clients[0]->send(kGet);
  path.run();
  CHECK(path.origin(0).received().empty());
  CHECK_FALSE(path.origin(2).received().empty());
}
