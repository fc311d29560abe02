#include "proxy/mailbox.h"

#include <cstdlib>
#include <utility>

namespace sluice::proxy {

Mailbox::Mailbox(Loop& loop) : loop_(loop) {
  if (uv_async_init(loop.uv(), &async_,
                    [](uv_async_t* handle) { static_cast<Mailbox*>(handle->data)->look(); }) != 0) {
    std::abort();
  }
  async_.data = this;
}

void Mailbox::post(Task task, When when) {
  const std::lock_guard<std::mutex> lock(mutex_);
  post_locked(std::move(task), when);
}

void Mailbox::offer(Task task, When when) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (tasks_.size() < kMostWaiting) {
    post_locked(std::move(task), when);
  } else {
    dropped_.fetch_add(1, std::memory_order_relaxed);
  }
}

void Mailbox::post_locked(Task task, When when) {
  if (closed_) return;
  tasks_.push_back(std::move(task));
  // Under the lock, so that the handle cannot be closed meanwhile.
  if (when == When::soon || tasks_.size() >= kMostWaiting / 2) uv_async_send(&async_);
}

void Mailbox::look() {
  std::vector<Task> tasks;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    tasks.swap(tasks_);
  }
  const Loop::Scope scope(loop_);
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
