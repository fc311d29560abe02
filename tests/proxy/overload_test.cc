#include <memory>
#include <string>
#include <vector>

#include "fixtures.h"

using namespace sluice;
using namespace sluice::proxy;
using namespace sluice::proxy::test;

namespace {

conf::Config for_clients(uint32_t most) {
  conf::Config config = one_service();
  config.overload.max_connections = most;
  return config;
}

}  // namespace

TEST_CASE("overload: one client too many is told so, and whoever is connected is served") {
  DataPath path(for_clients(1));
  auto first = path.connect();
  auto surplus = path.connect();
  surplus->send(kGet);
  path.run();
  CHECK(status_of(surplus->received()) == 503);
  CHECK(contains(surplus->received(), "Retry-After: 1\r\n"));
  CHECK(contains(surplus->received(), "error=connection_limit_reached"));
  CHECK(contains(surplus->received(), "Connection: close\r\n"));
  CHECK(path.dials() == 0);
  CHECK(path.ask(*first, kGet, kOk) == kOk);
  CHECK(path.context.shed_connections.get() == 1);
}

TEST_CASE("overload: one request too many that waits is refused and counted as that") {
  conf::Config config = one_service();
  config.overload.max_queued = 1;
  blue(config).max_connections = 1;
  DataPath path(config);
  std::vector<std::shared_ptr<Peer>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(path.connect());
    clients.back()->send(kGet);
    path.run();
  }
  CHECK(status_of(clients[2]->received()) == 503);
  CHECK(path.context.shed_requests.get() == 1);
  CHECK(path.context.shed_connections.get() == 0);
  CHECK(path.refusals(conf::Colour::blue, balancer::Refusal::overload) == 1);
}

TEST_CASE("overload: one client too many that asks for a head gets no body") {
  DataPath path(for_clients(1));
  auto first = path.connect();
  auto surplus = path.connect();
  surplus->send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  path.run();
  CHECK(status_of(surplus->received()) == 503);
  CHECK(body_of(surplus->received()).empty());
}

TEST_CASE("overload: one client too many that asks for nothing goes soon") {
  DataPath path(for_clients(1));
  auto first = path.connect();
  auto surplus = path.connect();
  path.pass_ms(DownstreamConnection::kShedMs + 50);
  CHECK(surplus->was_closed());
  CHECK(first->open());
}

TEST_CASE("overload: a place is free again when its client has left") {
  DataPath path(for_clients(1));
  auto first = path.connect();
  path.run();
  first->end();
  path.run();
  auto second = path.connect();
  CHECK(path.ask(*second, kGet, kOk) == kOk);
}

TEST_CASE(
    "overload: a crowded worker takes little for a client that does not read, and all of it in the end") {
  DataPath path(one_service());
  auto client = path.connect();
  client->set_room(0);
  client->send(kGet);
  path.run();
  path.loop.keep_bytes(Loop::kMostKeptBytes + 1);
  const std::string body = pattern(300'000);
  path.origin(0).send(answer(200, body));
  path.run();
  CHECK(client->most_pending() <= Loop::kSmallReadBytes + 1024);
  CHECK(path.origin(0).unread() > 250'000);
  client->set_room(Peer::kAll);
  path.run();
  CHECK(body_of(client->received()) == body);
  path.loop.let_go_bytes(Loop::kMostKeptBytes + 1);
}

TEST_CASE("overload: a crowded worker takes little from a client whose origin does not read") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
  path.run();
  path.origin(0).set_room(0);
  path.loop.keep_bytes(Loop::kMostKeptBytes + 1);
  const std::string body = pattern(300'000);
  client->send(body);
  path.run();
  CHECK(path.origin(0).most_pending() <= Loop::kSmallReadBytes + 1024);
  path.origin(0).set_room(Peer::kAll);
  path.run();
  CHECK(body_of(path.origin(0).received()) == body);
  path.loop.let_go_bytes(Loop::kMostKeptBytes + 1);
  path.origin(0).send(kOk);
  path.run();
  CHECK(client->received() == kOk);
}
