// Worker: one thread with one loop, its listening sockets, its clients and its
// connections to upstreams.
//
// The control thread constructs it, starts it and talks to it through the
// mailbox; what is marked [worker] runs on its own thread.
//
//   constructed --start()--> running --post(stop)--> the thread ends --join()
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "proxy/dialer.h"
#include "proxy/downstream_connection.h"
#include "proxy/listener.h"
#include "proxy/loop.h"
#include "proxy/mailbox.h"
#include "proxy/worker_context.h"

namespace sluice::proxy {

// What `show sessions` says of one client connection.
struct SessionInfo {
  uint32_t worker = 0;
  std::string client;
  uint64_t age_us = 0;
  uint64_t requests = 0;
  bool active = false;  // a request is under way
  std::string service;
  std::string upstream;
  std::string endpoint;
  std::string request;  // method and target
  std::string state;    // queued, connecting, streaming, tunnel, idle
  uint64_t request_age_us = 0;
};

class Worker {
 public:
  // `queued` and `clients` count over all workers.
  Worker(uint32_t number, uint64_t seed, Reporter& reporter, std::atomic<uint32_t>& queued,
         std::atomic<uint32_t>& clients);
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker();

  // Before start(): the places for clients of the whole process.
  void limit_clients(std::shared_ptr<const balancer::CapSet> places) {
    context_.client_caps = std::move(places);
  }
  void start();
  void join();
  // Any thread.
  void post(Mailbox::Task task) { mailbox_.post(std::move(task)); }
  // Any thread: places under caps may have become free; joined into one wake-up.
  void wake_for_caps() { uv_async_send(&caps_async_); }
  uint32_t connections() const { return connection_count_.load(std::memory_order_relaxed); }
  // Written by the worker, summed by others.
  const WorkerContext& context() const { return context_; }

  // [worker]
  void adopt(std::shared_ptr<const balancer::Plan> plan, const conf::Overload& overload);
  void add_listener(uint64_t id, std::shared_ptr<const ListenerTraits> traits, int fd, bool is_unix);
  void set_listener_traits(uint64_t id, const std::shared_ptr<const ListenerTraits>& traits);
  void remove_listener(uint64_t id);  // all that were added under the id
  void redirect_waiters(balancer::UpstreamState* upstream) { context_.redirect_waiters(upstream); }
  std::vector<SessionInfo> sessions() const;
  // No further connection or request; requests under way go on. Calls `empty`
  // once, on this thread, when the last client has left.
  void begin_drain(std::function<void()> empty);
  // All connections close at once; then nobody waits at a cap any more.
  void close_all();
  // The thread ends. Every worker must have closed all before any stops, so
  // that none wakes one that is gone.
  void stop();

 private:
  class SocketDialer final : public Dialer {
   public:
    explicit SocketDialer(Loop& loop) : loop_(loop) {}
    std::unique_ptr<Stream> dial(const balancer::EndpointState& endpoint, Stream::Handler* handler) override;

   private:
    Loop& loop_;
  };
  struct OwnListener {
    uint64_t id;
    std::unique_ptr<Listener> listener;
  };

  void run();
  void note_connections();

  Loop loop_;
  Mailbox mailbox_;
  uv_async_t caps_async_{};
  uv_prepare_t prepare_{};
  SocketDialer dialer_;
  WorkerContext context_;
  ConnectionSet connections_;
  std::vector<OwnListener> listeners_;
  std::atomic<uint32_t> connection_count_{0};
  std::function<void()> on_empty_;
  std::thread thread_;
};

}  // namespace sluice::proxy
