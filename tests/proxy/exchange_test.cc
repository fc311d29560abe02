// One request and its answer: framing, order, bodies, back-pressure, tunnels,
// and clients and origins that leave.
#include "proxy/exchange.h"

#include <uv.h>

#include <regex>

#include "fixtures.h"

using namespace sluice;
using namespace sluice::proxy;
using namespace sluice::proxy::test;
using balancer::Outcome;
using conf::Colour;

TEST_CASE("exchange: a request goes up with this hop's fields and its answer comes down") {
  DataPath path(one_service());
  auto client = path.connect("192.0.2.7");
  client->send(
      "GET /a?b HTTP/1.1\r\nHost: shop\r\nX: 1\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6\r\n"
      "X-Forwarded-Port: 6\r\nx_forwarded-prefix: /6\r\nX-Real-IP: 6.6.6.6\r\n"
      "Forwarded: for=6\r\nX-Request-Id: abc\r\n\r\n");
  path.run();
  REQUIRE(path.dials() == 1);
  CHECK(path.origin(0).name() == "10.0.0.1:80");
  CHECK(path.origin(0).received() ==
        "GET /a?b HTTP/1.1\r\nHost: shop\r\nX: 1\r\nX-Request-Id: abc\r\nX-Forwarded-For: 192.0.2.7\r\n"
        "X-Forwarded-Proto: http\r\nX-Forwarded-Host: shop\r\nVia: 1.1 sluice\r\n\r\n");
  path.origin(0).send(kOk);
  path.run();
  CHECK(client->received() == kOk);
  CHECK(client->open());
  REQUIRE(path.reporter.finished.size() == 1);
  CHECK(path.reporter.finished[0].status == 200);
  CHECK(path.reporter.finished[0].attempts == "ok");
  CHECK(path.reporter.finished[0].endpoint == "10.0.0.1:80");
  CHECK(path.attempts(Colour::blue, Outcome::ok) == 1);
  CHECK(path.counters(Colour::blue).responses[200].get() == 1);
}

TEST_CASE("exchange: a trusted peer's forwarding fields are passed on and added to") {
  DataPath path(one_service());
  auto client = path.connect("192.0.2.7", true);
  client->send(
      "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n"
      "X-Forwarded-Proto: https\r\n\r\n");
  path.run();
  CHECK(contains(path.origin(0).received(), "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 192.0.2.7\r\n"));
  CHECK(contains(path.origin(0).received(), "X-Forwarded-Proto: https\r\n"));
  CHECK_FALSE(contains(path.origin(0).received(), "X-Forwarded-Proto: http\r\n"));
}

TEST_CASE("exchange: requests of a connection share an upstream connection and are answered in order") {
  DataPath path(one_service());
  auto client = path.connect();
  for (int i = 0; i < 5; ++i)
    CHECK(path.ask(*client, kGet, answer(200, std::to_string(i))) == answer(200, std::to_string(i)));
  CHECK(path.dials() == 1);
  CHECK(path.cap(Colour::blue).used() == 1);
}

TEST_CASE("exchange: pipelined requests are served one after the other, however they are read") {
  for (const size_t read_size : {size_t{1}, size_t{7}, Peer::kAll}) {
    CAPTURE(read_size);
    DataPath path(one_service());
    auto client = path.connect();
    client->read_size = read_size;
    const std::string post = "POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    client->send(get("/a") + get("/b") + post + get("/d"));
    std::string expected;
    for (const std::string target : {"/a", "/b", "/c", "/d"}) {
      path.run();
      Peer& origin = path.origin(0);
      const std::string request = origin.take_received();
      CHECK(contains(request, " " + target + " HTTP/1.1\r\n"));
      CHECK(body_of(request) == (target == "/c" ? "abc" : ""));
      expected += answer(200, "for " + target);
      origin.send(answer(200, "for " + target));
    }
    path.run();
    CHECK(client->received() == expected);
    CHECK(path.dials() == 1);
  }
}

