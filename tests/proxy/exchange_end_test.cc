// How exchanges end: tunnels, clients and origins that leave or keep to no rule,
// requests that are refused, and the drain.
#include <uv.h>

#include "fixtures.h"
#include "proxy/exchange.h"

using namespace sluice;
using namespace sluice::proxy;
using namespace sluice::proxy::test;
using balancer::Outcome;
using conf::Colour;

TEST_CASE("exchange: 101 makes a tunnel in both directions") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly ");
  path.run();
  Peer& origin = path.origin(0);
  CHECK(contains(origin.received(), "Connection: upgrade\r\nUpgrade: websocket\r\n"));
  CHECK_FALSE(contains(origin.take_received(), "early"));
  origin.send("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi");
  path.run();
  CHECK(client->take_received() ==
        "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi");
  CHECK(origin.take_received() == "early ");
  client->send("GET / HTTP/1.1\r\n\r\n\n\x01");
  origin.send(std::string("\0\r\n", 3));
  path.run();
  CHECK(origin.take_received() == "GET / HTTP/1.1\r\n\r\n\n\x01");
  CHECK(client->take_received() == std::string("\0\r\n", 3));
  // The client's end is passed on, and what the origin still sends arrives.
  client->end();
  path.run();
  CHECK(origin.saw_end());
  origin.send("last words");
  origin.end();
  path.run();
  CHECK(client->received() == "last words");
  CHECK(client->was_closed());
  REQUIRE(path.reporter.finished.size() == 1);
  CHECK(path.reporter.finished[0].status == 101);
  CHECK_FALSE(path.reporter.finished[0].aborted);
}

