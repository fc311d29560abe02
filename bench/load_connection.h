// A client's connection of bench_load: plain or TLS, one GET at a time.
//
// Owned by the Load that opened it. It is told of its socket's events and says
// in the return value what came of them; it never closes itself.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <string>

#include "bench/message.h"
#include "bench/net.h"

namespace sluice::bench {

class LoadConnection {
 public:
  enum class Event : uint8_t {
    nothing,   // not there yet
    ready,     // connected (and the handshake done): send() may be called
    answered,  // the whole response has come
    broken,    // refused, reset, closed; while idle as well
  };

  // `tls` null: plain. Every connection makes a full handshake: no session is
  // ever kept or offered.
  LoadConnection(const SocketAddress& address, SSL_CTX* tls);
  ~LoadConnection();
  LoadConnection(const LoadConnection&) = delete;
  LoadConnection& operator=(const LoadConnection&) = delete;

  // -1: could not even begin to connect.
  int fd() const { return fd_; }
  bool is_idle() const { return state_ == State::idle; }
  // A request was sent and its answer has not come yet.
  bool is_waiting() const { return state_ == State::head || state_ == State::body; }

  // Sends a request on an idle connection. It is far smaller than a socket
  // buffer, so anything but a whole write is a broken connection: false.
  bool send(const std::string& request);

  // The socket can be read or written. `scratch` is where bytes are read to.
  Event on_event(char* scratch, size_t scratch_bytes);

  // Of the response that was answered last.
  int status() const { return status_; }
  uint64_t bytes() const { return bytes_; }
  bool must_close() const { return must_close_; }

  uint64_t due_ns = 0;  // when the request should have been sent

 private:
  enum class State : uint8_t { connecting, handshaking, idle, head, body };

  Event on_connecting();
  Event on_handshake();
  Event on_bytes(const char* data, size_t size);
  Event on_end();
  void begin_body();
  // Bytes read, 0 at the end, -1 for none now, -2 for a broken connection.
  ssize_t receive(char* buffer, size_t size);

  int fd_ = -1;
  SSL* ssl_ = nullptr;
  State state_ = State::connecting;
  std::string head_;
  BodyReader body_;
  int status_ = 0;
  uint64_t bytes_ = 0;
  bool must_close_ = false;
};

}  // namespace sluice::bench
