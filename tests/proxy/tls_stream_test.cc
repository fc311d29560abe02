#include "proxy/tls_stream.h"

#include <uv.h>

#include <catch2/catch.hpp>
#include <string>
#include <utility>
#include <vector>

#include "fixtures.h"
#include "proxy/client_certificate.h"
#include "tls_fixtures.h"

using namespace sluice::proxy;
using namespace sluice::proxy::test;
namespace conf = sluice::conf;

namespace {

// A root, and a server that has a certificate of it for a.test.
struct World {
  Folder folder;
  Certificate root{{.common_name = "root"}};
  conf::TlsServer server;
  conf::TlsClient client;
  std::shared_ptr<TicketKeys> tickets = std::make_shared<TicketKeys>();
  std::shared_ptr<TlsCounters> counters = std::make_shared<TlsCounters>();

  explicit World(const Wanted& wanted = {.san = "DNS:a.test"}) {
    server.pairs.push_back(write_pair(folder, "a", Certificate(wanted, &root)));
    client.ca = folder.write("root.crt", root.pem());
  }
  std::shared_ptr<const TlsServerContext> server_side() const {
    return server_context(server, tickets, counters);
  }
  std::shared_ptr<const TlsClientContext> client_side() const { return client_context(client); }
  uint64_t count(TlsCounters::Outcome outcome) const { return counters->ended[outcome]; }
};

// The sizes of the records in what was sent.
std::vector<size_t> records_of(const std::string& wire) {
  std::vector<size_t> sizes;
  for (size_t at = 0; at + 5 <= wire.size();) {
    const size_t size =
        static_cast<unsigned char>(wire[at + 3]) * 256U + static_cast<unsigned char>(wire[at + 4]);
    sizes.push_back(size);
    at += 5 + size;
  }
  return sizes;
}

// Application data that no key has sealed.
std::string broken_record() {
  return std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x');
}

}  // namespace

