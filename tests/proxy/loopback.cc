#include "tests/proxy/loopback.h"

#include <sys/socket.h>

#include <catch2/catch.hpp>

namespace sluice::proxy::test {

sockaddr_in name_of(int fd) {
  sockaddr_in name{};
  socklen_t size = sizeof(name);
  REQUIRE(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) == 0);
  return name;
}

sockaddr_in listen_on_loopback(AcceptingSocket& listening, int backlog) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  listening.adopt(fd);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(listen(fd, backlog) == 0);
  return name_of(fd);
}

}  // namespace sluice::proxy::test
