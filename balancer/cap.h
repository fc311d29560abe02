// Cap: a budget of upstream connections, exact over the whole process.
//
// A Cap counts places. Whoever opens a connection to an upstream first takes a
// place under every cap that the upstream counts against, and gives it back
// when the connection has been closed; an idle pooled connection keeps its
// place. The invariant is used() + elsewhere() <= max() at every moment, but for
// places that were taken before that changed: those drain by attrition.
//
// Requests that find no place wait in queues of their own worker. A cap knows
// only when the oldest of each worker's waiters began to wait, so that a place
// that becomes free is offered to the worker that has waited longest, and so
// that nobody takes a place past a waiter (see try_acquire). Nothing here
// locks; the queues are the workers'.
//
//   worker A                           worker B
//   finds the cap full
//   set_oldest_waiter(A, since)
//   may_acquire again? no: waits       release(): used - 1, wake(A)
//   woken: try_acquire, goes on
//
// The store of the waiter and the load of used_ on one side, and the decrement
// of used_ and the load of the waiters on the other, are sequentially
// consistent: one of the two sees the other, so no wake-up is lost.
//
// Thread: any. Owner: shared_ptr, from the plan and from every permit.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace sluice::balancer {

inline constexpr uint32_t kMaxWorkers = 64;

class Cap {
 public:
  static constexpr uint32_t kUnlimited = std::numeric_limits<uint32_t>::max();
  static constexpr uint64_t kNobody = std::numeric_limits<uint64_t>::max();

  // Called by release() on the releasing thread with the number of the worker
  // to wake; must be safe from any thread and must not call back.
  using Wake = std::function<void(uint32_t worker)>;

  Cap(std::string name, uint32_t max, Wake wake);
  Cap(const Cap&) = delete;
  Cap& operator=(const Cap&) = delete;

  const std::string& name() const { return name_; }
  uint32_t max() const { return max_.load(std::memory_order_relaxed); }
  uint32_t used() const { return used_.load(std::memory_order_relaxed); }
  // Places that another process has, which gives way to this one.
  uint32_t elsewhere() const { return elsewhere_.load(std::memory_order_relaxed); }
  // More places are taken than may be.
  bool over() const { return uint64_t{used()} + elsewhere() > max(); }
  // The most places that were ever taken at once, as of note_peak().
  uint32_t peak() const { return peak_.load(std::memory_order_relaxed); }
  // The most since the last call, by whoever watches it.
  uint32_t take_recent_peak() {
    const uint32_t now = used();
    return std::max(recent_peak_.exchange(now, std::memory_order_relaxed), now);
  }

  // Takes effect at once in both directions; a raised cap wakes waiters.
  void set_max(uint32_t max);
  // The same for the places elsewhere.
  void set_elsewhere(uint32_t count);

  // Takes a place if one is free and nobody has waited longer than `since_us`
  // (the caller's own time of arrival; kNobody to stand behind all waiters).
  bool try_acquire(uint64_t since_us);

  // The place that was taken is used: whoever needs others as well, and did not
  // get them, gives it back without.
  void note_peak();

  // Gives a place back and wakes the worker that has waited longest.
  void release();

  // Says since when the worker's oldest waiter at this cap has waited; kNobody
  // for none. Only the worker itself calls it for its number.
  void set_oldest_waiter(uint32_t worker, uint64_t since_us);
  // The oldest of all workers' waiters.
  uint64_t oldest_waiter() const;
  bool has_waiters() const { return waiting_workers_.load(std::memory_order_relaxed) != 0; }

  // Wakes the worker with the oldest waiter, if a place is free.
  void wake_if_free();

  // How many idle connections under this cap the worker holds; it is asked to
  // give them up when others wait. Only the worker itself calls add_idle.
  void add_idle(uint32_t worker, int32_t delta) {
    slots_[worker].idle.fetch_add(delta, std::memory_order_relaxed);
  }
  int32_t idle(uint32_t worker) const { return slots_[worker].idle.load(std::memory_order_relaxed); }
  // Of all workers; they change meanwhile.
  uint32_t idle() const;
  // How many the worker has ended since they were idle, and that still hold their
  // places. Only the worker itself calls it.
  void add_leaving(uint32_t worker, int32_t delta) {
    slots_[worker].leaving.fetch_add(delta, std::memory_order_relaxed);
  }
  // Places that are there for who waits: of idle connections and of those that
  // leave, of all workers.
  uint32_t coming_free() const;
  // Asks some worker other than `asker` that has an idle connection to close
  // one; false if there is none. The asked worker finds the wish by
  // take_reclaims() after it was woken.
  bool ask_reclaim(uint32_t asker);
  // Asks for as many idle connections as are over the limit.
  void ask_to_shrink();
  uint32_t take_reclaims(uint32_t worker) {
    return slots_[worker].reclaims.exchange(0, std::memory_order_acq_rel);
  }

 private:
  // One line for each worker: what it writes often does not disturb others.
  struct alignas(64) Slot {
    std::atomic<uint64_t> oldest{kNobody};
    std::atomic<int32_t> idle{0};
    std::atomic<int32_t> leaving{0};
    std::atomic<uint32_t> reclaims{0};
  };

  const std::string name_;
  const Wake wake_;
  bool full(uint32_t used) const { return uint64_t{used} + elsewhere() >= max(); }

  std::atomic<uint32_t> max_;
  std::atomic<uint32_t> elsewhere_{0};
  std::atomic<uint32_t> used_{0};
  std::atomic<uint32_t> peak_{0};
  std::atomic<uint32_t> recent_peak_{0};
  std::atomic<uint32_t> waiting_workers_{0};
  std::vector<Slot> slots_;
};

}  // namespace sluice::balancer
