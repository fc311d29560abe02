// Everything that may take too long, by virtual time.
#include <algorithm>

#include "fixtures.h"

using namespace sluice;
using namespace sluice::proxy;
using namespace sluice::proxy::test;
using balancer::Outcome;
using balancer::Refusal;
using conf::Colour;

namespace {

conf::Config impatient() {
  conf::Config config = one_service();
  conf::Timeouts& timeouts = web(config).timeouts;
  timeouts.connect_ms = 100;
  timeouts.first_byte_ms = 200;
  timeouts.idle_ms = 300;
  timeouts.client_header_ms = 400;
  timeouts.client_idle_ms = 500;
  timeouts.client_body_ms = 250;
  web(config).retry.max = 0;
  return config;
}

const std::string kPut = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n";

}  // namespace

TEST_CASE("exchange_timeout: connect") {
  DataPath path(impatient());
  path.dialer.connects = false;
  auto client = path.connect();
  client->send(kGet);
  path.pass_ms(95);
  CHECK(client->received().empty());
  path.pass_ms(15);
  CHECK(status_of(client->received()) == 504);
  CHECK(contains(client->received(), "error=connection_timeout"));
  CHECK(path.attempts(Colour::blue, Outcome::connect) == 1);
  CHECK(path.origin(0).was_closed());
}

TEST_CASE("exchange_timeout: first byte, counted from the request's last") {
  DataPath path(impatient());
  auto client = path.connect();
  client->send(kPut + "01234");
  path.pass_ms(190);
  client->send("56789");
  path.pass_ms(190);
  CHECK(client->received().empty());
  path.pass_ms(20);
  CHECK(status_of(client->received()) == 504);
  CHECK(contains(client->received(), "error=http_response_timeout"));
  CHECK(path.attempts(Colour::blue, Outcome::timeout) == 1);
  CHECK(client->open());
}

TEST_CASE("exchange_timeout: an answer that stands still is cut off, one that goes on is not") {
  DataPath path(impatient());
  auto client = path.connect();
  client->send(kGet);
  path.run();
  path.origin(0).send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
  for (int i = 0; i < 5; ++i) {
    path.pass_ms(290);
    path.origin(0).send("x");
    path.run();
  }
  CHECK(client->open());
  path.pass_ms(310);
  CHECK(client->was_closed());
  CHECK(path.attempts(Colour::blue, Outcome::timeout) == 1);
  CHECK(path.reporter.finished[0].aborted);
}

TEST_CASE("exchange_timeout: an origin that does not take the body is timed out") {
  conf::Config config = impatient();
  DataPath path(config);
  auto client = path.connect();
  client->send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
  path.run();
  path.origin(0).set_room(0);
  client->send(pattern(1'000'000));
  path.pass_ms(320);
  CHECK(status_of(client->received()) == 504);
  CHECK(path.attempts(Colour::blue, Outcome::timeout) == 1);
}

TEST_CASE("exchange_timeout: a body that stops arriving is the client's fault") {
  DataPath path(impatient());
  auto client = path.connect();
  client->send(kPut + "012");
  path.pass_ms(240);
  client->send("3");
  path.pass_ms(240);
  CHECK(client->received().empty());
  path.pass_ms(20);
  CHECK(status_of(client->received()) == 408);
  CHECK(client->saw_end());
  CHECK(path.attempts(Colour::blue, Outcome::timeout) == 0);
  CHECK(path.attempts(Colour::blue, Outcome::cancelled) == 1);
  CHECK(path.reporter.failures.empty());
}

TEST_CASE("exchange_timeout: a slow upload is not the upstream's fault, however its idle timeout is set") {
  conf::Config config = impatient();
  web(config).timeouts.client_body_ms = 10'000;
  DataPath path(config);
  auto client = path.connect();
  client->send(kPut + "012");
  path.pass_ms(2000);
  CHECK(client->received().empty());
  CHECK(path.reporter.failures.empty());
  client->send("3456789");
  path.run();
  CHECK(body_of(path.origin(0).received()) == "0123456789");
  path.origin(0).send(kOk);
  path.run();
  CHECK(client->received() == kOk);
}

