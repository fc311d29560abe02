// Listener: accepts the connections of one address for one worker.
//
// Thread: the worker's. Owner: the Worker.
#pragma once

#include <memory>

#include "proxy/accepting_socket.h"
#include "proxy/downstream_connection.h"
#include "proxy/loop.h"
#include "proxy/uv_stream.h"
#include "proxy/worker_context.h"

namespace sluice::proxy {

class Listener {
 public:
  // Owns `fd`, a listening socket.
  Listener(WorkerContext& context, ConnectionSet& connections, std::shared_ptr<const ListenerTraits> traits,
           int fd, bool is_unix);
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  // Those in the kernel's queue are served first, as far as there are places.
  ~Listener();

  // For connections from now on.
  void set_traits(std::shared_ptr<const ListenerTraits> traits) { traits_ = std::move(traits); }
  // Places for clients may have become free.
  void resume() {
    if (paused_) accept(AcceptingSocket::kMostAtOnce);
  }

 private:
  void accept(size_t most);
  void begin(int client, const sockaddr_storage& peer, balancer::Permit place);
  bool take_place(balancer::Permit& place);
  void set_paused(bool paused);

  WorkerContext& context_;
  ConnectionSet& connections_;
  std::shared_ptr<const ListenerTraits> traits_;
  const bool is_unix_;
  bool paused_ = false;
  int held_ = -1;  // a connection that waits for a place
  sockaddr_storage held_peer_{};
  AcceptingSocket socket_;
};

}  // namespace sluice::proxy
