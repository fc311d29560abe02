#include "balancer/cap.h"

#include <cassert>
#include <utility>

namespace sluice::balancer {

Cap::Cap(std::string name, uint32_t max, Wake wake)
    : name_(std::move(name)), wake_(std::move(wake)), max_(max), slots_(kMaxWorkers) {}

void Cap::set_max(uint32_t max) {
  max_.store(max, std::memory_order_seq_cst);
  wake_if_free();
  ask_to_shrink();
}

void Cap::set_elsewhere(uint32_t count) {
  if (elsewhere_.exchange(count, std::memory_order_seq_cst) == count) return;
  wake_if_free();
  ask_to_shrink();
}

namespace {

void raise(std::atomic<uint32_t>& peak, uint32_t used) {
  uint32_t before = peak.load(std::memory_order_relaxed);
  while (used > before && !peak.compare_exchange_weak(before, used, std::memory_order_relaxed)) {
  }
}

}  // namespace

bool Cap::try_acquire(uint64_t since_us) {
  if (has_waiters() && oldest_waiter() < since_us) return false;
  uint32_t used = used_.load(std::memory_order_seq_cst);
  do {
    if (full(used)) return false;
  } while (!used_.compare_exchange_weak(used, used + 1, std::memory_order_seq_cst));
  return true;
}

void Cap::note_peak() {
  const uint32_t now = used();
  raise(peak_, now);
  raise(recent_peak_, now);
}

void Cap::release() {
  const uint32_t before = used_.fetch_sub(1, std::memory_order_seq_cst);
  assert(before > 0);
  static_cast<void>(before);
  wake_if_free();
}

void Cap::wake_if_free() {
  if (waiting_workers_.load(std::memory_order_seq_cst) == 0) return;
  if (full(used_.load(std::memory_order_seq_cst))) return;
  uint32_t chosen = kMaxWorkers;
  uint64_t oldest = kNobody;
  for (uint32_t worker = 0; worker < kMaxWorkers; ++worker) {
    const uint64_t since = slots_[worker].oldest.load(std::memory_order_relaxed);
    if (since < oldest) {
      oldest = since;
      chosen = worker;
    }
  }
  if (chosen != kMaxWorkers) wake_(chosen);
}

void Cap::set_oldest_waiter(uint32_t worker, uint64_t since_us) {
  const uint64_t before = slots_[worker].oldest.exchange(since_us, std::memory_order_seq_cst);
  if (before == kNobody && since_us != kNobody) waiting_workers_.fetch_add(1, std::memory_order_seq_cst);
  if (before != kNobody && since_us == kNobody) waiting_workers_.fetch_sub(1, std::memory_order_seq_cst);
}

uint64_t Cap::oldest_waiter() const {
  uint64_t oldest = kNobody;
  for (const Slot& slot : slots_) {
    const uint64_t since = slot.oldest.load(std::memory_order_relaxed);
    if (since < oldest) oldest = since;
  }
  return oldest;
}

uint32_t Cap::idle() const {
  int64_t sum = 0;
  for (const Slot& slot : slots_) sum += slot.idle.load(std::memory_order_relaxed);
  return static_cast<uint32_t>(std::max<int64_t>(sum, 0));
}

uint32_t Cap::coming_free() const {
  int64_t sum = idle();
  for (const Slot& slot : slots_) sum += slot.leaving.load(std::memory_order_relaxed);
  return static_cast<uint32_t>(std::max<int64_t>(sum, 0));
}

void Cap::ask_to_shrink() {
  const uint32_t all = used();
  const uint32_t most = max() - std::min(max(), elsewhere());
  for (uint32_t over = all > most ? all - most : 0; over > 0 && ask_reclaim(kMaxWorkers); --over) {
  }
}

bool Cap::ask_reclaim(uint32_t asker) {
  for (uint32_t worker = 0; worker < kMaxWorkers; ++worker) {
    if (worker == asker) continue;
    Slot& slot = slots_[worker];
    const auto wanted = static_cast<int32_t>(slot.reclaims.load(std::memory_order_relaxed));
    if (slot.idle.load(std::memory_order_relaxed) > wanted) {
      slot.reclaims.fetch_add(1, std::memory_order_acq_rel);
      wake_(worker);
      return true;
    }
  }
  return false;
}

}  // namespace sluice::balancer
