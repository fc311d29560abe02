// Both codecs of HTTP/1, each against text.
#include <catch2/catch.hpp>
#include <string>

#include "fake_stream.h"
#include "proxy/h1_downstream_codec.h"
#include "proxy/h1_upstream_codec.h"

using namespace sluice;
using namespace sluice::proxy;
using proxy::test::FakeNetwork;
using proxy::test::Peer;

namespace {

using Kind = CodecEvent::Kind;

// A codec of each side with an outbox whose octets a test reads.
struct Codecs {
  Loop loop{1};
  FakeNetwork network{loop};
  std::shared_ptr<Peer> peer;
  std::unique_ptr<Stream> stream = network.make(peer);
  struct : Stream::Handler {
    void on_read(char*, size_t) override {}
    void on_read_end() override {}
    void on_stream_error(int) override {}
    void on_drained() override {}
    void on_stream_closed() override {}
  } handler;
  CodecWorkspace workspace;
  Outbox out{loop};
  H1DownstreamCodec downstream{workspace};
  H1UpstreamCodec upstream{workspace};
  std::string memory;  // of the input under way

  Codecs() {
    stream->set_handler(&handler);
    out.set_stream(stream.get());
  }
  ~Codecs() {
    loop.run_deferred();
    stream->close();
    network.step();
    stream.reset();
    CHECK(loop.close() == 0);
  }
  std::string written() {
    loop.run_deferred();
    return peer->take_received();
  }
  Input input(std::string text) {
    memory = std::move(text);
    return {memory.data(), memory.size()};
  }
  // The events of one input, as letters, with the body between parentheses.
  template <typename Codec, typename... Limits>
  std::string events(Codec& codec, Input& in, const Limits&... limits) {
    std::string result;
    for (;;) {
      switch (codec.next(in, limits...).kind) {
        case Kind::more:
          return result + "m";
        case Kind::head:
          result += "h";
          break;
        case Kind::data:
          result.append("(").append(codec.piece().data, codec.piece().size).append(")");
          break;
        case Kind::end:
          return result + "e";
        case Kind::bad:
          return result + "b";
      }
    }
  }
};

}  // namespace

