// Listener: accepts the connections of one address for one worker.
//
// Thread: the worker's. Owner: the Worker; destroyed after close() has taken
// effect.
#pragma once

#include <uv.h>

#include <functional>
#include <memory>

#include "proxy/downstream_connection.h"
#include "proxy/loop.h"
#include "proxy/worker_context.h"

namespace sluice::proxy {

class Listener {
 public:
  // Owns `fd`, a listening socket.
  Listener(WorkerContext& context, ConnectionSet& connections, std::shared_ptr<const ListenerTraits> traits,
           int fd, bool is_unix);
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  void start();
  // For the connections that come from now on.
  void set_traits(std::shared_ptr<const ListenerTraits> traits) { traits_ = std::move(traits); }
  // Stops accepting; calls `closed` when the listener may be destroyed.
  void close(std::function<void(Listener*)> closed);

 private:
  uv_stream_t* handle() { return reinterpret_cast<uv_stream_t*>(&handle_); }
  void accept();

  WorkerContext& context_;
  ConnectionSet& connections_;
  std::shared_ptr<const ListenerTraits> traits_;
  const bool is_unix_;
  union {
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } handle_{};
  std::function<void(Listener*)> closed_;
};

}  // namespace sluice::proxy