TEST_CASE("exchange_timeout: a head that does not arrive is a 408, a silent client is let go") {
  DataPath path(impatient());
  auto silent = path.connect();
  auto slow = path.connect();
  slow->send("GET / HT");
  for (int i = 0; i < 3; ++i) {
    path.pass_ms(130);
    slow->send("T");  // progress does not help: the head as a whole has its time
  }
  CHECK(slow->received().empty());
  path.pass_ms(20);
  CHECK(status_of(slow->received()) == 408);
  CHECK(contains(slow->received(), "Proxy-Status: sluice; error=http_request_error"));
  CHECK(silent->was_closed());
  CHECK(silent->received().empty());
  path.pass_ms(DownstreamConnection::kLingerMs + 50);
  CHECK(slow->was_closed());
}

TEST_CASE("exchange_timeout: an idle connection is closed after its time, each request begins it anew") {
  DataPath path(impatient());
  auto client = path.connect();
  for (int i = 0; i < 3; ++i) {
    CHECK(path.ask(*client, kGet, kOk) == kOk);
    path.pass_ms(490);
    CHECK(client->open());
  }
  path.pass_ms(20);
  CHECK(client->was_closed());
  CHECK(client->take_received().empty());
}

TEST_CASE("exchange_timeout: the second head of a connection has its own time") {
  DataPath path(impatient());
  auto client = path.connect();
  CHECK(path.ask(*client, kGet, kOk) == kOk);
  path.pass_ms(450);
  client->send("GET");
  path.pass_ms(390);
  CHECK(client->open());
  path.pass_ms(20);
  CHECK(status_of(client->received()) == 408);
}

TEST_CASE("exchange_timeout: an idle upstream connection is let go after its time") {
  DataPath path(impatient());
  auto client = path.connect();
  CHECK(path.ask(*client, kGet, kOk) == kOk);
  path.pass_ms(290);
  CHECK_FALSE(path.origin(0).saw_end());
  path.pass_ms(20);
  CHECK(path.origin(0).saw_end());
  CHECK(path.cap(Colour::blue).used() == 1);  // until the peer has let go too
  path.origin(0).end();
  path.run();
  CHECK(path.cap(Colour::blue).used() == 0);
}

TEST_CASE("exchange_timeout: an upstream that does not let go is reset") {
  DataPath path(impatient());
  auto client = path.connect();
  CHECK(path.ask(*client, kGet, kOk) == kOk);
  path.pass_ms(310);
  CHECK(path.origin(0).saw_end());
  path.pass_ms(UpstreamConnection::kCloseWaitMs + 20);
  CHECK(path.origin(0).was_reset());
  CHECK(path.cap(Colour::blue).used() == 0);
}

TEST_CASE("exchange_timeout: an upstream that owes an answer keeps its place until it lets go") {
  for (const uint32_t first_byte_ms : {200U, 8000U}) {
    for (const bool client_leaves : {false, true}) {
      for (const bool lets_go : {false, true}) {
        CAPTURE(first_byte_ms, client_leaves, lets_go);
        conf::Config config = impatient();
        web(config).timeouts.first_byte_ms = first_byte_ms;
        DataPath path(config);
        auto client = path.connect();
        client->send(kGet);
        path.run();
        if (client_leaves) client->fail(UV_ECONNRESET);
        path.pass_ms(client_leaves ? 0 : first_byte_ms + 20);
        CHECK((client_leaves || status_of(client->received()) == 504));
        CHECK(path.origin(0).saw_end());
        path.pass_ms(std::max(first_byte_ms, UpstreamPool::kLeastLetGoMs) - 50);
        CHECK(path.origin(0).open());
        CHECK(path.cap(Colour::blue).used() == 1);
        if (lets_go) {
          path.origin(0).send(kOk);
          path.origin(0).end();
        }
        path.pass_ms(lets_go ? 0 : 100);
        CHECK(path.origin(0).was_reset() != lets_go);
        CHECK(path.cap(Colour::blue).used() == 0);
      }
    }
  }
}

