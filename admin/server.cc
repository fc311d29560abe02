#include "admin/server.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <optional>
#include <utility>

#include "proxy/uv_stream.h"

namespace sluice::admin {
namespace {

constexpr int kBacklog = 128;

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

conf::Status Server::start(const std::string& path, uint32_t mode) {
  path_ = path;
  const proxy::Loop::Scope scope(control_.loop());
  if (const std::optional<int> fd = control_.inherited(sockets().name); fd) {
    socket_.adopt(*fd);
  } else {
    const conf::Result<int> opened = proxy::UnixPath::listen(path, mode, kBacklog);
    if (!opened.ok()) return opened.error();
    socket_.adopt(*opened);
  }
  bound_ = proxy::UnixPath::of(path);
  turns_.emplace(control_.loop());
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
  for (const auto& session : sessions_) session->finish();
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
      context_, *turns_, std::move(stream), client, credentials_of(client), [this](Session* session) {
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
  if (control_.owns_paths()) bound_.remove();
  pause();
  turns_->close();
  waits_.close();
}

}  // namespace sluice::admin
