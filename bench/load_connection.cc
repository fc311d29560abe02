#include "bench/load_connection.h"

namespace sluice::bench {

LoadConnection::LoadConnection(const SocketAddress& address, SSL_CTX* tls) : fd_(start_connecting(address)) {
  if (fd_ < 0 || tls == nullptr) return;
  ssl_ = SSL_new(tls);
  SSL_set_fd(ssl_, fd_);
  SSL_set_connect_state(ssl_);
}

LoadConnection::~LoadConnection() {
  if (ssl_ != nullptr) {
    SSL_shutdown(ssl_);
    SSL_free(ssl_);
  }
  if (fd_ >= 0) close(fd_);
}

bool LoadConnection::send(const std::string& request) {
  state_ = State::head;
  head_.clear();
  status_ = 0;
  bytes_ = 0;
  must_close_ = false;
  const auto size = static_cast<ssize_t>(request.size());
  if (ssl_ != nullptr) return SSL_write(ssl_, request.data(), static_cast<int>(size)) == size;
  return ::send(fd_, request.data(), request.size(), MSG_NOSIGNAL) == size;
}

LoadConnection::Event LoadConnection::on_event(char* scratch, size_t scratch_bytes) {
  if (state_ == State::connecting) {
    const Event event = on_connecting();
    if (event != Event::nothing || state_ == State::connecting) return event;
  }
  if (state_ == State::handshaking) return on_handshake();
  for (;;) {
    const ssize_t n = receive(scratch, scratch_bytes);
    if (n == -1) return Event::nothing;
    if (n == -2) return Event::broken;
    if (n == 0) return on_end();
    const Event event = on_bytes(scratch, static_cast<size_t>(n));
    if (event != Event::nothing) return event;
  }
}

LoadConnection::Event LoadConnection::on_connecting() {
  int error = 0;
  socklen_t length = sizeof(error);
  getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) return Event::broken;
  sockaddr_storage peer;
  socklen_t peer_length = sizeof(peer);
  if (getpeername(fd_, reinterpret_cast<sockaddr*>(&peer), &peer_length) != 0) return Event::nothing;
  state_ = ssl_ == nullptr ? State::idle : State::handshaking;
  return ssl_ == nullptr ? Event::ready : Event::nothing;
}

LoadConnection::Event LoadConnection::on_handshake() {
  const int result = SSL_do_handshake(ssl_);
  if (result == 1) {
    state_ = State::idle;
    return Event::ready;
  }
  const int error = SSL_get_error(ssl_, result);
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? Event::nothing : Event::broken;
}

ssize_t LoadConnection::receive(char* buffer, size_t size) {
  if (ssl_ == nullptr) {
    const ssize_t n = recv(fd_, buffer, size, 0);
    return n >= 0 ? n : would_block() ? -1 : -2;
  }
  const int n = SSL_read(ssl_, buffer, static_cast<int>(size));
  if (n > 0) return n;
  switch (SSL_get_error(ssl_, n)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      return -1;
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    default:
      return -2;
  }
}

LoadConnection::Event LoadConnection::on_bytes(const char* data, size_t size) {
  if (state_ == State::idle) return Event::broken;  // nobody asked
  bytes_ += size;
  size_t at = 0;
  if (state_ == State::head) {
    const size_t before = head_.size();
    head_.append(data, size);
    const size_t end = head_.find("\r\n\r\n", before < 3 ? 0 : before - 3);
    if (end == std::string::npos) return Event::nothing;
    head_.resize(end + 4);
    at = head_.size() - before;
    begin_body();
  }
  at += body_.consume(data + at, size - at);
  if (!body_.done()) return Event::nothing;
  state_ = State::idle;
  return at == size ? Event::answered : Event::broken;
}

void LoadConnection::begin_body() {
  const Framing framing = read_framing(head_);
  status_ = head_.size() > 12 ? std::atoi(head_.c_str() + 9) : 0;
  must_close_ = framing.close;
  state_ = State::body;
  if (framing.chunked) {
    body_.start_chunked();
  } else if (framing.has_length) {
    body_.start_fixed(framing.length);
  } else {
    body_.start_until_close();
    must_close_ = true;
  }
}

LoadConnection::Event LoadConnection::on_end() {
  if (state_ != State::body || !body_.ends_with_connection()) return Event::broken;
  state_ = State::idle;
  return Event::answered;
}

}  // namespace sluice::bench
