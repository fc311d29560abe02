// Sockets for the benchmark programs: addresses, listening, connecting.
//
// These programs run for one measurement and then die, so anything that goes
// wrong while they set up ends them with a message. All sockets are made
// non-blocking; TCP ones carry TCP_NODELAY, as a proxy's do.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace sluice::bench {

[[noreturn]] inline void die(const std::string& what, bool with_errno = false) {
  std::fprintf(stderr, "%s%s%s\n", what.c_str(), with_errno ? ": " : "", with_errno ? strerror(errno) : "");
  std::exit(1);
}

struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t length = 0;

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  bool is_tcp() const { return storage.ss_family != AF_UNIX; }
};

// "127.0.0.1:8080" (port 0: any free one) or "unix:/run/app.sock".
inline SocketAddress parse_address(const std::string& text) {
  SocketAddress address;
  if (text.rfind("unix:", 0) == 0) {
    auto* un = reinterpret_cast<sockaddr_un*>(&address.storage);
    const std::string path = text.substr(5);
    if (path.empty() || path.size() >= sizeof(un->sun_path)) die("bad socket path: " + text);
    un->sun_family = AF_UNIX;
    std::memcpy(un->sun_path, path.c_str(), path.size() + 1);
    address.length = sizeof(sockaddr_un);
    return address;
  }
  auto* in = reinterpret_cast<sockaddr_in*>(&address.storage);
  const size_t colon = text.rfind(':');
  in->sin_family = AF_INET;
  if (colon == std::string::npos || inet_pton(AF_INET, text.substr(0, colon).c_str(), &in->sin_addr) != 1) {
    die("bad address: " + text);
  }
  in->sin_port = htons(static_cast<uint16_t>(std::strtoul(text.c_str() + colon + 1, nullptr, 10)));
  address.length = sizeof(sockaddr_in);
  return address;
}

inline void set_no_delay(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

inline int listen_on(const SocketAddress& address, const std::string& text) {
  const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket", true);
  const int on = 1;
  if (address.is_tcp()) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  } else {
    unlink(reinterpret_cast<const sockaddr_un*>(&address.storage)->sun_path);
  }
  if (bind(fd, address.get(), address.length) != 0 || listen(fd, SOMAXCONN) != 0) die(text, true);
  return fd;
}

// The address that a listening TCP socket really has, as text.
inline std::string bound_address(int fd) {
  sockaddr_in in = {};
  socklen_t length = sizeof(in);
  getsockname(fd, reinterpret_cast<sockaddr*>(&in), &length);
  char host[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
  return std::string(host) + ":" + std::to_string(ntohs(in.sin_port));
}

// A socket on its way to `address`; it is writable once connected. -1: refused
// at once, errno says why.
inline int start_connecting(const SocketAddress& address) {
  const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (address.is_tcp()) set_no_delay(fd);
  if (connect(fd, address.get(), address.length) == 0 || errno == EINPROGRESS) return fd;
  const int saved = errno;
  close(fd);
  errno = saved;
  return -1;
}

inline bool would_block() {
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

// As many descriptors as the system lets this process have.
inline void raise_descriptor_limit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace sluice::bench
