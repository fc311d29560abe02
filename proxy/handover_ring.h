// HandoverRing: passes pointers from one thread to one other without a lock and
// without waiting (Lamport, "Proving the correctness of multiprocess programs",
// 1977). Each side writes one index, on a cache line of its own.
//
// Invariant: 0 <= head - tail <= capacity; the slots in between are full.
// What a pointer points at belongs to the side that holds the pointer.
#pragma once

#include <atomic>
#include <cstddef>
#include <vector>

namespace sluice::proxy {

template <typename T>
class HandoverRing {
 public:
  explicit HandoverRing(size_t capacity) : slots_(capacity) {}
  HandoverRing(const HandoverRing&) = delete;
  HandoverRing& operator=(const HandoverRing&) = delete;

  // The giving thread; false when the ring is full.
  bool push(T* what) {
    const size_t head = head_.load(std::memory_order_relaxed);
    if (head - tail_.load(std::memory_order_acquire) == slots_.size()) return false;
    slots_[head % slots_.size()] = what;
    head_.store(head + 1, std::memory_order_release);
    return true;
  }

  // The taking thread; null when the ring is empty.
  T* pop() {
    const size_t tail = tail_.load(std::memory_order_relaxed);
    if (tail == head_.load(std::memory_order_acquire)) return nullptr;
    T* const what = slots_[tail % slots_.size()];
    tail_.store(tail + 1, std::memory_order_release);
    return what;
  }

 private:
  std::vector<T*> slots_;
  alignas(64) std::atomic<size_t> head_{0};
  alignas(64) std::atomic<size_t> tail_{0};
};

}  // namespace sluice::proxy
