// What becomes of a request whose attempt fails: retries, rescues, answers.
#include <uv.h>

#include "fixtures.h"

using namespace sluice;
using namespace sluice::proxy;
using namespace sluice::proxy::test;
using balancer::Outcome;
using conf::Colour;

namespace {

std::string post(const std::string& body) {
  return "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

// A client that leaves an idle connection at the only endpoint behind.
std::shared_ptr<Peer> warmed(DataPath& path) {
  auto client = path.connect();
  CHECK(path.ask(*client, kGet, kOk) == kOk);
  path.origin(0).take_received();
  return client;
}

// What an origin says that closes an idle connection.
const std::string kTired = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

// The end of the kept connection was no failure and no retry.
void check_served_by_a_fresh_one(DataPath& path, Peer& client) {
  REQUIRE(path.dials() == 2);
  path.origin(1).send(kOk);
  path.run();
  CHECK(client.received() == kOk);
  CHECK(path.reporter.failures.empty());
  CHECK(path.counters(Colour::blue).retries.get() == 0);
  CHECK(path.reporter.finished.back().attempts == "cancelled,ok");
}

}  // namespace

TEST_CASE("exchange_failure: a pooled connection that went stale costs a request nothing") {
  for (const bool by_reset : {false, true}) {
    CAPTURE(by_reset);
    DataPath path(one_service());
    auto client = warmed(path);
    client->send(kGet);
    path.network.step();  // the request is on its way
    REQUIRE_FALSE(path.origin(0).received().empty());
    if (by_reset) {
      path.origin(0).fail(UV_ECONNRESET);
    } else {
      path.origin(0).end();
    }
    path.run();
    check_served_by_a_fresh_one(path, *client);
  }
}

TEST_CASE("exchange_failure: the 408 of an idle connection is not the answer to the next request") {
  DataPath path(one_service());
  auto client = warmed(path);
  client->send(kGet);
  path.origin(0).send(kTired);  // lies there unread when the request comes
  path.origin(0).end();
  path.run();
  check_served_by_a_fresh_one(path, *client);

  // Who says it again on a connection that is new means the request.
  client->take_received();
  client->send(kGet);
  path.run();
  path.origin(1).send(kTired);
  path.run();
  REQUIRE(path.dials() == 3);
  path.origin(2).send(kTired);
  path.run();
  CHECK(status_of(client->received()) == 408);
}

TEST_CASE("exchange_failure: a 408 that goes on, comes late or before the request is whole is an answer") {
  DataPath path(one_service());
  auto client = warmed(path);
  SECTION("it goes on") {
    client->send(kGet);
    path.run();
    path.origin(0).send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
  }
  SECTION("it comes late") {
    client->send(kGet);
    path.run();
    path.pass_ms(1000);
    path.origin(0).send(kTired);
  }
  SECTION("it comes before the request is whole") {
    client->send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    path.run();
    path.origin(0).send(kTired);
  }
  path.run();
  CHECK(path.dials() == 1);
  CHECK(status_of(client->received()) == 408);
}

TEST_CASE("exchange_failure: a stale connection is retried on a fresh one only, and once") {
  DataPath path(one_service());
  auto first = path.connect();
  auto second = path.connect();
  first->send(kGet);
  second->send(kGet);
  path.run();
  path.origin(0).send(kOk);
  path.origin(1).send(kOk);
  path.run();  // two idle connections
  first->take_received();
  first->send(kGet);
  path.run();
  const size_t used = path.origin(0).received().size() > path.origin(1).received().size() ? 0 : 1;
  path.origin(used).end();
  path.run();
  REQUIRE(path.dials() == 3);
  // The fresh one fails as well: that is a failure, and the only retry is one of those that are configured.
  path.origin(2).end();
  path.run();
  CHECK(path.reporter.failures.size() == 1);
  CHECK(path.counters(Colour::blue).retries.get() == 1);
}

TEST_CASE("exchange_failure: a POST on a stale connection is not sent twice") {
  DataPath path(one_service());
  auto client = warmed(path);
  client->send(post("pay"));
  path.run();
  path.origin(0).end();
  path.run();
  CHECK(path.dials() == 1);
  CHECK(status_of(client->received()) == 502);
  CHECK(path.attempts(Colour::blue, Outcome::reset) == 1);
}

TEST_CASE("exchange_failure: a POST is not given to a pooled connection whose end is not yet read") {
  for (const bool by_reset : {false, true}) {
    CAPTURE(by_reset);
    DataPath path(one_service());
    auto client = warmed(path);
    client->send(post("pay"));
    if (by_reset) {
      path.origin(0).fail(UV_ECONNRESET);
    } else {
      path.origin(0).end();
    }
    path.run();
    REQUIRE(path.dials() == 2);
    CHECK(path.origin(0).received().empty());
    CHECK(body_of(path.origin(1).received()) == "pay");
    path.origin(1).send(kOk);
    path.run();
    CHECK(client->received() == kOk);
    CHECK(path.reporter.failures.empty());
  }
}

TEST_CASE("exchange_failure: a failed connect is retried for any method, at another endpoint") {
  DataPath path(one_service(2));
  path.dialer.connects = false;
  auto client = path.connect();
  client->send(post("pay"));
  path.run();
  path.origin(0).connect(UV_ECONNREFUSED);
  path.run();
  REQUIRE(path.dials() == 2);
  CHECK(path.origin(0).name() != path.origin(1).name());
  path.origin(1).connect();
  path.run();
  CHECK(body_of(path.origin(1).received()) == "pay");
  path.origin(1).send(kOk);
  path.run();
  CHECK(client->received() == kOk);
  CHECK(path.reporter.finished[0].attempts == "connect,ok");
  CHECK(path.reporter.finished[0].retried);
  REQUIRE(path.reporter.failures.size() == 1);
  CHECK(path.reporter.failures[0].outcome == Outcome::connect);
  CHECK(path.reporter.failures[0].by_lot);
}

TEST_CASE("exchange_failure: when every attempt fails the last failure is answered") {
  DataPath path(one_service());
  path.dialer.connects = false;
  auto client = path.connect();
  client->send(kGet);
  path.run();
  path.origin(0).connect(UV_ECONNREFUSED);
  path.run();
  path.origin(1).connect(UV_ECONNREFUSED);
  path.run();
  CHECK(path.dials() == 2);
  CHECK(status_of(client->received()) == 502);
  CHECK(contains(client->received(), "error=connection_refused"));
  CHECK(client->open());
  CHECK(path.attempts(Colour::blue, Outcome::connect) == 2);
  CHECK(path.counters(Colour::blue).responses[502].get() == 1);
}

TEST_CASE("exchange_failure: a reset in place of a connection is called what it is") {
  DataPath path(one_service());
  path.dialer.connects = false;
  auto client = path.connect();
  client->send(kGet);
  path.run();
  for (size_t i = 0; i < 2; ++i) {
    path.origin(i).connect(UV_ECONNRESET);
    path.run();
  }
  CHECK(status_of(client->received()) == 502);
  CHECK(contains(client->received(), "error=connection_terminated"));
  CHECK(path.attempts(Colour::blue, Outcome::connect) == 2);
}

TEST_CASE("exchange_failure: want of descriptors or ports is ours, and no failure of the upstream") {
  for (const int error : {UV_EMFILE, UV_ENFILE, UV_EADDRNOTAVAIL, UV_ENOBUFS}) {
    CAPTURE(error);
    DataPath path(one_service());
    path.set_split(conf::kFullSplit);
    path.dialer.connects = false;
    auto client = path.connect();
    client->send(kGet);
    path.run();
    path.origin(0).connect(error);
    path.run();
    CHECK(path.dials() == 1);
    CHECK(status_of(client->received()) == 503);
    CHECK(contains(client->received(), "error=connection_limit_reached"));
    CHECK(path.attempts(Colour::green, Outcome::connect) == 0);
    CHECK(path.reporter.failures.empty());
    CHECK(path.refusals(Colour::green, balancer::Refusal::overload) == 1);
  }
}

TEST_CASE("exchange_failure: what ended for no reason of the endpoint's counts neither for nor against it") {
  DataPath path(one_service());
  balancer::EndpointState& endpoint = *path.service().endpoints[0].front().state;
  const auto fail = [&] {
    auto client = path.connect();
    CHECK(status_of(path.ask(*client, kGet, answer(500))) == 500);
    client->end();
    path.run();
  };
  for (int i = 0; i < 4; ++i) fail();
  SECTION("a client that left") {
    auto client = path.connect();
    client->send(kGet);
    path.run();
    client->fail(UV_ECONNRESET);
    path.run();
  }
  SECTION("a body that stopped arriving") {
    auto client = path.connect();
    client->send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhal");
    path.run();
    path.pass_ms(conf::Timeouts{}.client_body_ms + 100);
    CHECK(status_of(client->received()) == 408);
  }
  SECTION("a connection that went stale") {
    auto client = path.connect();
    client->send(kGet);
    path.network.step();
    path.origin(path.dials() - 1).end();
    path.run();
    path.origin(path.dials() - 1).send(answer(500));
    path.run();
    CHECK(path.reporter.finished.back().attempts == "cancelled,5xx");
    CHECK(endpoint.tally().failed == 5);
    CHECK(endpoint.take_longest_row() == 5);
    return;
  }
  SECTION("no descriptors") {
    path.dialer.connects = false;
    auto held = path.connect();
    held->send(kGet);  // has the idle connection
    auto client = path.connect();
    client->send(kGet);
    path.run();
    path.origin(path.dials() - 1).connect(UV_EMFILE);
    path.run();
    CHECK(status_of(client->received()) == 503);
    held->fail(UV_ECONNRESET);
    path.run();
    path.dialer.connects = true;
  }
  CHECK(endpoint.tally().failed == 4);
  CHECK(endpoint.tally().succeeded == 0);
  fail();
  CHECK(endpoint.take_longest_row() == 5);
}

TEST_CASE("exchange_failure: a reset before the answer is retried for what may be sent twice") {
  for (const bool idempotent : {true, false}) {
    CAPTURE(idempotent);
    DataPath path(one_service());
    auto client = path.connect();
    client->send(idempotent ? "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" : post("abc"));
    path.run();
    path.origin(0).fail(UV_ECONNRESET);
    path.run();
    CHECK(path.dials() == (idempotent ? 2 : 1));
    if (idempotent) {
      CHECK(body_of(path.origin(1).received()) == "abc");
      path.origin(1).send(kOk);
      path.run();
      CHECK(client->received() == kOk);
    } else {
      CHECK(status_of(client->received()) == 502);
    }
  }
}

TEST_CASE("exchange_failure: a request is retried in the middle of its body, and the rest follows") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  path.run();
  path.origin(0).fail(UV_ECONNRESET);
  path.run();
  REQUIRE(path.dials() == 2);
  client->send("2\r\nde\r\n0\r\n\r\n");
  path.run();
  CHECK(body_of(path.origin(1).received()) == "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
  path.origin(1).send(kOk);
  path.run();
  CHECK(client->received() == kOk);
}

TEST_CASE("exchange_failure: a retry sends the trailers too") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send(
      "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n");
  path.run();
  CHECK(contains(path.origin(0).received(), "X-Sum: 1\r\n"));
  path.origin(0).fail(UV_ECONNRESET);
  path.run();
  REQUIRE(path.dials() == 2);
  CHECK(body_of(path.origin(1).received()).ends_with("0\r\nX-Sum: 1\r\n\r\n"));
}

