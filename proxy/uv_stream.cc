#include "proxy/uv_stream.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <utility>

namespace sluice::proxy {

UvStream::UvStream(Loop& loop, Kind kind)
    : loop_(loop), kind_(kind), failure_([](void* self) { static_cast<UvStream*>(self)->fail_now(); }, this) {
  if (kind == Kind::tcp) {
    uv_tcp_init(loop.uv(), &handle_.tcp);
  } else {
    uv_pipe_init(loop.uv(), &handle_.pipe, 0);
  }
  handle()->data = this;
}

UvStream::~UvStream() {
  assert(closing());
  loop_.let_go_bytes(pending());
}

std::unique_ptr<UvStream> UvStream::of_accepted(Loop& loop, Kind kind, int fd) {
  auto stream = std::make_unique<UvStream>(loop, kind);
  const int error =
      kind == Kind::tcp ? uv_tcp_open(&stream->handle_.tcp, fd) : uv_pipe_open(&stream->handle_.pipe, fd);
  if (error != 0) {
    ::close(fd);
    discard(std::move(stream));
    return nullptr;
  }
  return stream;
}

void UvStream::connect(const conf::Address& address) {
  connecting_ = std::make_unique<uv_connect_t>();
  connecting_->data = this;
  if (kind_ == Kind::unix_socket) {
    uv_pipe_connect(connecting_.get(), &handle_.pipe, address.host.c_str(), on_connect);
    return;
  }
  sockaddr_storage target{};
  int error = 0;
  if (address.host.find(':') == std::string::npos) {
    error = uv_ip4_addr(address.host.c_str(), address.port, reinterpret_cast<sockaddr_in*>(&target));
  } else {
    error = uv_ip6_addr(address.host.c_str(), address.port, reinterpret_cast<sockaddr_in6*>(&target));
  }
  if (error == 0) {
    error = uv_tcp_connect(connecting_.get(), &handle_.tcp, reinterpret_cast<const sockaddr*>(&target),
                           on_connect);
  }
  if (error != 0) fail_later(error);
}

void UvStream::on_connect(uv_connect_t* request, int status) {
  auto& self = *static_cast<UvStream*>(request->data);
  if (self.closing()) return;
  const Loop::Scope scope(self.loop_);
  self.connecting_.reset();
  if (status == 0 && self.kind_ == Kind::tcp) uv_tcp_nodelay(&self.handle_.tcp, 1);
  self.handler_->on_connected(status);
}

void UvStream::start_reading() {
  if (reading_ || closing()) return;
  reading_ = true;
  if (const int error = uv_read_start(handle(), on_alloc, on_read); error != 0) fail_later(error);
}

void UvStream::stop_reading() {
  if (!reading_) return;
  halt_reading();
  if (error_ != 0) loop_.defer(failure_);  // nothing else would tell of it now
}

void UvStream::halt_reading() {
  reading_ = false;
  uv_read_stop(handle());
}

void UvStream::on_alloc(uv_handle_t* handle, size_t, uv_buf_t* buffer) {
  Loop& loop = static_cast<UvStream*>(handle->data)->loop_;
  buffer->base = loop.read_buffer();
  buffer->len = loop.read_bytes();
}

void UvStream::on_read(uv_stream_t* handle, ssize_t size, const uv_buf_t* buffer) {
  auto& self = *static_cast<UvStream*>(handle->data);
  if (size == 0 || self.closing()) return;
  const Loop::Scope scope(self.loop_);
  if (size > 0) {
    self.handler_->on_read(buffer->base, static_cast<size_t>(size));
    return;
  }
  self.halt_reading();
  // When data and a reset arrive together libuv reports the end of the data as
  // an orderly end; the socket, or a write that failed, knows better.
  if (size == UV_EOF) size = self.error_ != 0 ? self.error_ : self.socket_error();
  if (size == 0) {
    self.handler_->on_read_end();
  } else {
    self.handler_->on_stream_error(static_cast<int>(size));
  }
}

// What the kernel holds against the socket: a libuv error or 0.
int UvStream::socket_error() const {
  uv_os_fd_t fd = -1;
  int error = 0;
  socklen_t size = sizeof(error);
  if (uv_fileno(reinterpret_cast<const uv_handle_t*>(&handle_), &fd) != 0) return 0;
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? -error : 0;
}

size_t UvStream::pending() const {
  return output_ == nullptr ? 0 : output_->writing.size() + output_->waiting.size();
}

void UvStream::write(const iovec* slices, int count) {
  if (closing() || error_ != 0) return;
  size_t total = 0;
  for (int i = 0; i < count; ++i) total += slices[i].iov_len;
  size_t written = 0;
  if (output_ == nullptr) {
    const ssize_t result = write_now(slices, count);
    if (result < 0 && result != UV_EAGAIN) {
      fail_write(static_cast<int>(result));
      return;
    }
    written = result > 0 ? static_cast<size_t>(result) : 0;
    if (written == total) return;
  }
  keep(slices, count, written);
  if (!output_->in_flight) write_waiting();
}

// How many octets the kernel took, or a libuv error. MSG_MORE (send(2)) keeps
// those that are less than a segment until more is sent, or the end.
ssize_t UvStream::write_now(const iovec* slices, int count) {
  uv_os_fd_t fd = -1;
  if (!held_ || uv_fileno(reinterpret_cast<const uv_handle_t*>(&handle_), &fd) != 0) {
    static_assert(sizeof(uv_buf_t) == sizeof(iovec));
    return uv_try_write(handle(), reinterpret_cast<const uv_buf_t*>(slices), static_cast<unsigned>(count));
  }
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(slices);
  message.msg_iovlen = static_cast<size_t>(count);
  const ssize_t result = sendmsg(fd, &message, MSG_MORE | MSG_DONTWAIT | MSG_NOSIGNAL);
  if (result >= 0) return result;
  return errno == EINTR || errno == ENOBUFS ? UV_EAGAIN : uv_translate_sys_error(errno);
}

// Copies all but the first `skip` octets to the end of what waits.
void UvStream::keep(const iovec* slices, int count, size_t skip) {
  if (output_ == nullptr) output_ = std::make_unique<Output>();
  const size_t before = pending();
  for (int i = 0; i < count; ++i) {
    const size_t skipped = std::min(skip, slices[i].iov_len);
    skip -= skipped;
    const char* const begin = static_cast<const char*>(slices[i].iov_base) + skipped;
    output_->waiting.insert(output_->waiting.end(), begin, begin + (slices[i].iov_len - skipped));
  }
  loop_.keep_bytes(pending() - before);
  if (pending() >= kLowWatermark) output_->above_low = true;
}

void UvStream::write_waiting() {
  std::swap(output_->writing, output_->waiting);
  output_->waiting.clear();
  output_->in_flight = true;
  output_->request.data = this;
  const uv_buf_t buffer =
      uv_buf_init(output_->writing.data(), static_cast<unsigned>(output_->writing.size()));
  const int error = uv_write(&output_->request, handle(), &buffer, 1, on_written);
  if (error != 0) {
    output_->in_flight = false;
    fail_write(error);
  }
}

void UvStream::on_written(uv_write_t* request, int status) {
  auto& self = *static_cast<UvStream*>(request->data);
  if (self.closing()) return;
  const Loop::Scope scope(self.loop_);
  Output& output = *self.output_;
  output.in_flight = false;
  self.loop_.let_go_bytes(output.writing.size());
  output.writing.clear();
  if (status != 0) {
    self.fail_write(status);
    return;
  }
  if (!output.waiting.empty()) self.write_waiting();
  const bool drained = output.above_low && self.pending() < kLowWatermark;
  if (drained) output.above_low = false;
  const bool all_out = self.pending() == 0;
  if (all_out) {
    self.output_.reset();
    if (self.shutdown_wanted_) self.shutdown_write();
  }
  if (drained || all_out) self.handler_->on_drained();
}

void UvStream::shutdown_write() {
  if (closing() || shut_) return;
  shutdown_wanted_ = true;
  if (output_ != nullptr) return;
  uv_os_fd_t fd = -1;
  if (uv_fileno(reinterpret_cast<uv_handle_t*>(handle()), &fd) == 0) ::shutdown(fd, SHUT_WR);
  shut_ = true;
}

void UvStream::fail_later(int error) {
  if (error_ == 0) error_ = error;
  loop_.defer(failure_);
}

// The peer may have answered before it broke the connection, and its answer lie
// in the kernel: it is read first, and what ends it is this error.
void UvStream::fail_write(int error) {
  if (error_ == 0) error_ = error;
  if (!reading_) loop_.defer(failure_);
}

void UvStream::fail_now() {
  if (closing()) return;
  if (reading_) halt_reading();
  if (connecting_ != nullptr) {
    handler_->on_connected(error_);
  } else {
    handler_->on_stream_error(error_);
  }
}

void UvStream::close() {
  if (closing()) return;
  reading_ = false;
  // What is held goes out with the end here; where there is input that nobody read,
  // close(2) would throw it away.
  if (held_ && !shut_) shutdown_write();
  uv_close(reinterpret_cast<uv_handle_t*>(handle()), on_closed);
}

void UvStream::reset() {
  if (closing()) return;
  reading_ = false;
  // Refused while a shutdown is under way; an orderly close must do then.
  if (kind_ != Kind::tcp || uv_tcp_close_reset(&handle_.tcp, on_closed) != 0) close();
}

bool UvStream::has_news() const {
  uv_os_fd_t fd = -1;
  if (closing() || uv_fileno(reinterpret_cast<const uv_handle_t*>(&handle_), &fd) != 0) return true;
  char octet = 0;
  const ssize_t size = recv(fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT);
  return size >= 0 || (errno != EAGAIN && errno != EINTR);
}

UvStream::FarEnd UvStream::far_end() const {
  pollfd query{-1, POLLRDHUP, 0};
  if (closing() || uv_fileno(reinterpret_cast<const uv_handle_t*>(&handle_), &query.fd) != 0)
    return FarEnd::gone;
  if (poll(&query, 1, 0) != 1) return FarEnd::open;
  return (query.revents & (POLLHUP | POLLERR)) != 0 ? FarEnd::gone : FarEnd::ended;
}

void UvStream::discard(std::unique_ptr<UvStream> stream) {
  stream->set_handler(nullptr);
  stream.release()->close();
}

void UvStream::on_closed(uv_handle_t* handle) {
  auto& self = *static_cast<UvStream*>(handle->data);
  if (self.handler_ == nullptr) {
    delete &self;
    return;
  }
  const Loop::Scope scope(self.loop_);
  self.handler_->on_stream_closed();
}

}  // namespace sluice::proxy
