#include "proxy/uv_stream.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <functional>
#include <string>
#include <string_view>

#include "proxy/accepting_socket.h"
#include "tests/proxy/loopback.h"
#include "tests/proxy/tcp_segments.h"

namespace sluice::proxy {
namespace {

struct ClosingHandler final : Stream::Handler {
  explicit ClosingHandler(Loop& its_loop) : loop(its_loop) {}
  void on_read(char*, size_t) override {}
  void on_read_end() override {}
  void on_stream_error(int) override {}
  void on_drained() override {}
  void on_stream_closed() override {
    closed = true;
    loop.stop();
  }
  Loop& loop;
  bool closed = false;
};

std::string read_all(int fd) {
  std::string text;
  char octets[4096];
  ssize_t got = 0;
  while ((got = recv(fd, octets, sizeof(octets), 0)) > 0) text.append(octets, static_cast<size_t>(got));
  return text;
}

// What a client of a socket sees of a stream that `serve` answers and closes.
struct Seen {
  std::string text;
  uint32_t segments = 0;
};

Seen seen_by_client(const std::function<void(Stream&, int client)>& serve, std::string_view asked = "") {
  Seen seen;
  Loop loop(1);
  {
    AcceptingSocket listening(loop, [] {});
    const sockaddr_in address = test::listen_on_loopback(listening, 1);
    const int client = socket(AF_INET, SOCK_STREAM, 0);
    const timeval most{10, 0};  // then what did not come is missed
    REQUIRE(setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most)) == 0);
    REQUIRE(connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(send(client, asked.data(), asked.size(), 0) == static_cast<ssize_t>(asked.size()));

    auto stream = UvStream::of_accepted(loop, UvStream::Kind::tcp, listening.accept());
    REQUIRE(stream != nullptr);
    ClosingHandler handler(loop);
    stream->set_handler(&handler);
    serve(*stream, client);
    loop.run();
    CHECK(handler.closed);

    seen.text = read_all(client);
    seen.segments = test::segments_received(client);
    close(client);
  }
  CHECK(loop.close() == 0);
  return seen;
}

void write(Stream& stream, std::string_view text) {
  const iovec slice{const_cast<char*>(text.data()), text.size()};
  stream.write(&slice, 1);
}

TEST_CASE("uv stream: what is held for the end is one segment with it") {
  const Seen apart = seen_by_client([](Stream& stream, int) {
    write(stream, "an answer");
    stream.close();
  });
  const Seen together = seen_by_client([](Stream& stream, int) {
    stream.hold_for_end();
    write(stream, "an ");
    write(stream, "answer");
    stream.close();
  });
  CHECK(apart.text == "an answer");
  CHECK(together.text == "an answer");
  CHECK(together.segments + 1 == apart.segments);
}

TEST_CASE("uv stream: what is held goes out with the end of writing, before the stream is closed") {
  std::string before_close;
  seen_by_client([&before_close](Stream& stream, int client) {
    stream.hold_for_end();
    write(stream, "an answer");
    stream.shutdown_write();
    before_close = read_all(client);
    stream.close();
  });
  CHECK(before_close == "an answer");
}

TEST_CASE("uv stream: input that nobody read destroys nothing that was held") {
  const Seen seen = seen_by_client(
      [](Stream& stream, int) {
        stream.hold_for_end();
        write(stream, "an answer");
        stream.close();
      },
      "never read");
  CHECK(seen.text == "an answer");
}

}  // namespace
}  // namespace sluice::proxy
