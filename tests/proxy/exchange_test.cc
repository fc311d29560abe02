// One request and its answer: framing, order, bodies, back-pressure.
#include "proxy/exchange.h"

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
