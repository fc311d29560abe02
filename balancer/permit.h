// Permit: a place under every cap that an upstream's connection counts against.
//
// Move-only; the destructor gives all places back. It is taken whole or not at
// all, so that nobody holds one cap while waiting for another and no deadlock
// can arise. A permit belongs to the upstream connection it was taken for.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "balancer/cap.h"

namespace sluice::balancer {

// The caps of one upstream: its own max_connections and the shared budgets.
using CapSet = std::vector<std::shared_ptr<Cap>>;

class Permit {
 public:
  Permit() = default;
  Permit(Permit&& other) noexcept : caps_(std::exchange(other.caps_, nullptr)) {}
  Permit& operator=(Permit&& other) noexcept {
    if (this != &other) {
      release();
      caps_ = std::exchange(other.caps_, nullptr);
    }
    return *this;
  }
  ~Permit() { release(); }

  // Takes a place under every cap, standing behind those who have waited since
  // before `since_us`. On failure the permit is empty and *blocking, if given,
  // is the first cap without a place for the caller.
  static Permit try_acquire(std::shared_ptr<const CapSet> caps, uint64_t since_us, Cap** blocking) {
    for (size_t taken = 0; taken < caps->size(); ++taken) {
      if ((*caps)[taken]->try_acquire(since_us)) continue;
      if (blocking != nullptr) *blocking = (*caps)[taken].get();
      while (taken > 0) (*caps)[--taken]->release();
      return {};
    }
    for (const auto& cap : *caps) cap->note_peak();
    Permit permit;
    permit.caps_ = std::move(caps);
    return permit;
  }

  explicit operator bool() const { return caps_ != nullptr; }
  const CapSet& caps() const { return *caps_; }

  void release() {
    if (caps_ == nullptr) return;
    for (const auto& cap : *caps_) cap->release();
    caps_ = nullptr;
  }

 private:
  std::shared_ptr<const CapSet> caps_;
};

}  // namespace sluice::balancer
