// AcceptingSocket: a listening socket of the control thread that accepts, or
// lets whoever connects wait in the kernel's queue until it accepts again, in
// this process or in the one that takes over from it.
//
// Owner: the server; its handle outlives it by a turn of the loop where it must.
// Thread: the loop's.
#pragma once

#include <uv.h>

#include <functional>

#include "proxy/loop.h"

namespace sluice::proxy {

class AcceptingSocket {
 public:
  // Runs in a Scope of the loop; UvStream::accept() takes the connection.
  using Accept = std::function<void(uv_stream_t* listener)>;

  AcceptingSocket(Loop& loop, bool is_unix, Accept accept)
      : loop_(loop), is_unix_(is_unix), accept_(std::move(accept)) {}
  AcceptingSocket(const AcceptingSocket&) = delete;
  AcceptingSocket& operator=(const AcceptingSocket&) = delete;
  // Closes the socket; pause() has been called.
  ~AcceptingSocket();

  // Owns `fd` from now on.
  void adopt(int fd) { fd_ = fd; }
  int fd() const { return fd_; }
  bool accepting() const { return handle_ != nullptr; }
  // A libuv error, or 0.
  int begin();
  void pause();

 private:
  struct Handle {
    union {
      uv_tcp_t tcp;
      uv_pipe_t pipe;
    } of{};
    AcceptingSocket* socket = nullptr;
  };

  Loop& loop_;
  const bool is_unix_;
  const Accept accept_;
  int fd_ = -1;
  Handle* handle_ = nullptr;  // has a descriptor of its own
};

}  // namespace sluice::proxy
