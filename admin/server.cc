#include "admin/server.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "conf/address.h"
#include "proxy/listen_socket.h"

namespace sluice::admin {
namespace {

constexpr int kBacklog = 128;

conf::Error failure(const std::string& path, int error) {
  std::string detail = fmt::format("cannot listen on the admin socket {}: {}", path, std::strerror(error));
  if (error == ENOENT) detail += "; make its directory first";
  if (error == EACCES) detail += "; choose a directory that this user may write to";
  return {conf::Error::Kind::io, conf::Error::Source::system, false, std::move(detail)};
}

std::string credentials_of(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return "unknown";
  return fmt::format("uid {} pid {}", peer.uid, peer.pid);
}

}  // namespace

Server::Server(proxy::Control& control)
    : control_(control),
      commands_(make_command_table()),
      waits_(control),
      history_(control),
      context_{control, commands_, waits_, history_, {}},
      socket_(control.loop(), [this] { socket_.accept_some([this](int client) { begin(client); }); }) {}

// The inode is born with the descriptor's mode, less the umask, so that the
// path is at no time wider than wanted; and nobody connects before listen().
conf::Status Server::bind(uint32_t mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path_.size() > conf::kMaxSocketPath) return failure(path_, ENAMETOOLONG);
  std::memcpy(address.sun_path, path_.c_str(), path_.size() + 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return failure(path_, errno);
  socket_.adopt(fd);
  if (fchmod(fd, mode) != 0 ||
      ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return failure(path_, errno);
  }
  if (chmod(path_.c_str(), mode) != 0 || listen(fd, kBacklog) != 0) {
    const int error = errno;
    unlink(path_.c_str());
    return failure(path_, error);
  }
  return conf::Done{};
}

conf::Status Server::start(const std::string& path, uint32_t mode) {
  path_ = path;
  const proxy::Loop::Scope scope(control_.loop());
  if (const std::optional<int> fd = control_.inherited(sockets().name); fd) {
    socket_.adopt(*fd);
  } else {
    if (const conf::Status cleared = proxy::clear_unix_path(path); !cleared.ok()) return cleared.error();
    if (const conf::Status bound = bind(mode); !bound.ok()) return bound.error();
  }
  if (lstat(path_.c_str(), &bound_) != 0) return failure(path_, errno);
  history_.start();
  control_.on_stop([this] { close(); });
  return control_.add_part(*this);
}

proxy::NamedSockets Server::sockets() const {
  return {"admin " + path_, {socket_.fd()}};
}

conf::Status Server::begin() {
  socket_.begin();
  return conf::Done{};
}

void Server::pause() {
  socket_.pause();
  for (const auto& session : sessions_) session->close();
}

void Server::begin(int client) {
  auto stream = proxy::UvStream::of_accepted(control_.loop(), proxy::UvStream::Kind::unix_socket, client);
  if (stream == nullptr) return;
  if (sessions_.size() >= kMostSessions && !make_room()) {
    const std::string text =
        render(Refusal{"unavailable", fmt::format("{} admin sessions are busy, which is the most; "
                                                  "end one or try again",
                                                  kMostSessions)},
               Format::text) +
        "\n\n";
    const iovec slice{const_cast<char*>(text.data()), text.size()};
    stream->write(&slice, 1);
    proxy::UvStream::discard(std::move(stream));
    return;
  }
  sessions_.push_back(std::make_unique<Session>(
      context_, std::move(stream), client, credentials_of(client), [this](Session* session) {
        std::erase_if(sessions_, [session](const auto& one) { return one.get() == session; });
      }));
  sessions_.back()->start();
}

// Whoever only holds a place gives it to whoever wants something: the one that
// has been idle longest.
bool Server::make_room() {
  Session* idlest = nullptr;
  for (const auto& session : sessions_) {
    const std::optional<uint64_t> since_us = session->idle_since_us();
    if (since_us && (idlest == nullptr || *since_us < *idlest->idle_since_us())) idlest = session.get();
  }
  if (idlest == nullptr) return false;
  idlest->make_room();
  return true;
}

void Server::close() {
  struct stat now {};
  if (control_.owns_paths() && lstat(path_.c_str(), &now) == 0 && now.st_dev == bound_.st_dev &&
      now.st_ino == bound_.st_ino) {
    unlink(path_.c_str());
  }
  pause();
  waits_.close();
}

}  // namespace sluice::admin