TEST_CASE("exchange_failure: trailers without a space after the colon get one, and the room for it") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  path.run();
  std::string sent, passed;
  for (int i = 0; i < 900; ++i) {
    const std::string name = "T" + std::to_string(i);
    sent += name + ":" + pattern(60) + "\r\n";
    passed += name + ": " + pattern(60) + "\r\n";
  }
  path.origin(0).send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + sent + "\r\n");
  path.run();
  CHECK(client->received().ends_with("0\r\n" + passed + "\r\n"));
}

TEST_CASE("exchange_failure: a body that is larger than what is kept is not sent again") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n14000\r\n" + pattern(0x14000) +
               "\r\n");
  path.run();
  path.origin(0).fail(UV_ECONNRESET);
  path.run();
  CHECK(path.dials() == 1);
  CHECK(status_of(client->received()) == 502);
  CHECK(client->saw_end());
}

TEST_CASE("exchange_failure: a retry on a status, where it is configured") {
  conf::Config config = one_service(2);
  web(config).retry.on_status = {503};
  DataPath path(config);
  auto client = path.connect();
  client->send(kGet);
  path.run();
  path.origin(0).send(answer(503, "overloaded"));
  path.run();
  REQUIRE(path.dials() == 2);
  CHECK(path.origin(0).name() != path.origin(1).name());
  path.origin(1).send(kOk);
  path.run();
  CHECK(client->take_received() == kOk);
  CHECK(path.attempts(Colour::blue, Outcome::http_5xx) == 1);
  // Other statuses and methods are passed on as they are.
  CHECK(path.ask(*client, kGet, answer(500, "x")) == answer(500, "x"));
  CHECK(path.ask(*client, post("x"), answer(503, "x")) == answer(503, "x"));
}