TEST_CASE("exchange_timeout: an upstream that goes on with a long answer for nobody is reset") {
  DataPath path(impatient());
  auto client = path.connect();
  client->send(kGet);
  path.run();
  path.origin(0).send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
  path.run();
  client->fail(UV_ECONNRESET);
  path.run();
  path.origin(0).send(pattern(UpstreamConnection::kMostUnwanted));
  path.run();
  CHECK(path.origin(0).open());
  path.origin(0).send("x");
  path.run();
  CHECK(path.origin(0).was_reset());
  CHECK(path.cap(Colour::blue).used() == 0);
}

TEST_CASE("exchange_timeout: the whole request has a limit, wherever it is") {
  conf::Config config = impatient();
  web(config).timeouts.request_ms = 150;
  web(config).timeouts.connect_ms = 5000;
  web(config).timeouts.first_byte_ms = 5000;
  SECTION("connecting") {
    DataPath path(config);
    path.dialer.connects = false;
    auto client = path.connect();
    client->send(kGet);
    path.pass_ms(140);
    CHECK(client->received().empty());
    path.pass_ms(20);
    CHECK(status_of(client->received()) == 504);
    CHECK(path.origin(0).was_closed());
  }
  SECTION("waiting for the answer") {
    DataPath path(config);
    auto client = path.connect();
    client->send(kGet);
    path.pass_ms(160);
    CHECK(status_of(client->received()) == 504);
    CHECK(path.attempts(Colour::blue, Outcome::timeout) == 1);
  }
  SECTION("within the answer") {
    DataPath path(config);
    auto client = path.connect();
    client->send(kGet);
    path.run();
    path.origin(0).send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    path.pass_ms(160);
    CHECK(client->was_closed());
    CHECK(path.reporter.finished[0].aborted);
  }
  SECTION("a next request begins anew") {
    DataPath path(config);
    auto client = path.connect();
    for (int i = 0; i < 3; ++i) {
      client->send(kGet);
      path.pass_ms(120);
      path.origin(0).send(kOk);
      path.run();
      CHECK(client->take_received() == kOk);
    }
  }
}

TEST_CASE("exchange_timeout: slow is counted when it becomes known, and the answer goes on") {
  conf::Config config = impatient();
  web(config).trip.slow_ms = 100;
  DataPath path(config);
  auto client = path.connect();
  client->send(kGet);
  path.pass_ms(95);
  CHECK(path.reporter.failures.empty());
  path.pass_ms(25);
  REQUIRE(path.reporter.failures.size() == 1);
  CHECK(path.reporter.failures[0].outcome == Outcome::slow);
  path.origin(0).send(kOk);
  path.run();
  CHECK(client->take_received() == kOk);
  CHECK(path.attempts(Colour::blue, Outcome::slow) == 1);
  CHECK(path.attempts(Colour::blue, Outcome::ok) == 0);
  CHECK(path.ask(*client, kGet, kOk) == kOk);
  CHECK(path.attempts(Colour::blue, Outcome::ok) == 1);
}

TEST_CASE("exchange_timeout: a slow client makes no upstream slow, and its time is not the upstream's") {
  conf::Config config = one_service();
  web(config).trip.slow_ms = 100;
  SECTION("uploading, then the upstream is slow") {
    DataPath path(config);
    auto client = path.connect();
    client->send(kPut + "012");
    path.pass_ms(1000);
    client->send("3456789");
    path.pass_ms(80);
    CHECK(path.reporter.failures.empty());
    path.pass_ms(60);
    REQUIRE(path.reporter.failures.size() == 1);
    CHECK(path.reporter.failures[0].outcome == Outcome::slow);
  }
  SECTION("reading") {
    DataPath path(config);
    auto client = path.connect();
    client->set_room(0);
    client->send(kGet);
    path.run();
    path.origin(0).send(kOk);
    path.pass_ms(1000);
    client->set_room(Peer::kAll);
    path.run();
    CHECK(client->received() == kOk);
    CHECK(path.attempts(Colour::blue, Outcome::ok) == 1);
    CHECK(path.reporter.failures.empty());
  }
  SECTION("the limit of the whole request, uploading") {
    web(config).timeouts.request_ms = 500;
    DataPath path(config);
    auto client = path.connect();
    client->send(kPut + "012");
    path.pass_ms(600);
    CHECK(status_of(client->received()) == 408);
    CHECK(path.attempts(Colour::blue, Outcome::cancelled) == 1);
    CHECK(path.reporter.failures.empty());
  }
  SECTION("the limit of the whole request, reading") {
    web(config).timeouts.request_ms = 500;
    DataPath path(config);
    auto client = path.connect();
    client->set_room(0);
    client->send(kGet);
    path.run();
    path.origin(0).send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    path.pass_ms(600);
    CHECK(client->was_closed());
    CHECK(path.attempts(Colour::blue, Outcome::cancelled) == 1);
    CHECK(path.reporter.failures.empty());
  }
}

