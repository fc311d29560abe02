// AcceptingSocket: a listening socket whose connections one thread takes, or
// leaves in the kernel's queue until it looks again, in this process or in the
// one that takes over from it.
//
// libuv's own way of accepting is not used: with no descriptor left it asks
// again and again without a turn of the loop, so that the thread can't close
// those that it holds itself. Here it rests for a moment instead.
//
// Thread: the loop's. Owner: the server or listener.
#pragma once

#include <sys/socket.h>
#include <uv.h>

#include <functional>
#include <utility>

#include "proxy/loop.h"

namespace sluice::proxy {

class AcceptingSocket {
 public:
  // Connections wait: accept() takes them. Runs in a Scope of the loop, again at
  // its next turn while any wait.
  using Ready = std::function<void()>;
  // What one Ready should take, so that those who are connected have their turn.
  static constexpr size_t kMostAtOnce = 64;
  // Until the next look when no descriptor, or no memory, was to be had.
  static constexpr uint64_t kRestMs = 50;

  AcceptingSocket(Loop& loop, Ready ready)
      : loop_(loop),
        ready_(std::move(ready)),
        rest_([](void* self) { static_cast<AcceptingSocket*>(self)->watch(); }, this) {}
  AcceptingSocket(const AcceptingSocket&) = delete;
  AcceptingSocket& operator=(const AcceptingSocket&) = delete;
  ~AcceptingSocket();

  // A socket that listens; owns `fd` from now on. Its connections send without
  // delay: on Linux they inherit that.
  void adopt(int fd);
  int fd() const { return fd_; }
  // Looks for connections from now on; looks for no more.
  void begin();
  void pause();
  // Refuses whoever waits, and everybody from now on.
  void close();
  // A connection's descriptor, not blocking and closed on exec, which is the
  // caller's; -1 when none waits or none can be had now. `peer`: where it comes
  // from, if the caller wants to know.
  int accept(sockaddr_storage* peer = nullptr);
  // How many may be taken, once Ready has said that there are some, without asking
  // for one too many: an accept4() that finds none has made a file by then, and
  // thrown it away, and costs more than two that read. At most kMostAtOnce, which
  // it also is where the kernel does not say (tcp(7), TCP_INFO). One that waits
  // alone is taken for the rule: so many times the answer is 1 unasked, and
  // whoever else waits has the next Ready.
  static constexpr unsigned kTakenForAlone = 7;
  size_t waiting();
  // Takes what waits: take(descriptor) for each.
  template <typename Take>
  void accept_some(Take take) {
    for (size_t left = waiting(); left > 0; --left) {
      const int client = accept();
      if (client < 0) return;
      take(client);
    }
  }

 private:
  struct Poll {
    uv_poll_t handle;
    AcceptingSocket* socket;
  };

  void watch();
  void unwatch();

  Loop& loop_;
  const Ready ready_;
  int fd_ = -1;
  bool accepting_ = false;
  unsigned taken_for_alone_ = 0;  // how many times more
  Poll* poll_ = nullptr;          // null: not looking; deletes itself once closed
  Timer rest_;
};

}  // namespace sluice::proxy