TEST_CASE("exchange_failure: the last attempt's 503 is passed on") {
  conf::Config config = one_service();
  web(config).retry.on_status = {503};
  DataPath path(config);
  auto client = path.connect();
  client->send(kGet);
  path.run();
  path.origin(0).send(answer(503, "one"));
  path.run();
  path.origin(1).send(answer(503, "two"));
  path.run();
  CHECK(client->received() == answer(503, "two"));
}

TEST_CASE("exchange_failure: retries stop at the budget") {
  conf::Config config = one_service();
  web(config).retry.budget = 0.2;
  DataPath path(config);
  path.dialer.connects = false;
  std::vector<std::shared_ptr<Peer>> clients;
  for (int i = 0; i < 50; ++i) {
    clients.push_back(path.connect());
    clients.back()->send(kGet);
  }
  path.run();
  REQUIRE(path.dials() == 50);
  for (size_t i = 0; i < 50; ++i) path.origin(i).connect(UV_ECONNREFUSED);
  path.run();
  // A fifth of them, and the floor.
  const size_t retries = path.dials() - 50;
  CHECK(retries == 10 + balancer::RetryFloor::kFloor);
  CHECK(path.counters(Colour::blue).retries.get() == retries);
}

TEST_CASE("exchange_failure: a safe request that failed on green is rescued by blue and still counted") {
  for (const int kind : {0, 1, 2}) {
    CAPTURE(kind);
    conf::Config config = one_service();
    web(config).rescue = true;
    web(config).split = conf::kFullSplit;
    DataPath path(config);
    path.dialer.connects = kind != 0;
    auto client = path.connect();
    client->send(kGet);
    path.run();
    CHECK(path.origin(0).name() == "10.0.0.2:80");
    if (kind == 0) path.origin(0).connect(UV_ECONNREFUSED);
    if (kind == 1) path.origin(0).fail(UV_ECONNRESET);
    if (kind == 2) path.origin(0).send(answer(500, "broken"));
    path.run();
    REQUIRE(path.dials() == 2);
    CHECK(path.origin(1).name() == "10.0.0.1:80");
    path.origin(1).connect();
    path.run();
    path.origin(1).send(kOk);
    path.run();
    CHECK(client->received() == kOk);
    REQUIRE(path.reporter.failures.size() == 1);
    CHECK(path.reporter.failures[0].upstream == "web/green");
    CHECK(path.counters(Colour::green).rescues.get() == 1);
    CHECK(path.reporter.finished[0].rescued);
    CHECK(path.reporter.finished[0].upstream == "blue");
  }
}