TEST_CASE("tls_stream: carries what both sides write, in any pieces") {
  const World world;
  const auto server_side = world.server_side();
  const auto client_side = world.client_side();
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    TlsPair pair(server_side, client_side, "a.test:443", nullptr, seed);
    pair.most_octets = 100 + seed * seed * 40;
    pair.carry();
    REQUIRE(pair.both_connected());
    std::string to_server, to_client;
    for (int round = 0; round < 6; ++round) {
      std::vector<std::string> parts;
      for (uint64_t i = pair.loop.random().below(9) + 1; i > 0; --i) {
        parts.push_back(pattern(pair.loop.random().below(i % 3 == 0 ? 30'000 : 300) + 1));
      }
      std::vector<iovec> slices;
      for (std::string& part : parts) slices.push_back({part.data(), part.size()});
      const bool up = round % 2 == 0;
      (up ? pair.client : pair.server)->write(slices.data(), static_cast<int>(slices.size()));
      for (const std::string& part : parts) (up ? to_server : to_client) += part;
      if (pair.loop.random().below(2) == 0) pair.carry();
    }
    pair.carry();
    CHECK(pair.server_heard.text == to_server);
    CHECK(pair.client_heard.text == to_client);
    CHECK_FALSE(pair.server_heard.broken());
    CHECK_FALSE(pair.client_heard.broken());
  }
}

TEST_CASE("tls_stream: several records come in one read") {
  const World world;
  TlsPair pair(world.server_side(), world.client_side());
  pair.carry();
  const std::string text = pattern(100'000);
  pair.write(*pair.client, text);
  pair.carry();
  CHECK(pair.server_heard.text == text);
  CHECK(pair.server_heard.reads <= 6);
}

TEST_CASE("tls_stream: the first records after a pause fit a segment, later ones are full") {
  const World world;
  TlsPair pair(world.server_side(), world.client_side());
  pair.carry();
  for (int burst = 0; burst < 2; ++burst) {
    pair.loop.set_time_us(pair.loop.now_us() + 2'000'000);
    pair.carried_to_client.clear();
    pair.write(*pair.server, pattern(100'000));
    pair.carry();
    const std::vector<size_t> sizes = records_of(pair.carried_to_client);
    REQUIRE(sizes.size() > 12);
    for (size_t i = 0; i < 11; ++i) CHECK(sizes[i] <= TlsStream::kSmallRecordBytes + 40);
    CHECK(*std::max_element(sizes.begin(), sizes.end()) > TlsStream::kRecordBytes);
    CHECK(sizes.size() <= 20);
  }
}

TEST_CASE("tls_stream: a head and the body behind it share a record") {
  const World world;
  TlsPair pair(world.server_side(), world.client_side());
  pair.carry();
  pair.write(*pair.server, "with the session tickets, which wait for the first write");
  pair.carry();
  pair.carried_to_client.clear();
  pair.client_heard.text.clear();
  std::string head = pattern(200), body = pattern(1000);
  const iovec slices[] = {{head.data(), head.size()}, {body.data(), body.size()}};
  pair.server->write(slices, 2);
  pair.carry();
  CHECK(records_of(pair.carried_to_client).size() == 1);
  CHECK(pair.client_heard.text == head + body);
}

TEST_CASE("tls_stream: reading stops when it is told to, and nothing is lost") {
  const World world;
  TlsPair pair(world.server_side(), world.client_side());
  pair.carry();
  pair.server_heard.pause_after_read = true;
  const std::string text = pattern(200'000);
  pair.write(*pair.client, text);
  int pauses = 0;
  for (size_t before = 1; pair.server_heard.text.size() < text.size(); ++pauses) {
    pair.carry();
    REQUIRE(pair.server_heard.text.size() >= before);  // goes on
    before = pair.server_heard.text.size() + 1;
    pair.carry();
    REQUIRE(pair.server_heard.text.size() + 1 == before);  // but only when asked
    pair.server->start_reading();
  }
  CHECK(pair.server_heard.text == text);
  CHECK(pauses >= 6);
}

TEST_CASE("tls_stream: what is held for the end goes out with the close_notify") {
  const World world;
  TlsPair pair(world.server_side(), world.client_side());
  pair.carry();
  pair.server->hold_for_end();
  CHECK(pair.server_peer->held_for_end());
  pair.write(*pair.server, "last words");
  pair.server->shutdown_write();
  pair.carry();
  CHECK(pair.client_heard.text == "last words");
  CHECK(pair.client_heard.ended);
  CHECK(pair.client_heard.stream_error == 0);
}

TEST_CASE("tls_stream: close_notify ends one direction, the other goes on") {
  const World world;
  TlsPair pair(world.server_side(), world.client_side());
  pair.carry();
  pair.write(*pair.client, "last words");
  pair.client->shutdown_write();
  pair.carry();
  CHECK(pair.server_heard.text == "last words");
  CHECK(pair.server_heard.ended);
  CHECK(pair.server_heard.stream_error == 0);
  pair.write(*pair.server, "an answer");
  pair.carry();
  CHECK(pair.client_heard.text == "an answer");
  pair.server->close();
  pair.carry();
  CHECK(pair.client_heard.ended);
  CHECK_FALSE(pair.client_heard.broken());
}

TEST_CASE("tls_stream: who writes while it reads hears of nothing but what the peer said") {
  const World world;
  for (const bool ends : {false, true}) {
    CAPTURE(ends);
    TlsPair pair(world.server_side(), world.client_side());
    pair.carry();
    pair.server_heard.answer = "an answer";
    pair.write(*pair.client, "a question");
    if (ends) pair.client->shutdown_write();
    pair.carry();
    CHECK(pair.server_heard.text == "a question");
    CHECK(pair.client_heard.text == "an answer");
    CHECK_FALSE(pair.server_heard.broken());
    CHECK(pair.server_heard.ended == ends);
    pair.server->close();
    pair.carry();
    CHECK(pair.client_heard.ended);
    CHECK_FALSE(pair.client_heard.broken());
  }
}

TEST_CASE("tls_stream: what broke it is told as it was when the handler writes meanwhile") {
  const World world;
  TlsPair pair(world.server_side(), world.client_side());
  pair.carry();
  pair.server_heard.answer = "an answer";
  pair.write(*pair.client, "a question");
  pair.server_peer->send(pair.client_peer->take_received() + broken_record());
  pair.carry();
  CHECK(pair.server_heard.text == "a question");
  CHECK(pair.server_heard.stream_error == UV_EPROTO);
  REQUIRE(pair.server->tls_failure() != nullptr);
  CHECK(std::string(pair.server->tls_failure()->detail) == "BAD_DECRYPT");
}

TEST_CASE("tls_stream: who does not read does not hear of the end either") {
  const World world;
  TlsPair pair(world.server_side(), world.client_side());
  pair.carry();
  pair.server_heard.pause_after_read = true;
  pair.write(*pair.client, "last words");
  pair.client->shutdown_write();
  pair.carry();
  CHECK(pair.server_heard.text == "last words");
  CHECK_FALSE(pair.server_heard.ended);
  pair.server->start_reading();
  pair.carry();
  CHECK(pair.server_heard.ended);
  CHECK_FALSE(pair.server_heard.broken());
}

TEST_CASE("tls_stream: who reads on after close_notify hears the end of the connection") {
  const World world;
  TlsPair pair(world.server_side(), world.client_side());
  pair.carry();
  pair.server->shutdown_write();
  pair.client_peer->send(pair.server_peer->take_received());
  pair.network.run();
  CHECK(std::exchange(pair.client_heard.ended, false));
  pair.client->start_reading();
  pair.network.run();
  CHECK_FALSE(pair.client_heard.ended);
  pair.client_peer->end();
  pair.network.run();
  CHECK(pair.client_heard.ended);
  CHECK_FALSE(pair.client_heard.broken());
}

TEST_CASE("tls_stream: a close_notify that lies unread is news") {
  const World world;
  TlsPair pair(world.server_side(), world.client_side());
  pair.carry();
  CHECK_FALSE(pair.client->has_news());
  pair.server->shutdown_write();
  pair.client_peer->send(pair.server_peer->take_received());
  pair.client_peer->end();
  CHECK(pair.client->has_news());
  pair.network.run();
  CHECK(pair.client_heard.ended);
}

TEST_CASE("tls_stream: what came behind what is read is news") {
  const World world;
  const bool ends = GENERATE(false, true);
  TlsPair pair(world.server_side(), world.client_side());
  pair.carry();
  pair.carry_tickets();
  CHECK_FALSE(pair.client_heard.news_at_read);
  pair.write(*pair.server, "an answer");
  if (ends) pair.server->shutdown_write();
  pair.client_peer->send(pair.server_peer->take_received());
  pair.network.run();
  CHECK(pair.client_heard.news_at_read == ends);
  CHECK(pair.client_heard.ended == ends);
}

TEST_CASE("tls_stream: an end without close_notify is a broken stream") {
  const World world;
  TlsPair pair(world.server_side(), world.client_side());
  pair.carry();
  pair.write(*pair.server, "half an ans");
  pair.carry();
  pair.client_peer->end();
  pair.carry();
  CHECK(pair.client_heard.text == "half an ans");
  CHECK_FALSE(pair.client_heard.ended);
  CHECK(pair.client_heard.stream_error == UV_ECONNRESET);
  REQUIRE(pair.client->tls_failure() != nullptr);
  CHECK(std::string(pair.client->tls_failure()->detail) == "the peer closed without a close_notify");
}

TEST_CASE("tls_stream: changed octets break it, with an alert for the peer") {
  const World world;
  TlsPair pair(world.server_side(), world.client_side());
  pair.carry();
  pair.server_peer->send(broken_record());
  pair.carry();
  CHECK(pair.server_heard.stream_error == UV_EPROTO);
  CHECK(pair.client_heard.stream_error == UV_EPROTO);
  REQUIRE(pair.client->tls_failure() != nullptr);
  CHECK(std::string(pair.client->tls_failure()->error) == "tls_alert_received");
}

TEST_CASE("tls_stream: what is no TLS gets an alert and time to read it") {
  const World world;
  TlsPair pair(world.server_side(), world.client_side());
  pair.server_peer->send(std::string("\x16\x03\x01\x00\x08", 5) + "whatever");
  while (pair.network.step()) {
  }
  CHECK(pair.server_heard.connected == 0);
  CHECK_FALSE(pair.server_heard.broken());
  CHECK(pair.server_peer->saw_end());
  CHECK(pair.server_peer->take_received().substr(0, 1) == "\x15");
  SECTION("until it ends") {
    pair.server_peer->end();
  }
  SECTION("or for a second") {
    pair.loop.set_time_us(pair.loop.now_us() + (TlsStream::kLingerMs + 100) * 1000);
  }
  while (pair.network.step()) {
  }
  CHECK(pair.server_heard.stream_error == UV_EPROTO);
  CHECK(world.count(TlsCounters::failed) == 1);
  CHECK(world.counters->in_progress == 0);
}

TEST_CASE("tls_stream: a handshake that takes too long ends") {
  World world;
  world.server.handshake_timeout_ms = 500;
  TlsPair pair(world.server_side(), world.client_side());
  CHECK(world.counters->in_progress == 1);
  pair.loop.set_time_us(pair.loop.now_us() + 600'000);
  CHECK(pair.server_heard.stream_error == UV_ETIMEDOUT);
  CHECK(world.count(TlsCounters::timed_out) == 1);
  CHECK(world.counters->in_progress == 0);
}

TEST_CASE("tls_stream: a reset at any moment is told once and leaves nothing") {
  const World world;
  const auto server_side = world.server_side();
  const auto client_side = world.client_side();
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    TlsPair pair(server_side, client_side, "a.test:443", nullptr, seed);
    pair.most_octets = 400;
    for (uint64_t steps = pair.loop.random().below(20); steps > 0 && pair.carry_once(); --steps) {
      if (pair.both_connected()) pair.write(*pair.server, pattern(3000));
    }
    (seed % 2 == 0 ? pair.server_peer : pair.client_peer)->fail(UV_ECONNRESET);
    pair.carry();
    const Heard& broken = seed % 2 == 0 ? pair.server_heard : pair.client_heard;
    CHECK(broken.broken());
    CHECK(broken.connected <= 1);
  }
  CHECK(world.counters->in_progress == 0);
}

TEST_CASE("tls_stream: a client believes only who has the name, the root and the time") {
  struct Case {
    Wanted wanted;
    const char* authority;
    const char* reason;
  };
  const Case cases[] = {
      {{.san = "DNS:a.test"}, "a.test:443", nullptr},
      {{.san = "DNS:*.wild.test"}, "a.wild.test:443", nullptr},
      {{.san = "IP:10.0.0.1"}, "10.0.0.1:443", nullptr},
      {{.san = "IP:2001:db8::1"}, "[2001:db8::1]:443", nullptr},
      {{.san = "DNS:a.test"}, "b.test:443", "Hostname mismatch"},
      {{.san = "DNS:*.wild.test"}, "b.a.wild.test:443", "Hostname mismatch"},
      {{.san = "DNS:*.test"}, "a.test:443", "Hostname mismatch"},  // as wide as a public suffix
      {{.san = "DNS:10.0.0.1"}, "10.0.0.1:443", "IP address mismatch"},
      {{.san = "DNS:a.test", .from_days = -30, .to_days = -1}, "a.test:443", "certificate has expired"},
      {{.san = "DNS:a.test", .from_days = 1}, "a.test:443", "certificate is not yet valid"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.wanted.san, one.authority);
    const World world(one.wanted);
    TlsPair pair(world.server_side(), world.client_side(), one.authority);
    pair.carry();
    CHECK(pair.client_heard.connected == 1);
    CHECK((pair.client_heard.connect_error == 0) == (one.reason == nullptr));
    if (one.reason == nullptr) continue;
    REQUIRE(pair.client->tls_failure() != nullptr);
    CHECK(std::string(pair.client->tls_failure()->error) == "tls_certificate_error");
    CHECK(std::string(pair.client->tls_failure()->detail) == one.reason);
  }
}

TEST_CASE("tls_stream: an unknown root is refused unless verification is off") {
  World world;
  const Certificate other({.common_name = "other"});
  world.client.ca = world.folder.write("other.crt", other.pem());
  {
    TlsPair pair(world.server_side(), world.client_side());
    pair.carry();
    REQUIRE(pair.client->tls_failure() != nullptr);
    CHECK(std::string(pair.client->tls_failure()->error) == "tls_certificate_error");
  }
  world.client.verify = false;
  TlsPair pair(world.server_side(), world.client_side(), "whoever.test:443");
  pair.carry();
  CHECK(pair.both_connected());
}

TEST_CASE("tls_stream: a name that no certificate could have is an error, not a crash") {
  const World world;
  TlsPair pair(world.server_side(), world.client_side(), ":443");
  pair.carry();
  CHECK(pair.client_heard.connect_error == UV_EPROTO);
  CHECK(pair.client->tls_failure() != nullptr);
}

TEST_CASE("tls_stream: the configured name goes before the endpoint's") {
  World world;
  world.client.sni = "a.test";
  TlsPair pair(world.server_side(), world.client_side(), "10.0.0.1:443");
  pair.carry();
  CHECK(pair.both_connected());
}

TEST_CASE("tls_stream: sessions are resumed, under every key that is kept") {
  const World world;
  const auto server_side = world.server_side();
  const auto client_side = world.client_side();
  TlsSession session;
  const auto connect = [&] {
    TlsPair pair(server_side, client_side, "a.test:443", &session);
    pair.carry();
    CHECK(pair.both_connected());
    pair.carry_tickets();
    return world.count(TlsCounters::resumed);
  };
  CHECK(connect() == 0);
  CHECK(connect() == 1);
  world.tickets->rotate();
  CHECK(connect() == 2);
  for (size_t i = 0; i < TicketKeys::kKept; ++i) world.tickets->rotate();
  CHECK(connect() == 2);
  CHECK(world.count(TlsCounters::full) == 2);
}

TEST_CASE("tls_stream: a session is resumed neither by another context nor at another listener") {
  const World world;
  TlsSession session;
  const auto client_side = world.client_side();
  const auto connect = [&](const auto& server_side, const auto& client) {
    TlsPair pair(server_side, client, "a.test:443", &session);
    pair.carry();
    CHECK(pair.both_connected());
    pair.carry_tickets();
    return world.count(TlsCounters::resumed);
  };
  CHECK(connect(world.server_side(), client_side) == 0);
  CHECK(connect(world.server_side(), world.client_side()) == 0);
  CHECK(connect(server_context(world.server, world.tickets, world.counters, "other"), client_side) == 0);
}

TEST_CASE("tls_stream: a session is resumed under no other name") {
  World world({.san = "DNS:a.test,DNS:b.test"});
  const auto server_side = world.server_side();
  const auto client_side = world.client_side();
  TlsSession session;
  const auto connect = [&](const auto& server, const char* authority) {
    TlsPair pair(server, client_side, authority, &session);
    pair.carry();
    CHECK(pair.both_connected());
    pair.carry_tickets();
    return world.count(TlsCounters::resumed);
  };
  CHECK(connect(server_side, "a.test:443") == 0);
  CHECK(connect(server_side, "A.test.:443") == 1);
  CHECK(connect(world.server_side(), "a.test:443") == 2);  // as after a reload
  CHECK(connect(server_side, "b.test:443") == 2);
  CHECK(connect(server_side, "b.test:443") == 3);
}

TEST_CASE("tls_stream: the name that is asked for chooses the certificate") {
  World world({.san = "DNS:a.test,DNS:*.wild.test"});
  const auto add = [&](const char* name, const Wanted& wanted) {
    world.server.pairs.push_back(write_pair(world.folder, name, Certificate(wanted, &world.root)));
  };
  add("b", {.san = "DNS:b.test"});
  add("x", {.san = "DNS:x.wild.test"});
  const auto server_side = world.server_side();
  for (const char* const name :
       {"a.test:1", "b.test:1", "B.TEST:1", "b.test.:1", "x.wild.test:1", "y.wild.test:1"}) {
    CAPTURE(name);
    TlsPair pair(server_side, world.client_side(), name);
    pair.carry();
    CHECK(pair.both_connected());
  }
  // Names that nobody has get the first, which the client then refuses.
  TlsPair pair(server_side, world.client_side(), "c.test:1");
  pair.carry();
  REQUIRE(pair.client->tls_failure() != nullptr);
  CHECK(std::string(pair.client->tls_failure()->detail) == "Hostname mismatch");
}

TEST_CASE("tls_stream: clients are asked for certificates, and told apart by them") {
  World world;
  const Certificate client_root({.common_name = "clients"});
  world.server.client_ca = world.folder.write("clients.crt", client_root.pem());
  const auto use = [&](const Certificate& certificate) {
    const auto pair = write_pair(world.folder, "client", certificate);
    world.client.cert = pair.cert;
    world.client.key = pair.key;
  };
  SECTION("one that is known") {
    use(Certificate({.common_name = "app-7", .san = "DNS:app-7.test,URI:spiffe://test/app-7"}, &client_root));
    TlsSession session;
    const auto server_side = world.server_side();
    const auto client_side = world.client_side();
    for (uint64_t resumed = 0; resumed < 2; ++resumed) {
      TlsPair pair(server_side, client_side, "a.test:443", &session);
      pair.carry();
      REQUIRE(pair.both_connected());
      pair.carry_tickets();
      CHECK(world.count(TlsCounters::resumed) == resumed);
      REQUIRE(pair.server->peer_certificate() != nullptr);
      CHECK(pair.server->peer_certificate()->subject == "CN=app-7");
      CHECK(pair.server->peer_certificate()->san == "DNS:app-7.test, URI:spiffe://test/app-7");
    }
  }
  SECTION("one that is not") {
    use(Certificate({.common_name = "stranger"}, &world.root));
    TlsPair pair(world.server_side(), world.client_side());
    pair.carry();
    CHECK(pair.server_heard.connected == 0);
    CHECK(pair.client_heard.broken());
    CHECK(std::string(pair.client->tls_failure()->error) == "tls_alert_received");
  }
  SECTION("none") {
    TlsPair pair(world.server_side(), world.client_side());
    pair.carry();
    CHECK(pair.server_heard.connected == 0);
    CHECK(pair.client_heard.broken());
  }
  SECTION("none, where that is allowed") {
    world.server.client_required = false;
    TlsPair pair(world.server_side(), world.client_side());
    pair.carry();
    CHECK(pair.both_connected());
    CHECK(pair.server->peer_certificate() == nullptr);
  }
}

TEST_CASE("client_certificate: no entry can pass for two, and nothing breaks a header") {
  const Certificate odd(
      {.common_name = "a,b\r\nX: y", .san = "DNS:a\\, DNS:admin,URI:http://x/%20 y,IP:10.0.0.1"});
  const PeerCertificate text = describe_client(odd.x509());
  CHECK(text.subject == "CN=a\\,b\\0D\\0AX: y");
  CHECK(text.san.find("DNS:a, DNS:admin") == std::string::npos);
  CHECK(text.san.find('\n') == std::string::npos);
  const Certificate huge(
      {.common_name = "huge", .san = "URI:http://x/" + std::string(kMostCertificateText, 'a')});
  CHECK(describe_client(huge.x509()).san.empty());
  CHECK(describe_client(huge.x509()).subject == "CN=huge");
}
