#include "proxy/accepting_socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace sluice::proxy {

AcceptingSocket::~AcceptingSocket() {
  close();
}

void AcceptingSocket::close() {
  pause();
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void AcceptingSocket::begin() {
  accepting_ = true;
  watch();
}

void AcceptingSocket::pause() {
  accepting_ = false;
  rest_.disarm();
  unwatch();
}

void AcceptingSocket::adopt(int fd) {
  fd_ = fd;
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));  // fails on a unix socket, which needs it not
}

void AcceptingSocket::watch() {
  if (poll_ != nullptr) return;
  poll_ = new Poll{{}, this};
  if (uv_poll_init(loop_.uv(), &poll_->handle, fd_) != 0) {
    delete std::exchange(poll_, nullptr);
    loop_.arm(rest_, kRestMs);
    return;
  }
  poll_->handle.data = poll_;
  uv_poll_start(&poll_->handle, UV_READABLE, [](uv_poll_t* handle, int, int) {
    AcceptingSocket& self = *static_cast<Poll*>(handle->data)->socket;
    const Loop::Scope scope(self.loop_);
    self.ready_();
  });
}

void AcceptingSocket::unwatch() {
  if (poll_ == nullptr) return;
  uv_close(reinterpret_cast<uv_handle_t*>(&std::exchange(poll_, nullptr)->handle),
           [](uv_handle_t* closed) { delete static_cast<Poll*>(closed->data); });
}

// Of a socket that listens tcpi_unacked is the length of the queue.
size_t AcceptingSocket::waiting() {
  if (taken_for_alone_ > 0) {
    --taken_for_alone_;
    return 1;
  }
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (getsockopt(fd_, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return kMostAtOnce;
  if (info.tcpi_unacked <= 1) taken_for_alone_ = kTakenForAlone;
  return std::clamp<size_t>(info.tcpi_unacked, 1, kMostAtOnce);
}

// What else accept4() says is of one connection that came to nothing, and the
// next may be a good one (accept(2), "Error handling").
int AcceptingSocket::accept(sockaddr_storage* peer) {
  for (size_t tries = 0; tries < kMostAtOnce; ++tries) {
    socklen_t size = sizeof(*peer);
    const int client = accept4(fd_, reinterpret_cast<sockaddr*>(peer), peer == nullptr ? nullptr : &size,
                               SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client >= 0) return client;
    switch (errno) {
      case EAGAIN:
        return -1;
      case EMFILE:
      case ENFILE:
      case ENOBUFS:
      case ENOMEM:
        if (!accepting_) return -1;
        unwatch();
        loop_.arm(rest_, kRestMs);
        return -1;
      default:
        break;
    }
  }
  return -1;
}

}  // namespace sluice::proxy