TEST_CASE("h1_downstream_codec: messages follow one another only after finish_exchange") {
  Codecs codecs;
  const conf::Limits limits;
  Input in = codecs.input(
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(codecs.events(codecs.downstream, in, limits) == "h(abc)e");
  CHECK_FALSE(codecs.downstream.mid_message());
  CHECK(codecs.events(codecs.downstream, in, limits) == "m");
  REQUIRE(codecs.downstream.finish_exchange(0));
  CHECK(codecs.events(codecs.downstream, in, limits) == "he");
  CHECK(in.size == 0);
}

TEST_CASE("h1_downstream_codec: an exchange that ends before its request ends the connection") {
  Codecs codecs;
  Input in = codecs.input("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
  CHECK(codecs.events(codecs.downstream, in, conf::Limits{}) == "h(a)m");
  CHECK(codecs.downstream.mid_message());
  CHECK_FALSE(codecs.downstream.finish_exchange(0));
  CHECK_FALSE(codecs.downstream.keeps_alive());
}

TEST_CASE("h1_downstream_codec: a chunked request with trailers, then a bad one") {
  Codecs codecs;
  Input in = codecs.input(
      "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: "
      "1\r\n\r\nBAD\r\n\r\n");
  CHECK(codecs.events(codecs.downstream, in, conf::Limits{}) == "h(ab)e");
  REQUIRE(codecs.downstream.trailers() != nullptr);
  CHECK(codecs.downstream.trailers()->all().size() == 1);
  REQUIRE(codecs.downstream.finish_exchange(0));
  CHECK(codecs.events(codecs.downstream, in, conf::Limits{}) == "b");
  CHECK(codecs.downstream.problem().status == 400);
}

namespace {

// What a client of `version` gets for a response of an upstream.
std::string translated(const std::string& version, const std::string& response, bool last,
                       const std::string& method = "GET") {
  Codecs codecs;
  Input request =
      codecs.input(method + " / HTTP/" + version + "\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
  codecs.events(codecs.downstream, request, conf::Limits{});
  codecs.upstream.write_request(codecs.out, 0, codecs.workspace.request, {}, "");
  codecs.upstream.write_end(codecs.out, 0, nullptr);
  codecs.written();
  Input in = codecs.input(response);
  for (;;) {
    const CodecEvent event = codecs.upstream.next(in);
    if (event.kind == Kind::head) {
      codecs.downstream.write_response(codecs.out, 0, codecs.upstream.response(), {}, last);
    } else if (event.kind == Kind::data) {
      codecs.downstream.write_data(codecs.out, 0, codecs.upstream.piece().data, codecs.upstream.piece().size);
    } else {
      if (event.kind == Kind::end) codecs.downstream.write_end(codecs.out, 0, codecs.upstream.trailers());
      return codecs.written();
    }
    codecs.loop.run_flushes();
  }
}

}  // namespace

TEST_CASE("h1_codec: responses are framed for the client's version") {
  const std::string length = "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX: 1\r\n\r\nok";
  CHECK(translated("1.1", length, false) == length);
  CHECK(translated("1.1", length, true) ==
        "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX: 1\r\nConnection: close\r\n\r\nok");
  CHECK(translated("1.0", length, false) ==
        "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX: 1\r\nConnection: keep-alive\r\n\r\nok");
  const std::string chunked =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nT: 1\r\n\r\n";
  CHECK(translated("1.1", chunked, false) ==
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: 1\r\n\r\n");
  CHECK(translated("1.0", chunked, true) == "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok");
  const std::string until_close = "HTTP/1.0 200 OK\r\nServer: old\r\n\r\nok";
  CHECK(translated("1.1", until_close, false) ==
        "HTTP/1.1 200 OK\r\nServer: old\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
  CHECK(translated("1.0", until_close, true) ==
        "HTTP/1.1 200 OK\r\nServer: old\r\nConnection: close\r\n\r\nok");
}

TEST_CASE("h1_codec: hop-by-hop fields of a response stay on their hop") {
  CHECK(translated("1.1",
                   "HTTP/1.1 200 OK\r\nA: 1\r\nConnection: keep-alive, B\r\nB: 2\r\nKeep-Alive: 5\r\nC: 3\r\n"
                   "Content-Length: 0\r\nProxy-Connection: x\r\n\r\n",
                   false) == "HTTP/1.1 200 OK\r\nA: 1\r\nC: 3\r\nContent-Length: 0\r\n\r\n");
}

TEST_CASE("h1_codec: whatever minor version the upstream claims, the client is told 1.1") {
  CHECK(translated("1.1", "HTTP/1.7 200 OK\r\nContent-Length: 0\r\n\r\n", false) ==
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

TEST_CASE("h1_codec: responses without a body are not given one") {
  CHECK(translated("1.1", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", false, "HEAD") ==
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
  CHECK(translated("1.1", "HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n", false) ==
        "HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n");
  CHECK(translated("1.1", "HTTP/1.1 204 X\r\nContent-Length: 9\r\n\r\n", false) == "HTTP/1.1 204 X\r\n\r\n");
  CHECK(translated("1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, "HEAD") ==
        "HTTP/1.1 200 OK\r\n\r\n");
}

TEST_CASE("h1_upstream_codec: a request is written in this hop's words") {
  Codecs codecs;
  Input in = codecs.input(
      "PUT http://b/x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te, x-hop\r\nX-Hop: 1\r\nX-Kept: "
      "2\r\n"
      "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
  REQUIRE(codecs.downstream.next(in, {}).kind == Kind::head);
  AddedFields added;
  added.add("Via", "1.1 sluice");
  codecs.upstream.write_request(codecs.out, 0, codecs.workspace.request, added, "");
  REQUIRE(codecs.downstream.next(in, {}).kind == Kind::data);
  codecs.upstream.write_data(codecs.out, 0, codecs.downstream.piece().data, codecs.downstream.piece().size);
  REQUIRE(codecs.downstream.next(in, {}).kind == Kind::end);
  codecs.upstream.write_end(codecs.out, 0, codecs.downstream.trailers());
  CHECK(codecs.written() ==
        "PUT /x HTTP/1.1\r\nHost: b\r\nX-Kept: 2\r\nVia: 1.1 sluice\r\nTransfer-Encoding: chunked\r\n"
        "Expect: 100-continue\r\nConnection: TE\r\nTE: trailers\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
}

namespace {

struct Answered {
  std::string events;
  bool reusable = false;
  Kind at_end = Kind::more;
};

Answered answered(const std::string& response, const std::string& method = "GET") {
  Codecs codecs;
  Input request = codecs.input(method + " / HTTP/1.1\r\nHost: a\r\n\r\n");
  codecs.events(codecs.downstream, request, conf::Limits{});
  CHECK(codecs.upstream.can_open_stream());
  codecs.upstream.write_request(codecs.out, 0, codecs.workspace.request, {}, "");
  codecs.upstream.write_end(codecs.out, 0, nullptr);
  CHECK_FALSE(codecs.upstream.can_open_stream());
  codecs.written();
  Input in = codecs.input(response);
  Answered result;
  result.events = codecs.events(codecs.upstream, in);
  result.reusable = codecs.upstream.reusable();
  result.at_end = codecs.upstream.next_at_end().kind;
  return result;
}

}  // namespace

TEST_CASE("h1_upstream_codec: which answers leave a connection that can be used again") {
  CHECK(answered("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").reusable);
  CHECK(answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").reusable);
  CHECK(answered("HTTP/1.1 204 OK\r\n\r\n").reusable);
  CHECK(answered("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n").reusable);
  CHECK_FALSE(answered("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").reusable);
  CHECK_FALSE(answered("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").reusable);
  CHECK_FALSE(answered("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok").reusable);
  CHECK_FALSE(answered("HTTP/1.1 200 OK\r\n\r\nok").reusable);
}

TEST_CASE("h1_upstream_codec: what the end of the connection means") {
  CHECK(answered("HTTP/1.1 200 OK\r\n\r\nuntil close").at_end == Kind::end);
  CHECK(answered("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok").at_end == Kind::bad);
  CHECK(answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n").at_end == Kind::bad);
  CHECK(answered("HTTP/1.1 200 OK\r\nConten").at_end == Kind::bad);
  CHECK(answered("").at_end == Kind::bad);
  CHECK(answered("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").at_end == Kind::more);
}

TEST_CASE("h1_upstream_codec: interim answers come before the answer, and not without end") {
  CHECK(answered("HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 H\r\nLink: x\r\n\r\nHTTP/1.1 204 OK\r\n\r\n").events ==
        "hhhe");
  std::string many;
  for (uint32_t i = 0; i <= H1UpstreamCodec::kMostInterim; ++i) many += "HTTP/1.1 103 H\r\n\r\n";
  CHECK(answered(many).events.back() == 'b');
}

TEST_CASE("h1_upstream_codec: a response split at any octet is the same") {
  const std::string text =
      "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: "
      "1\r\n\r\n";
  for (size_t at = 1; at < text.size(); ++at) {
    CAPTURE(at);
    Codecs codecs;
    Input request = codecs.input("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    codecs.events(codecs.downstream, request, conf::Limits{});
    codecs.upstream.write_request(codecs.out, 0, codecs.workspace.request, {}, "");
    codecs.upstream.write_end(codecs.out, 0, nullptr);
    codecs.written();
    Input in = codecs.input(text.substr(0, at));
    std::string events = codecs.events(codecs.upstream, in);
    in = codecs.input(std::string(in.data, in.size) + text.substr(at));
    events += codecs.events(codecs.upstream, in);
    std::erase_if(events, [](char c) { return c == 'm' || c == '(' || c == ')'; });
    CHECK(events == "hhhelloe");
    CHECK(codecs.upstream.reusable());
  }
}
