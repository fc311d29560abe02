#include "proxy/accepting_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <catch2/catch.hpp>

namespace sluice::proxy {
namespace {

sockaddr_in loopback() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

sockaddr_in name_of(int fd) {
  sockaddr_in name{};
  socklen_t size = sizeof(name);
  REQUIRE(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) == 0);
  return name;
}

TEST_CASE("accepting socket: what it takes sends without delay, does not block, and says whence it comes") {
  Loop loop(1);
  {
    AcceptingSocket listening(loop, [] {});
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    listening.adopt(fd);
    sockaddr_in address = loopback();
    REQUIRE(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(listen(fd, 8) == 0);
    CHECK(listening.accept() == -1);

    address = name_of(fd);
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

}  // namespace
}  // namespace sluice::proxy