TEST_CASE("exchange: a client that reads no answers gets no further ones") {
  DataPath path(one_service());
  auto client = path.connect();
  client->set_room(0);
  std::string asked;
  for (int i = 0; i < 200; ++i) asked += get("/" + std::to_string(i));
  client->send(asked);
  const std::string one = answer(200, pattern(30'000));
  size_t answered = 0;
  const auto serve = [&] {
    for (path.run(); contains(path.origin(0).take_received(), "GET "); path.run()) {
      path.origin(0).send(one);
      ++answered;
    }
  };
  serve();
  CHECK(client->pending() <= Stream::kHighWatermark + one.size());
  CHECK(answered < 10);
  client->set_room(Peer::kAll);
  serve();
  CHECK(answered == 200);
  CHECK(client->received().size() == 200 * one.size());
}

TEST_CASE("exchange: a head may be as large as its limit, in however many pieces") {
  conf::Config config = one_service();
  web(config).limits.header_bytes = 256 * 1024;
  DataPath path(config);
  auto client = path.connect();
  client->read_size = 7000;
  std::string request = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (int i = 0; i < 20; ++i) request += "X-" + std::to_string(i) + ": " + std::string(10'000, 'x') + "\r\n";
  client->send(request + "\r\n");
  path.run();
  REQUIRE(path.dials() == 1);
  CHECK(path.origin(0).received().size() > 200'000);
  path.origin(0).send(kOk);
  path.run();
  CHECK(client->received() == kOk);
}

TEST_CASE("exchange: pipelined requests are served after the client has shut its side") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send(get("/a") + get("/b"));
  client->end();
  path.run();
  path.origin(0).send(answer(200, "a"));
  path.run();
  path.origin(0).send(answer(200, "b"));
  path.run();
  CHECK(client->received() == answer(200, "a") + answer(200, "b"));
  CHECK(client->was_closed());
  CHECK_FALSE(client->was_reset());
}

TEST_CASE("exchange: what a client sends ahead of its turn is bounded") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send(kGet);
  path.run();
  for (int i = 0; i < 100'000; ++i) client->send(kGet);
  path.run();
  CHECK_FALSE(client->reading());
  CHECK(client->unread() >
        100'000 * kGet.size() - DownstreamConnection::kMostAhead - 2 * Loop::kReadBufferBytes);
}

TEST_CASE("exchange: bodies of known length and chunked ones arrive whole, in both directions") {
  for (const size_t read_size : {size_t{13}, size_t{4096}, Peer::kAll}) {
    CAPTURE(read_size);
    DataPath path(one_service());
    auto client = path.connect();
    client->read_size = read_size;
    const std::string body = pattern(300'000);
    client->send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + body);
    path.run();
    CHECK(body_of(path.origin(0).take_received()) == body);
    path.origin(0).read_size = read_size;
    path.origin(0).send(answer(200, body));
    path.run();
    CHECK(client->take_received() == answer(200, body));

    client->send(
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n");
    path.run();
    const std::string request = path.origin(0).take_received();
    CHECK(contains(request, "Transfer-Encoding: chunked\r\n"));
    std::string chunks = body_of(request);
    CHECK(chunks.ends_with("0\r\nX-Sum: 1\r\n\r\n"));
    path.origin(0).send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    path.run();
    CHECK(client->received().ends_with("0\r\n\r\n"));
    CHECK(path.dials() == 1);
  }
}

TEST_CASE("exchange: an origin that reads slowly holds the client back") {
  DataPath path(one_service());
  auto client = path.connect();
  const size_t size = 4'000'000;
  client->send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n");
  path.run();
  Peer& origin = path.origin(0);
  origin.take_received();
  origin.set_room(0);
  client->send(pattern(size));
  path.run();
  CHECK_FALSE(client->reading());
  std::string got;
  while (got.size() < size) {
    origin.take(50'000);
    path.run();
    const std::string more = origin.take_received();
    REQUIRE_FALSE(more.empty());
    got += more;
  }
  CHECK(got == pattern(size));
  CHECK(origin.most_pending() <=
        Stream::kHighWatermark + DownstreamConnection::kMostAhead + Loop::kReadBufferBytes);
}

TEST_CASE("exchange: a client that reads slowly holds the origin back") {
  DataPath path(one_service());
  auto client = path.connect();
  client->set_room(0);
  client->send(kGet);
  path.run();
  const size_t size = 4'000'000;
  path.origin(0).send(answer(200, pattern(size)));
  path.run();
  CHECK_FALSE(path.origin(0).reading());
  std::string got;
  while (got.size() < answer(200, pattern(size)).size()) {
    client->take(50'000);
    path.run();
    const std::string more = client->take_received();
    REQUIRE_FALSE(more.empty());
    got += more;
  }
  CHECK(got == answer(200, pattern(size)));
  CHECK(client->most_pending() <= Stream::kHighWatermark + Loop::kReadBufferBytes + 1024);
  client->set_room(0);
  CHECK(path.ask(*client, kGet, kOk).empty());
  client->set_room(Peer::kAll);
  path.run();
  CHECK(client->received() == kOk);
}

TEST_CASE(
    "exchange: an answer that comes before the end of its request is passed on and ends both connections") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc");
  path.run();
  path.origin(0).send(answer(413, "too much"));
  path.run();
  CHECK(status_of(client->received()) == 413);
  CHECK(contains(client->received(), "Connection: close\r\n"));
  CHECK(client->saw_end());
  CHECK(path.origin(0).saw_end());
  // Lingering: what still comes is read and thrown away, so that the answer is not destroyed.
  client->send(pattern(900));
  path.run();
  CHECK(client->unread() == 0);
  client->end();
  path.run();
  CHECK(client->was_closed());
  CHECK_FALSE(client->was_reset());
}

TEST_CASE("exchange: 100-continue is asked of the origin and its answer passed on") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  path.run();
  CHECK(contains(path.origin(0).received(), "Expect: 100-continue\r\n"));
  path.origin(0).send("HTTP/1.1 100 Continue\r\n\r\n");
  path.run();
  CHECK(client->take_received() == "HTTP/1.1 100 Continue\r\n\r\n");
  client->send("abc");
  path.run();
  CHECK(body_of(path.origin(0).received()) == "abc");
  path.origin(0).send(kOk);
  path.run();
  CHECK(client->received() == kOk);
  CHECK(path.reporter.finished.size() == 1);
}

TEST_CASE("exchange: interim answers are kept from clients of HTTP/1.0") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send("GET / HTTP/1.0\r\n\r\n");
  path.run();
  CHECK(contains(path.origin(0).received(), "Host: 10.0.0.1:80\r\n"));
  path.origin(0).send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + kOk);
  path.run();
  CHECK(client->received() ==
        "HTTP/1.1 200 OK\r\n" + kDate + "Content-Length: 2\r\nConnection: close\r\n\r\nok");
  CHECK(client->was_closed());
}

TEST_CASE("exchange: an answer without a date gets one, and so does what the proxy says itself") {
  const auto dates = [](const std::string& text) {
    size_t count = 0;
    for (size_t at = text.find("\r\nDate: "); at != text.npos; at = text.find("\r\nDate: ", at + 1)) ++count;
    return count;
  };
  const std::regex dated(
      "HTTP/1.1 [0-9]{3} [A-Za-z ]+\r\n(.+: .+\r\n)*"
      "Date: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} 20[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT\r\n"
      "(.+: .+\r\n)*\r\n");
  DataPath path(one_service());
  auto client = path.connect();
  for (const char* const undated : {"HTTP/1.1 200 OK\r\nX-Age: 5\r\nContent-Length: 0\r\n\r\n",
                                    "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
                                    "HTTP/1.1 304 Same\r\nConnection: Date\r\nDate: gone\r\n\r\n"}) {
    const std::string answer = path.ask(*client, kGet, undated);
    CAPTURE(answer);
    CHECK(std::regex_match(answer, dated));
    CHECK(dates(answer) == 1);
    CHECK_FALSE(contains(answer, "gone"));
  }
  CHECK(dates(path.ask(*client, kGet, "HTTP/1.1 103 Early\r\n\r\n" + kOk)) == 1);
  client->send("nonsense\r\n\r\n");
  path.run();
  const std::string refusal = client->take_received();
  CHECK(refusal.starts_with("HTTP/1.1 400 "));
  CHECK(dates(refusal) == 1);
}

TEST_CASE("exchange: answers to HEAD and those with 204 and 304 have no body") {
  DataPath path(one_service());
  auto client = path.connect();
  const std::string head = "HTTP/1.1 200 OK\r\n" + kDate + "Content-Length: 500\r\n\r\n";
  CHECK(path.ask(*client, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", head) == head);
  CHECK(path.ask(*client, kGet, "HTTP/1.1 204 X\r\n" + kDate + "\r\n") ==
        "HTTP/1.1 204 X\r\n" + kDate + "\r\n");
  const std::string unchanged = "HTTP/1.1 304 X\r\n" + kDate + "Content-Length: 500\r\n\r\n";
  CHECK(path.ask(*client, kGet, unchanged) == unchanged);
  CHECK(path.ask(*client, kGet, kOk) == kOk);
  CHECK(path.dials() == 1);
}

TEST_CASE("exchange: an answer that ends with its connection is chunked for the client") {
  DataPath path(one_service());
  auto client = path.connect();
  client->send(kGet);
  path.run();
  path.origin(0).send("HTTP/1.0 200 OK\r\n" + kDate + "\r\nhello");
  path.run();
  path.origin(0).end();
  path.run();
  CHECK(client->received() ==
        "HTTP/1.1 200 OK\r\n" + kDate + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
  CHECK(client->open());
  CHECK(path.origin(0).was_closed());
  CHECK(path.attempts(Colour::blue, Outcome::ok) == 1);
}

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
  }
  auto client = path.connect();
  const std::string got = path.ask(*client, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", kOk);
  CHECK(contains(got, "Connection: keep-alive\r\n"));
  CHECK(client->open());
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