TEST_CASE("exchange_failure: a rescue that times out on green is served by blue") {
  conf::Config config = one_service();
  web(config).rescue = true;
  web(config).split = conf::kFullSplit;
  web(config).timeouts.first_byte_ms = 100;
  DataPath path(config);
  auto client = path.connect();
  client->send(kGet);
  path.pass_ms(150);
  REQUIRE(path.dials() == 2);
  path.origin(1).send(kOk);
  path.run();
  CHECK(client->received() == kOk);
  CHECK(path.attempts(Colour::green, Outcome::timeout) == 1);
}

TEST_CASE("exchange_failure: what is not safe is not rescued, and blue rescues nobody") {
  conf::Config config = one_service();
  web(config).rescue = true;
  DataPath path(config);
  auto client = path.connect();
  CHECK(path.ask(*client, kGet, answer(500, "blue")) == answer(500, "blue"));
  path.set_split(conf::kFullSplit);
  CHECK(path.ask(*client, post("x"), answer(500, "green")) == answer(500, "green"));
  CHECK(path.counters(Colour::green).rescues.get() == 0);
}

TEST_CASE("exchange_failure: an attempt that waits while its old endpoint leaves the plan") {
  conf::Config config = one_service();
  blue(config).max_connections = 1;
  blue(config).queue_timeout_ms = 100;
  web(config).retry.on_status = {503};
  DataPath path(config);
  auto client = path.connect();
  client->send(kGet);
  path.run();
  // The retry waits for the place that its first attempt still holds.
  path.origin(0).send(answer(503, "x"));
  path.run();
  REQUIRE(path.dials() == 1);
  conf::Config next = config;
  blue(next).endpoints = {{address("10.0.0.9"), 1}};
  path.adopt(next);
  // Somebody else takes the place when it becomes free.
  blue(next).max_connections = 0;
  path.service().upstreams[0]->connections()->set_max(0);
  path.origin(0).end();
  path.run();
  CHECK(path.origin(0).was_closed());
  path.pass_ms(200);
  CHECK(status_of(client->received()) == 503);
  REQUIRE(path.reporter.finished.size() == 1);
  CHECK(path.reporter.finished[0].endpoint == "10.0.0.1:80");
  path.service().upstreams[0]->connections()->set_max(1);
}
