// Mailbox: how another thread has something done on a loop's thread.
//
// post() and offer() may be called from any thread and never wait for the
// receiver; the tasks run in the order of their posting, each once. They take a
// lock, so they are for what is rare: plans, failures, commands. libuv joins
// wake-ups, so each wake-up empties the box. Still one costs both threads as much
// as a request: what comes with traffic and can wait wakes nobody.
//
// What comes with traffic is offered: where there is more of it than the receiver
// can do, it must not pile up in memory.
//
// Owner: whoever owns the loop; close() on the loop's thread before that ends.
// Tasks that are posted later are dropped.
#pragma once

#include <uv.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "proxy/loop.h"

namespace sluice::proxy {

class Mailbox {
 public:
  using Task = std::function<void()>;

  // When a task is done that nothing hangs on: with the next that wakes the
  // receiver, or when that calls look(), which it then has to do now and then.
  enum class When : uint8_t { soon, at_look };

  // As many tasks as may wait when one more is offered.
  static constexpr size_t kMostWaiting = 16'384;

  explicit Mailbox(Loop& loop);
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  void post(Task task, When when = When::soon);
  // Posts unless kMostWaiting tasks wait already; then it is dropped and counted.
  void offer(Task task, When when = When::soon);
  // Does what waits; on the loop's thread.
  void look();
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }
  void close();

 private:
  void post_locked(Task task, When when);

  Loop& loop_;
  uv_async_t async_{};
  std::mutex mutex_;
  std::vector<Task> tasks_;  // guarded by mutex_
  bool closed_ = false;      // guarded by mutex_
  std::atomic<uint64_t> dropped_{0};
};

}  // namespace sluice::proxy