TEST_CASE("exchange: a tunnel whose origin reads slowly loses nothing when the client ends") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  path.run();
  Peer& origin = path.origin(0);
  origin.send("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
  path.run();
  origin.take_received();
  origin.set_room(0);
  // In reads of which a part waits in the stash when the end comes.
  client->read_size = 50'000;
  client->send(pattern(150'000));
  client->end();
  path.run();
  origin.set_room(Peer::kAll);
  path.run();
  CHECK(origin.received().size() == 150'000);
  CHECK(origin.received() == pattern(150'000));
  CHECK(origin.saw_end());
}

TEST_CASE("exchange: an upstream that refuses to switch protocols answers like any other") {
  DataPath path(one_service());
  auto client = path.connect();
  const std::string upgrade =
      "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
  CHECK(path.ask(*client, upgrade, answer(403, "no")) == answer(403, "no"));
  CHECK(path.ask(*client, kGet, kOk) == kOk);
}

TEST_CASE("exchange: an origin that closes before its answer's end is seen by the client") {
  const std::string beginnings[] = {
      "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
  };
  for (const std::string& beginning : beginnings) {
    for (const bool by_reset : {false, true}) {
      CAPTURE(beginning, by_reset);
      DataPath path(one_service());
      auto client = path.connect();
      client->send(kGet);
      path.run();
      path.origin(0).send(beginning);
      if (by_reset) {
        path.origin(0).fail(UV_ECONNRESET);
      } else {
        path.origin(0).end();
      }
      path.run();
      CHECK(client->was_closed());
      CHECK_FALSE(client->received().ends_with("0\r\n\r\n"));
      CHECK(path.dials() == 1);
      CHECK(path.attempts(Colour::blue, Outcome::reset) == 1);
      REQUIRE(path.reporter.finished.size() == 1);
      CHECK(path.reporter.finished[0].aborted);
    }
  }
}

TEST_CASE(
    "exchange: for a client of HTTP/1.0 a broken answer ends in a reset, since an end would complete it") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send("GET / HTTP/1.0\r\n\r\n");
  path.run();
  path.origin(0).send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  path.origin(0).fail(UV_ECONNRESET);
  path.run();
  CHECK(client->was_reset());
}

TEST_CASE("exchange: an origin that closes within the head of its answer is a 502") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
  path.run();
  path.origin(0).send("HTTP/1.1 200 OK\r\nCont");
  path.origin(0).end();
  path.run();
  CHECK(status_of(client->received()) == 502);
  CHECK(contains(client->received(), "Proxy-Status: sluice; error=http_response_incomplete"));
  CHECK(client->open());
  CHECK(path.reporter.failures.size() == 1);
}

TEST_CASE("exchange: an origin that speaks no HTTP is a 502") {
  for (const std::string nonsense : {"SSH-2.0-x\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
                                     "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                                     "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"}) {
    CAPTURE(nonsense);
    DataPath path(one_service());
    auto client = path.connect();
    const std::string got =
        path.ask(*client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", nonsense);
    CHECK(status_of(got) == 502);
    CHECK(contains(got, "error=http_protocol_error"));
  }
}

TEST_CASE("exchange: octets behind an answer's end spoil the connection, not the next answer") {
  DataPath path(one_service());
  auto client = path.connect();
  CHECK(path.ask(*client, kGet, kOk + answer(200, "smuggled")) == kOk);
  CHECK(path.origin(0).saw_end());
  CHECK(path.ask(*client, kGet, answer(200, "own")) == answer(200, "own"));
  CHECK(path.dials() == 2);
}

TEST_CASE("exchange: what an idle upstream connection says unasked is nobody's answer") {
  DataPath path(one_service());
  auto client = path.connect();
  CHECK(path.ask(*client, kGet, kOk) == kOk);
  path.origin(0).send(answer(408, "bye"));
  path.run();
  CHECK(path.ask(*client, kGet, answer(200, "own")) == answer(200, "own"));
  CHECK(path.dials() == 2);
}

TEST_CASE("exchange: a client may leave at any moment, and the upstream is given up") {
  const std::string put = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n";
  for (const bool by_reset : {false, true}) {
    CAPTURE(by_reset);
    const auto leave = [by_reset](Peer& client) {
      if (by_reset) {
        client.fail(UV_ECONNRESET);
      } else {
        client.end();
      }
    };
    SECTION("while the upstream is being connected to" + std::to_string(by_reset)) {
      DataPath path(one_service());
      path.dialer.connects = false;
      auto client = path.connect();
      client->send(put);
      leave(*client);
      path.run();
      CHECK(client->was_closed());
      CHECK(path.origin(0).was_closed());
      CHECK(path.cap(Colour::blue).used() == 0);
      CHECK(path.attempts(Colour::blue, Outcome::cancelled) == 1);
    }
    SECTION("within its body" + std::to_string(by_reset)) {
      DataPath path(one_service());
      auto client = path.connect();
      client->send(put + "abc");
      path.run();
      leave(*client);
      path.run();
      CHECK(client->was_closed());
      CHECK(path.origin(0).saw_end());
      CHECK(path.attempts(Colour::blue, Outcome::cancelled) == 1);
      CHECK(path.counters(Colour::blue).aborted.get() == 1);
      REQUIRE(path.reporter.finished.size() == 1);
      CHECK(path.reporter.finished[0].aborted);
      CHECK(path.reporter.failures.empty());
    }
  }
  SECTION("while it waits for an answer") {
    DataPath path(one_service());
    auto client = path.connect();
    client->send(kGet);
    path.run();
    client->fail(UV_ECONNRESET);
    path.run();
    CHECK(client->was_closed());
    CHECK(path.origin(0).saw_end());
    path.origin(0).end();
    path.run();
    CHECK(path.origin(0).was_closed());
    CHECK(path.cap(Colour::blue).used() == 0);
  }
  SECTION("within its answer") {
    DataPath path(one_service());
    auto client = path.connect();
    client->send(kGet);
    path.run();
    path.origin(0).send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    path.run();
    client->fail(UV_ECONNRESET);
    path.run();
    CHECK(path.origin(0).saw_end());
    CHECK(path.counters(Colour::blue).aborted.get() == 1);
    CHECK(path.counters(Colour::blue).responses[200].get() == 1);
  }
  SECTION("when the proxy notices only by writing") {
    DataPath path(one_service());
    auto client = path.connect();
    client->send(kGet);
    path.run();
    client->set_room(0);
    path.origin(0).send(answer(200, pattern(500'000)));
    path.run();
    client->fail(UV_EPIPE);
    path.run();
    CHECK(client->was_closed());
    CHECK(path.origin(0).was_closed());  // it sent more than is read for nobody
  }
}

TEST_CASE("exchange: a client that leaves more behind than is read ahead is missed all the same") {
  conf::Config config = one_service();
  blue(config).max_connections = 1;
  blue(config).queue_timeout_ms = 60'000;
  DataPath path(config);
  const std::string body = pattern(300'000);
  const std::string put = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n";
  const auto waiting = [&path] { return path.service().upstreams[0]->queued().load(); };
  SECTION("while it waits for a place") {
    auto first = path.connect();
    first->send(kGet);
    path.run();
    auto client = path.connect();
    client->send(put + body);
    path.run();
    REQUIRE_FALSE(client->reading());
    REQUIRE(waiting() == 1);
    SECTION("and stays") {
      path.pass_ms(5 * DownstreamConnection::kWatchMs);
      CHECK(waiting() == 1);
      path.origin(0).send(kOk);
      path.run();
      CHECK(path.origin(0).received().ends_with(body));
      path.origin(0).send(kOk);
      path.run();
      CHECK(client->received() == kOk);
      return;
    }
    SECTION("and resets") {
      client->fail(UV_ECONNRESET);
    }
    SECTION("and ends, as one that closes does") {
      client->end();
    }
    path.pass_ms(DownstreamConnection::kWatchMs + 50);
    CHECK(client->was_closed());
    CHECK(waiting() == 0);
    CHECK(path.refusals(Colour::blue, balancer::Refusal::client_gone) == 1);
  }
  SECTION("while its upstream is being connected to") {
    path.dialer.connects = false;
    auto client = path.connect();
    client->send(put + body);
    path.run();
    REQUIRE_FALSE(client->reading());
    client->fail(UV_ECONNRESET);
    path.pass_ms(DownstreamConnection::kWatchMs + 50);
    CHECK(client->was_closed());
    CHECK(path.attempts(Colour::blue, Outcome::cancelled) == 1);
  }
  SECTION("while its answer is awaited, which one that only ends still wants") {
    auto client = path.connect();
    std::string many;
    for (int i = 0; i < 10'000; ++i) many += kGet;
    client->send(many);
    path.run();
    REQUIRE_FALSE(client->reading());
    client->end();
    path.pass_ms(DownstreamConnection::kWatchMs + 50);
    CHECK(client->open());
    client->fail(UV_ECONNRESET);
    path.pass_ms(DownstreamConnection::kWatchMs + 50);
    CHECK(client->was_closed());
  }
}

TEST_CASE("exchange: a client that shuts its side after its request still gets the whole answer") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send(kGet);
  client->end();
  path.run();
  path.origin(0).send(kOk);
  path.run();
  CHECK(client->received() == kOk);
  CHECK(client->was_closed());
}

TEST_CASE("exchange: a client that shut its side and reads slowly gets the whole answer") {
  DataPath path(one_service());
  auto client = path.connect();
  client->set_room(0);
  client->send(kGet);
  client->end();
  path.run();
  const std::string whole = answer(200, pattern(100'000));
  path.origin(0).send(whole);
  path.run();
  for (int i = 0; i < 40 && client->open(); ++i) {
    client->take(5'000);
    path.pass_ms(500);
  }
  CHECK(client->received().size() == whole.size());
  CHECK((client->received() == whole));
  CHECK(client->was_closed());
}

TEST_CASE("exchange: HTTP/1.0 and Connection: close end the connection after the answer") {
  DataPath path(one_service());
  for (const std::string request :
       {"GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"}) {
    auto client = path.connect();
    const std::string got = path.ask(*client, request, kOk);
    CHECK(contains(got, "Connection: close\r\n"));
    CHECK(client->was_closed());
    CHECK(client->held_for_end());
  }
  auto client = path.connect();
  const std::string got = path.ask(*client, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", kOk);
  CHECK(contains(got, "Connection: keep-alive\r\n"));
  CHECK(client->open());
  CHECK_FALSE(client->held_for_end());
}

TEST_CASE("exchange: a bad request is answered and the connection closed") {
  DataPath path(one_service());
  const std::pair<std::string, int> bad[] = {
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405},
      {"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505},
      {"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
      {"PUT / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417},
  };
  for (const auto& [request, status] : bad) {
    CAPTURE(request);
    auto client = path.connect();
    client->send(request);
    path.run();
    CHECK(status_of(client->received()) == status);
    CHECK(contains(client->received(), "Proxy-Status: sluice; error=http_request_error"));
    CHECK(contains(client->received(), "Connection: close\r\n"));
    CHECK(client->saw_end());
    CHECK(path.context.unrouted[static_cast<size_t>(status)].get() > 0);
    client->end();
    path.run();
    CHECK(client->was_closed());
  }
  CHECK(path.dials() == 0);
}

TEST_CASE("exchange: a bad chunk within a request is a 400 and gives the upstream up") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  path.run();
  client->send("zz\r\n");
  path.run();
  CHECK(status_of(client->received()) == 400);
  CHECK(client->saw_end());
  CHECK(path.origin(0).saw_end());
  CHECK_FALSE(contains(path.origin(0).received(), "0\r\n\r\n"));
  CHECK(path.attempts(Colour::blue, Outcome::cancelled) == 1);
}

TEST_CASE("exchange: requests over a service's limits are refused before any upstream hears of them") {
  conf::Config config = one_service();
  web(config).limits.uri_bytes = 100;
  web(config).limits.header_bytes = 1000;
  web(config).limits.headers = 10;
  web(config).limits.body_bytes = 50;
  DataPath path(config);
  const std::string head = "GET / HTTP/1.1\r\nHost: a\r\n";
  std::string many;
  for (int i = 0; i < 11; ++i) many += "A: 1\r\n";
  const std::pair<std::string, int> over[] = {
      {get("/" + std::string(101, 'a')), 414},
      {get("/" + std::string(3000, 'a')), 414},
      {head + "A: " + std::string(1000, 'a') + "\r\n\r\n", 431},
      {head + many + "\r\n", 431},
      {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 51\r\n\r\n", 413},
  };
  for (const auto& [request, status] : over) {
    CAPTURE(request);
    auto client = path.connect();
    client->send(request);
    path.run();
    CHECK(status_of(client->received()) == status);
    CHECK(client->saw_end() == (status != 414 || request.size() > 1000));
  }
  CHECK(path.dials() == 0);
  // A chunked body is over the limit when it is.
  auto client = path.connect();
  client->send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n" +
               std::string(32, 'a') + "\r\n");
  path.run();
  CHECK(client->received().empty());
  client->send("20\r\n" + std::string(32, 'a') + "\r\n0\r\n\r\n");
  path.run();
  CHECK(status_of(client->received()) == 413);
}

TEST_CASE("exchange: OPTIONS that may go no further is answered here") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
  path.run();
  CHECK(status_of(client->take_received()) == 200);
  CHECK(path.dials() == 0);
  client->send("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 5\r\n\r\n");
  path.run();
  CHECK(contains(path.origin(0).received(), "Max-Forwards: 4\r\n"));
}

TEST_CASE("exchange: a drain lets requests end, answers who is just asking and closes what stays idle") {
  DataPath path(one_service());
  auto idle = path.connect();
  CHECK(path.ask(*idle, kGet, kOk) == kOk);
  auto fresh = path.connect();
  path.run();
  auto busy = path.connect();
  busy->send(kGet);
  path.run();
  path.context.begin_drain();
  path.connections.drain();
  path.run();
  path.origin(0).send(kOk);
  path.run();
  CHECK(contains(busy->received(), "Connection: close\r\n"));
  CHECK(busy->was_closed());
  CHECK(contains(path.ask(*fresh, kGet, kOk), "Connection: close\r\n"));
  CHECK(fresh->was_closed());
  CHECK(idle->open());
  path.pass_ms(DownstreamConnection::kDrainIdleMs + 50);
  CHECK(idle->was_closed());
  path.origin(0).end();
  path.run();
  CHECK(path.context.upstream_connections == 0);
}
