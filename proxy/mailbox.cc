#include "proxy/mailbox.h"

#include <cstdlib>
#include <utility>

namespace sluice::proxy {

Mailbox::Mailbox(Loop& loop) : loop_(loop) {
  if (uv_async_init(loop.uv(), &async_, on_wake) != 0) std::abort();
  async_.data = this;
}

void Mailbox::post(Task task) {
  const std::lock_guard<std::mutex> lock(mutex_);
  post_locked(std::move(task));
}

void Mailbox::offer(Task task) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (tasks_.size() < kMostWaiting) {
    post_locked(std::move(task));
  } else {
    dropped_.fetch_add(1, std::memory_order_relaxed);
  }
}

void Mailbox::post_locked(Task task) {
  if (closed_) return;
  tasks_.push_back(std::move(task));
  // Under the lock, so that the handle cannot be closed meanwhile.
  uv_async_send(&async_);
}

void Mailbox::on_wake(uv_async_t* handle) {
  Mailbox& self = *static_cast<Mailbox*>(handle->data);
  std::vector<Task> tasks;
  {
    const std::lock_guard<std::mutex> lock(self.mutex_);
    tasks.swap(self.tasks_);
  }
  const Loop::Scope scope(self.loop_);
  for (const Task& task : tasks) task();
}

void Mailbox::close() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) return;
  closed_ = true;
  tasks_.clear();
  uv_close(reinterpret_cast<uv_handle_t*>(&async_), nullptr);
}

}  // namespace sluice::proxy
