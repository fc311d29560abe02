// floor_relay: what relaying costs when nothing is looked at.
//
//   floor_relay --listen 127.0.0.1:0 --upstream 127.0.0.1:9001
//
// One thread, edge-triggered epoll, one connection to the upstream for each
// client, one 64 KiB buffer for all: a read and a write for each piece and
// nothing else. Its CPU per request is the kernel's own price, against which
// the proxies are measured. Prints "listening ADDRESS" once it is.
//
//            read                         write
//   client  ------>  the one buffer  ------------------>  upstream
//                          |  what the socket refused
//                          '-> Side::pending, and no more reading from the
//                              other side until it is gone
//
// A FIN from one side is passed on to the other when all before it has been
// written (half-close); the session ends when both directions are done, or on
// the first error.
#include <sys/epoll.h>

#include <array>
#include <csignal>
#include <memory>
#include <vector>

#include "bench/net.h"

namespace sluice::bench {
namespace {

constexpr size_t kBufferBytes = 64 * 1024;
constexpr int kEventsAtOnce = 256;

struct Session;

// One socket of a session. `pending` waits to be written to it.
struct Side {
  int fd = -1;
  Session* session = nullptr;
  Side* other = nullptr;
  bool readable = false;     // no EAGAIN or short read since the last edge
  bool hangup_seen = false;  // a FIN is in the queue: read until it comes out
  bool read_done = false;
  bool write_done = false;
  size_t pending_at = 0;
  std::vector<char> pending = {};
};

struct Session {
  Side client;
  Side upstream;
  bool dead = false;
};

class Relay {
 public:
  Relay(int listener, SocketAddress upstream)
      : listener_(listener), upstream_(upstream), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (epoll_ < 0) die("epoll_create1", true);
    epoll_event event = {};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event);
  }

  [[noreturn]] void run() {
    std::array<epoll_event, kEventsAtOnce> events;
    for (;;) {
      const int count = epoll_wait(epoll_, events.data(), kEventsAtOnce, -1);
      for (int i = 0; i < count; ++i) {
        auto* side = static_cast<Side*>(events[static_cast<size_t>(i)].data.ptr);
        if (side == nullptr) {
          accept_all();
        } else if (!side->session->dead) {
          on_event(*side, events[static_cast<size_t>(i)].events);
        }
      }
      dead_.clear();
    }
  }

 private:
  void accept_all() {
    for (;;) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      const int upstream = start_connecting(upstream_);
      if (upstream < 0) {
        close(fd);
        continue;
      }
      set_no_delay(fd);
      auto* session = new Session;  // owned by its two registrations; end() takes it back
      session->client = {.fd = fd, .session = session, .other = &session->upstream};
      session->upstream = {.fd = upstream, .session = session, .other = &session->client};
      watch(session->client);
      watch(session->upstream);
    }
  }

  void watch(Side& side) {
    epoll_event event = {};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.ptr = &side;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, side.fd, &event) != 0) die("epoll_ctl", true);
  }

  void on_event(Side& side, uint32_t events) {
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) side.hangup_seen = true;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) side.readable = true;
    bool ok = true;
    if (!side.pending.empty() && (events & EPOLLOUT)) ok = flush(side) && pump(*side.other);
    if (ok && side.readable) ok = pump(side);
    Session& session = *side.session;
    if (!ok || (session.client.write_done && session.upstream.write_done)) end(session);
  }

  // Writes what is pending to `side`. False: the connection broke.
  static bool flush(Side& side) {
    while (side.pending_at < side.pending.size()) {
      const ssize_t n =
          write(side.fd, side.pending.data() + side.pending_at, side.pending.size() - side.pending_at);
      if (n < 0) return would_block();
      side.pending_at += static_cast<size_t>(n);
    }
    side.pending.clear();
    side.pending_at = 0;
    return true;
  }

  // Moves bytes from `from` to its other side until either will take no more.
  bool pump(Side& from) {
    Side& to = *from.other;
    while (from.readable && !from.read_done && to.pending.empty()) {
      const ssize_t n = read(from.fd, buffer_.data(), buffer_.size());
      if (n < 0) {
        if (!would_block()) return false;
        from.readable = false;
      } else if (n == 0) {
        from.read_done = true;
      } else {
        if (!forward(to, static_cast<size_t>(n))) return false;
        // A short read means an empty queue; the next bytes make an edge.
        if (static_cast<size_t>(n) < buffer_.size() && !from.hangup_seen) from.readable = false;
      }
    }
    if (from.read_done && to.pending.empty() && !to.write_done) {
      to.write_done = true;
      shutdown(to.fd, SHUT_WR);
    }
    return true;
  }

  // Writes the first `size` bytes of the buffer; keeps what is refused.
  bool forward(Side& to, size_t size) {
    const ssize_t n = write(to.fd, buffer_.data(), size);
    if (n < 0 && !would_block()) return false;
    const size_t written = n < 0 ? 0 : static_cast<size_t>(n);
    if (written < size) to.pending.assign(buffer_.data() + written, buffer_.data() + size);
    return true;
  }

  // Events of this session may still be in the batch, so it is only marked
  // here and destroyed when the batch is through.
  void end(Session& session) {
    session.dead = true;
    close(session.client.fd);
    close(session.upstream.fd);
    dead_.emplace_back(&session);
  }

  const int listener_;
  const SocketAddress upstream_;
  const int epoll_;
  std::array<char, kBufferBytes> buffer_;
  std::vector<std::unique_ptr<Session>> dead_;
};

int run(int argc, char** argv) {
  std::string listen;
  std::string upstream;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--listen") listen = argv[i + 1];
    if (flag == "--upstream") upstream = argv[i + 1];
  }
  if (listen.empty() || upstream.empty()) die("usage: floor_relay --listen ADDRESS --upstream ADDRESS");
  signal(SIGPIPE, SIG_IGN);
  raise_descriptor_limit();
  const int listener = listen_on(parse_address(listen), listen);
  std::printf("listening %s\n", bound_address(listener).c_str());
  std::fflush(stdout);
  auto relay = std::make_unique<Relay>(listener, parse_address(upstream));
  relay->run();
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  return sluice::bench::run(argc, argv);
}
