#include "proxy/accepting_socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <vector>

#include "tests/proxy/loopback.h"

namespace sluice::proxy {
namespace {

using test::listen_on_loopback;
using test::name_of;

TEST_CASE("accepting socket: what it takes sends without delay, does not block, and says whence it comes") {
  Loop loop(1);
  {
    AcceptingSocket listening(loop, [] {});
    const sockaddr_in address = listen_on_loopback(listening, 8);
    CHECK(listening.accept() == -1);

    const int client = socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    sockaddr_storage peer{};
    const int taken = listening.accept(&peer);
    REQUIRE(taken >= 0);
    int no_delay = 0;
    socklen_t size = sizeof(no_delay);
    REQUIRE(getsockopt(taken, IPPROTO_TCP, TCP_NODELAY, &no_delay, &size) == 0);
    CHECK(no_delay != 0);
    char octet = 0;
    CHECK(recv(taken, &octet, 1, 0) == -1);
    CHECK(errno == EAGAIN);
    CHECK(reinterpret_cast<const sockaddr_in&>(peer).sin_port == name_of(client).sin_port);
    close(taken);
    close(client);
  }
  CHECK(loop.close() == 0);
}

TEST_CASE("accepting socket: asks not each time how many wait where it was one alone") {
  Loop loop(1);
  {
    AcceptingSocket listening(loop, [] {});
    const sockaddr_in address = listen_on_loopback(listening, 8);
    CHECK(listening.waiting() == 1);
    std::vector<int> clients;
    for (int i = 0; i < 3; ++i) {
      clients.push_back(socket(AF_INET, SOCK_STREAM, 0));
      REQUIRE(connect(clients.back(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    }
    for (unsigned i = 0; i < AcceptingSocket::kTakenForAlone; ++i) CHECK(listening.waiting() == 1);
    while (listening.waiting() < 3) sched_yield();  // a handshake may end a moment after connect()
    CHECK(listening.waiting() == 3);                // and several are counted each time
    for (const int client : clients) close(client);
  }
  CHECK(loop.close() == 0);
}

TEST_CASE("accepting socket: says how many wait, and to look where it is not known") {
  Loop loop(1);
  {
    AcceptingSocket listening(loop, [] {});
    const sockaddr_in address = listen_on_loopback(listening, 2 * AcceptingSocket::kMostAtOnce);
    CHECK(listening.waiting() == 1);  // whoever asks was told of one
    std::vector<int> clients;
    const auto connect_one = [&] {
      clients.push_back(socket(AF_INET, SOCK_STREAM, 0));
      REQUIRE(connect(clients.back(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    };
    const auto await = [&](size_t count) {  // a handshake may end a moment after connect()
      while (listening.waiting() < count) sched_yield();
      CHECK(listening.waiting() == count);
    };
    for (int i = 0; i < 3; ++i) connect_one();
    await(3);
    size_t taken = 0;
    const auto take = [&](int client) {
      ++taken;
      close(client);
    };
    listening.accept_some(take);
    CHECK(taken == 3);
    for (size_t i = 0; i < AcceptingSocket::kMostAtOnce + 5; ++i) connect_one();
    await(AcceptingSocket::kMostAtOnce);
    listening.accept_some(take);
    await(5);
    listening.accept_some(take);
    CHECK(taken == 3 + AcceptingSocket::kMostAtOnce + 5);
    for (const int client : clients) close(client);
  }
  {
    AcceptingSocket local(loop, [] {});
    local.adopt(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    CHECK(local.waiting() == AcceptingSocket::kMostAtOnce);
  }
  CHECK(loop.close() == 0);
}

}  // namespace
}  // namespace sluice::proxy
