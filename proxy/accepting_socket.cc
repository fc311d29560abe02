#include "proxy/accepting_socket.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace sluice::proxy {

AcceptingSocket::~AcceptingSocket() {
  if (fd_ >= 0) close(fd_);
}

int AcceptingSocket::begin() {
  constexpr int kBacklog = 128;
  if (handle_ != nullptr) return 0;
  const int copy = fcntl(fd_, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return -errno;
  handle_ = new Handle;
  handle_->socket = this;
  auto* const stream = reinterpret_cast<uv_stream_t*>(&handle_->of);
  int error = 0;
  if (is_unix_) {
    uv_pipe_init(loop_.uv(), &handle_->of.pipe, 0);
    error = uv_pipe_open(&handle_->of.pipe, copy);
  } else {
    uv_tcp_init(loop_.uv(), &handle_->of.tcp);
    error = uv_tcp_open(&handle_->of.tcp, copy);
  }
  stream->data = handle_;
  if (error != 0) {
    close(copy);
  } else {
    error = uv_listen(stream, kBacklog, [](uv_stream_t* listener, int status) {
      AcceptingSocket& self = *static_cast<Handle*>(listener->data)->socket;
      const Loop::Scope scope(self.loop_);
      if (status == 0) self.accept_(listener);
    });
  }
  if (error != 0) pause();
  return error;
}

void AcceptingSocket::pause() {
  if (handle_ == nullptr) return;
  uv_close(reinterpret_cast<uv_handle_t*>(&std::exchange(handle_, nullptr)->of),
           [](uv_handle_t* closed) { delete static_cast<Handle*>(closed->data); });
}

}  // namespace sluice::proxy
