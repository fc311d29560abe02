#include "proxy/listen_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "proxy/unix_path.h"

namespace sluice::proxy {
namespace {

constexpr int kBacklog = 4096;

conf::Error io_error(const std::string& what, int error) {
  std::string detail = what + ": " + std::strerror(error);
  if (error == EADDRINUSE) detail += "; another process listens there, stop it or choose another address";
  if (error == EACCES) detail += "; ports below 1024 need CAP_NET_BIND_SERVICE";
  if (error == EADDRNOTAVAIL) detail += "; no interface of this machine has the address";
  if (error == EMFILE) detail += "; raise the limit of open files";
  return {conf::Error::Kind::io, conf::Error::Source::system, false, detail};
}

union SocketAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

socklen_t fill(const conf::Address& address, SocketAddress& out) {
  std::memset(&out, 0, sizeof(out));
  if (inet_pton(AF_INET, address.host.c_str(), &out.v4.sin_addr) == 1) {
    out.v4.sin_family = AF_INET;
    out.v4.sin_port = htons(address.port);
    return sizeof(sockaddr_in);
  }
  if (inet_pton(AF_INET6, address.host.c_str(), &out.v6.sin6_addr) == 1) {
    out.v6.sin6_family = AF_INET6;
    out.v6.sin6_port = htons(address.port);
    return sizeof(sockaddr_in6);
  }
  return 0;
}

// A bound socket, or -errno.
int bound_socket(const SocketAddress& address, socklen_t size, bool reuse_port) {
  const int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (reuse_port) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
  if (bind(fd, &address.any, size) != 0) {
    const int error = errno;
    close(fd);
    return -error;
  }
  return fd;
}

uint16_t port_of(int fd) {
  SocketAddress address;
  socklen_t size = sizeof(address);
  if (getsockname(fd, &address.any, &size) != 0) return 0;
  return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

conf::Error fail(ListenSockets& sockets, const std::string& what, int error) {
  for (const int fd : sockets.fds) close(fd);
  sockets.fds.clear();
  return io_error(what, error);
}

std::string what_failed(const ListenSockets& sockets) {
  return "cannot listen on " + sockets.address.to_string();
}

bool may_share_port(int fd) {
  int on = 0;
  socklen_t size = sizeof(on);
  return getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, &size) == 0 && on != 0;
}

// Adds sockets of the same port, or descriptors of the same socket, up to `count`.
conf::Result<ListenSockets> fill_up(ListenSockets sockets, uint32_t count) {
  SocketAddress address;
  const socklen_t size = fill(sockets.address, address);
  const bool is_unix = sockets.address.kind == conf::Address::Kind::unix_socket;
  const bool one_for_all = is_unix || !may_share_port(sockets.fds.front());
  while (sockets.fds.size() < count) {
    const int fd =
        one_for_all ? fcntl(sockets.fds.front(), F_DUPFD_CLOEXEC, 0) : bound_socket(address, size, true);
    if (fd < 0) return fail(sockets, what_failed(sockets), one_for_all ? errno : -fd);
    sockets.fds.push_back(fd);
    if (!one_for_all && listen(fd, kBacklog) != 0) return fail(sockets, what_failed(sockets), errno);
  }
  return sockets;
}

conf::Result<ListenSockets> open_tcp(ListenSockets sockets, uint32_t count, PortUse use) {
  const std::string what = what_failed(sockets);
  SocketAddress address;
  const socklen_t size = fill(sockets.address, address);
  if (size == 0) return io_error(what, EINVAL);
  if (sockets.address.port != 0 && use == PortUse::alone) {
    const int probe = bound_socket(address, size, false);
    if (probe < 0) return fail(sockets, what, -probe);
    close(probe);
  }
  const int fd = bound_socket(address, size, true);
  if (fd < 0) return fail(sockets, what, -fd);
  sockets.fds.push_back(fd);
  if (listen(fd, kBacklog) != 0) return fail(sockets, what, errno);
  sockets.address.port = port_of(fd);
  return fill_up(std::move(sockets), count);
}

conf::Result<ListenSockets> open_unix(ListenSockets sockets, uint32_t count, std::optional<uint32_t> mode) {
  const conf::Result<int> fd = UnixPath::listen(sockets.address.host, mode, kBacklog);
  if (!fd.ok()) return fd.error();
  sockets.fds.push_back(*fd);
  return fill_up(std::move(sockets), count);
}

}  // namespace

conf::Result<ListenSockets> open_listen_sockets(const conf::Address& bind, uint32_t count, PortUse use,
                                                std::optional<uint32_t> unix_mode) {
  ListenSockets sockets;
  sockets.address = bind;
  return bind.kind == conf::Address::Kind::unix_socket ? open_unix(std::move(sockets), count, unix_mode)
                                                       : open_tcp(std::move(sockets), count, use);
}

conf::Result<ListenSockets> adopt_listen_sockets(std::vector<int> fds, const conf::Address& bind,
                                                 uint32_t count) {
  ListenSockets sockets{std::move(fds), bind};
  if (bind.kind != conf::Address::Kind::unix_socket) sockets.address.port = port_of(sockets.fds.front());
  return fill_up(std::move(sockets), count);
}

std::optional<conf::Address> bound_tcp_address(int fd) {
  int listening = 0;
  socklen_t size = sizeof(listening);
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0)
    return std::nullopt;
  SocketAddress address;
  size = sizeof(address);
  if (getsockname(fd, &address.any, &size) != 0) return std::nullopt;
  const bool v6 = address.any.sa_family == AF_INET6;
  if (!v6 && address.any.sa_family != AF_INET) return std::nullopt;
  char text[INET6_ADDRSTRLEN];
  const void* const host = v6 ? static_cast<const void*>(&address.v6.sin6_addr) : &address.v4.sin_addr;
  if (inet_ntop(address.any.sa_family, host, text, sizeof(text)) == nullptr) return std::nullopt;
  conf::Address bound;
  bound.host = text;
  bound.port = port_of(fd);
  return bound;
}

}  // namespace sluice::proxy