TEST_CASE(
    "exchange_timeout: a client that stands still within its answer is let go, one that goes on is not") {
  DataPath path(impatient());
  auto slow = path.connect();
  slow->set_room(0);
  slow->send(kGet);
  path.run();
  path.origin(0).send(answer(200, pattern(1'000'000)));
  for (int i = 0; i < 10; ++i) {
    path.pass_ms(290);
    slow->take(1000);
    path.run();
  }
  CHECK(slow->open());
  CHECK(path.reporter.failures.empty());
  path.pass_ms(620);
  CHECK(slow->was_closed());
  CHECK(path.reporter.failures.empty());
  CHECK(path.counters(Colour::blue).aborted.get() == 1);
}

TEST_CASE("exchange_timeout: a client that reads as fast as its origin sends is never let go") {
  DataPath path(impatient());
  auto client = path.connect();
  client->set_room(0);
  client->send(kGet);
  path.run();
  path.origin(0).send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + pattern(70'000));
  path.run();
  client->take(client->pending() - 25'000);
  path.run();
  for (int i = 0; i < 60; ++i) {
    path.origin(0).send(pattern(3000));
    path.pass_ms(30);
    client->take(i % 2 == 0 ? 2000 : 4000);
    path.run();
    REQUIRE(client->pending() > 0);
  }
  CHECK(client->open());
}

TEST_CASE("exchange_timeout: an upstream that says nothing to Expect: 100-continue is late, not the client") {
  const std::string expecting =
      "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
  DataPath path(impatient());
  auto client = path.connect();
  client->send(expecting);
  path.pass_ms(190);
  CHECK(client->received().empty());
  SECTION("at all") {
    path.pass_ms(20);
    CHECK(status_of(client->received()) == 504);
    CHECK(contains(client->received(), "error=http_response_timeout"));
    CHECK(path.attempts(Colour::blue, Outcome::timeout) == 1);
  }
  SECTION("and a client that sends its body all the same is not held to its time") {
    client->send("a");
    path.pass_ms(240);
    client->send("bc");
    path.pass_ms(150);
    path.origin(0).send(kOk);
    path.run();
    CHECK(client->received() == kOk);
  }
  SECTION("and once it has said 100 the time is the client's") {
    path.origin(0).send("HTTP/1.1 100 Continue\r\n\r\n");
    path.pass_ms(240);
    CHECK(client->take_received() == "HTTP/1.1 100 Continue\r\n\r\n");
    path.pass_ms(30);
    CHECK(status_of(client->received()) == 408);
    CHECK(path.attempts(Colour::blue, Outcome::cancelled) == 1);
  }
}

TEST_CASE("exchange_timeout: an attempt that took too long has its place until the origin lets go") {
  conf::Config config = impatient();
  blue(config).max_connections = 1;
  blue(config).queue_timeout_ms = 10'000;
  DataPath path(config);
  auto client = path.connect();
  auto next = path.connect();
  client->send(kGet);
  path.run();
  next->send(kGet);
  path.pass_ms(205);
  CHECK(status_of(client->received()) == 504);
  CHECK(path.origin(0).saw_end());
  CHECK(path.cap(Colour::blue).used() == 1);
  CHECK(path.dials() == 1);
  path.origin(0).end();
  path.run();
  CHECK(path.dials() == 2);
  path.origin(1).send(kOk);
  path.run();
  CHECK(next->received() == kOk);
}

TEST_CASE("exchange_timeout: a retry has its old place in the queue") {
  conf::Config config = impatient();
  blue(config).max_connections = 1;
  blue(config).queue_timeout_ms = 500;
  web(config).timeouts.first_byte_ms = 60'000;
  web(config).retry.max = 1;
  DataPath path(config);
  auto holder = path.connect();
  auto client = path.connect();
  auto late = path.connect();
  holder->send(get("/holder"));
  path.run();
  client->send(get("/client"));
  path.pass_ms(300);
  path.dialer.connects = false;
  path.origin(0).send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  path.run();
  path.origin(0).end();
  path.pass_ms(50);  // the client's dial is under way, and will fail
  REQUIRE(path.dials() == 2);
  late->send(get("/late"));
  path.pass_ms(10);
  path.dialer.connects = true;
  path.pass_ms(60);
  REQUIRE(path.dials() == 3);
  CHECK(path.attempts(Colour::blue, Outcome::connect) == 1);
  CHECK(contains(path.origin(2).received(), "GET /client "));
  path.origin(2).send(kOk);
  path.run();
  CHECK(client->received() == kOk);
}

TEST_CASE("exchange_timeout: a client that asks ahead and then stands still is let go all the same") {
  DataPath path(impatient());
  auto client = path.connect();
  client->set_room(0);
  client->send(kGet);
  path.run();
  path.origin(0).send(answer(200, pattern(500'000)));
  path.run();
  // It takes so much that less than the high watermark waits, but more than
  // the low one, so that the upstream stays paused; then it asks ahead.
  client->take(client->pending() - 50'000);
  path.run();
  client->send(kGet);
  path.pass_ms(3000);
  CHECK(client->was_closed());
}

TEST_CASE("exchange_timeout: a client that slowly takes the end of its answer gets it whole") {
  for (const bool last : {false, true}) {
    CAPTURE(last);
    DataPath path(impatient());
    auto client = path.connect();
    client->set_room(0);
    client->send(last ? "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" : kGet);
    path.run();
    path.origin(0).send(answer(200, pattern(90'000)));
    path.run();
    CHECK(path.reporter.finished.size() == 1);
    for (int i = 0; i < 60; ++i) {
      client->take(2000);
      path.pass_ms(200);
    }
    CHECK((body_of(client->received()) == pattern(90'000)));
  }
}

TEST_CASE(
    "exchange_timeout: an answer that is given up with octets pending ends in a reset, since an end could "
    "complete it") {
  for (const bool finished : {false, true}) {
    CAPTURE(finished);
    DataPath path(impatient());
    auto client = path.connect();
    client->set_room(1000);
    client->send("GET / HTTP/1.0\r\n\r\n");
    path.run();
    path.origin(0).send("HTTP/1.1 200 OK\r\n\r\n" + pattern(100'000));
    if (finished) path.origin(0).end();
    path.pass_ms(5000);
    CHECK(client->was_reset());
  }
}

TEST_CASE("exchange_timeout: a finished answer that nobody takes is not kept for ever") {
  DataPath path(impatient());
  auto client = path.connect();
  client->set_room(0);
  client->send(kGet);
  path.run();
  path.origin(0).send(answer(200, pattern(100'000)));
  path.run();
  path.pass_ms(5000);
  CHECK(client->was_closed());
}

TEST_CASE("exchange_timeout: a tunnel that is silent on both sides ends") {
  DataPath path(impatient());
  auto client = path.connect();
  client->send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  path.run();
  path.origin(0).send("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
  for (int i = 0; i < 6; ++i) {
    path.pass_ms(250);
    (i % 2 == 0 ? *client : path.origin(0)).send("ping");
    path.run();
  }
  CHECK(client->open());
  path.pass_ms(320);
  CHECK(client->was_closed());
  CHECK(path.origin(0).saw_end());
  path.origin(0).end();
  path.run();
  CHECK(path.origin(0).was_closed());
}
