// Mailbox: how another thread has something done on a loop's thread.
//
// post() may be called from any thread and never waits for the receiver; the
// tasks run in the order of their posting, each once. It takes a lock, so it is
// for what is rare: plans, failures, commands. libuv joins wake-ups, so each
// wake-up empties the box.
//
// Owner: whoever owns the loop; close() on the loop's thread before that ends.
// Tasks that are posted later are dropped.
#pragma once

#include <uv.h>

#include <functional>
#include <mutex>
#include <vector>

#include "proxy/loop.h"

namespace sluice::proxy {

class Mailbox {
 public:
  using Task = std::function<void()>;

  explicit Mailbox(Loop& loop);
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  void post(Task task);
  void close();

 private:
  static void on_wake(uv_async_t* handle);

  Loop& loop_;
  uv_async_t async_{};
  std::mutex mutex_;
  std::vector<Task> tasks_;  // guarded by mutex_
  bool closed_ = false;      // guarded by mutex_
};

}  // namespace sluice::proxy
