// EndpointState: what the process knows about one address of an upstream.
//
// It is shared by all threads and survives reloads: a plan refers to it by
// shared_ptr, and a reload finds the state again under the same upstream and
// address. Whether it may get requests is one atomic word, so that a worker
// decides with one load:
//
//   health   unknown -> up <-> down     active checks; `up` at once without them
//   awaited  0 or 1                     its first check is not over: requests wait
//   mode     ready, drain, maint        the operator, by `set endpoint`
//   ejected  0 or 1                     outlier ejection, for a while
//   ramp     1..100 percent of weight   slow start after coming back
//
// How long its attempts take is only kept where an operator asks for it, by
// measure(): a histogram for each worker is 16 KiB, which is too much for a
// thousand endpoints that nobody looks at. What has been measured once keeps its
// memory, so that no worker can hold on to what is gone.
//
// Thread: any may read; only the control thread changes it. After a change the
// control thread bumps the upstream's epoch (balancer/plan.h), which makes each
// worker's Picker look again.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "balancer/counters.h"
#include "balancer/histogram.h"
#include "conf/config.h"

namespace sluice::balancer {

enum class EndpointHealth : uint8_t { unknown, up, down };
enum class EndpointMode : uint8_t { ready, drain, maint };

constexpr const char* to_string(EndpointHealth health) {
  switch (health) {
    case EndpointHealth::unknown:
      return "unknown";
    case EndpointHealth::up:
      return "up";
    case EndpointHealth::down:
      return "down";
  }
  return "unknown";
}

constexpr const char* to_string(EndpointMode mode) {
  switch (mode) {
    case EndpointMode::ready:
      return "ready";
    case EndpointMode::drain:
      return "drain";
    case EndpointMode::maint:
      return "maint";
  }
  return "ready";
}

struct EndpointCondition {
  EndpointHealth health = EndpointHealth::unknown;
  EndpointMode mode = EndpointMode::ready;
  bool ejected = false;
  uint8_t ramp_percent = 100;
  bool awaited = false;  // unknown, and no check is over yet

  // May new requests go there?
  bool usable() const { return health == EndpointHealth::up && mode == EndpointMode::ready && !ejected; }
  // May they in a panic, when nearly all or all are out?
  bool usable_in_panic() const { return health != EndpointHealth::unknown && mode == EndpointMode::ready; }
  // Is it worth waiting for, where no other may be used?
  bool worth_waiting() const { return awaited && mode == EndpointMode::ready; }
};

class EndpointState {
 public:
  // `address` is an inet or a unix address; a dns: name has one state for each
  // record. `name` is what operators call it and `authority` what a request
  // without a Host field is sent with.
  EndpointState(conf::Address address, std::string name, std::string authority, uint32_t workers)
      : address_(std::move(address)),
        name_(std::move(name)),
        authority_(std::move(authority)),
        tallies_(workers) {}

  const conf::Address& address() const { return address_; }
  const std::string& name() const { return name_; }
  const std::string& authority() const { return authority_; }

  EndpointCondition condition() const {
    const uint32_t word = word_.load(std::memory_order_relaxed);
    return {static_cast<EndpointHealth>(word & 0xff), static_cast<EndpointMode>((word >> 8) & 0xff),
            ((word >> 16) & 1) != 0, static_cast<uint8_t>(word >> 24), ((word >> 17) & 1) != 0};
  }

  // How attempts at this endpoint ended; each worker writes its own.
  struct Tally {
    uint64_t succeeded = 0;
    uint64_t failed = 0;
  };
  void count(uint32_t worker, bool failed, uint64_t duration_ns) {
    WorkerTally& mine = tallies_[worker];
    (failed ? mine.failed : mine.succeeded).add();
    mine.measure(duration_ns);
    const uint32_t stay = stay_.load(std::memory_order_relaxed);
    const uint32_t row = mine.stay == stay ? mine.row : 0;
    mine.stay = stay;
    mine.row = failed ? row + 1 : 0;
    const Row longest = Row::of(mine.longest_row.load(std::memory_order_relaxed));
    if (longest.stay != stay || mine.row > longest.failures) {
      mine.longest_row.store(Row{stay, mine.row}.word(), std::memory_order_relaxed);
    }
  }
  // An attempt that ended for no reason of the endpoint's, as when its client left:
  // it says nothing for the endpoint or against it, and breaks no row of failures.
  void count_given_up(uint32_t worker, uint64_t duration_ns) { tallies_[worker].measure(duration_ns); }
  Tally tally() const {
    Tally sum;
    for (const WorkerTally& one : tallies_) {
      sum.succeeded += one.succeeded.get();
      sum.failed += one.failed.get();
    }
    return sum;
  }
  // The longest row of failures that one worker saw since the last call, and since
  // the endpoint came back from its latest ejection. Control thread only.
  uint32_t take_longest_row() {
    const uint32_t stay = stay_.load(std::memory_order_relaxed);
    uint32_t longest = 0;
    for (WorkerTally& one : tallies_) {
      // A store that comes between is lost, and made good by the next failure.
      const Row row = Row::of(one.longest_row.exchange(0, std::memory_order_relaxed));
      if (row.stay == stay) longest = std::max(longest, row.failures);
    }
    return longest;
  }

  // Begins or stops to keep how long attempts take; control thread only.
  void measure(bool on) {
    if (on && durations_.empty()) {
      for (size_t i = 0; i < tallies_.size(); ++i) durations_.push_back(std::make_unique<Histogram>());
    }
    for (size_t i = 0; i < tallies_.size(); ++i) {
      tallies_[i].durations.store(on ? durations_[i].get() : nullptr, std::memory_order_release);
    }
    measured_ = on;
  }
  bool measured() const { return measured_; }  // control thread only
  // Of all attempts while it was measured; control thread only.
  void add_durations_to(HistogramSnapshot& sum) const {
    for (const auto& one : durations_) one->add_to(sum);
  }

  // Control thread only.
  void set_condition(const EndpointCondition& condition) {
    if (this->condition().ejected && !condition.ejected) stay_.fetch_add(1, std::memory_order_relaxed);
    word_.store(static_cast<uint32_t>(condition.health) | static_cast<uint32_t>(condition.mode) << 8 |
                    static_cast<uint32_t>(condition.ejected ? 1 : 0) << 16 |
                    static_cast<uint32_t>(condition.awaited ? 1 : 0) << 17 |
                    static_cast<uint32_t>(condition.ramp_percent) << 24,
                std::memory_order_relaxed);
  }

 private:
  const conf::Address address_;
  const std::string name_;
  const std::string authority_;
  // Failures in a row during one stay, in one atomic word: what a worker saw before
  // an ejection is never taken for what it saw after.
  struct Row {
    uint32_t stay = 0;
    uint32_t failures = 0;
    uint64_t word() const { return uint64_t{stay} << 32 | failures; }
    static Row of(uint64_t word) { return {static_cast<uint32_t>(word >> 32), static_cast<uint32_t>(word)}; }
  };
  struct alignas(64) WorkerTally {
    Counter succeeded;
    Counter failed;
    uint32_t stay = 0;                           // the worker's own: whose row it is
    uint32_t row = 0;                            // the worker's own
    std::atomic<uint64_t> longest_row{0};        // a Row
    std::atomic<Histogram*> durations{nullptr};  // in durations_; null: not measured

    void measure(uint64_t duration_ns) {
      Histogram* const histogram = durations.load(std::memory_order_acquire);
      if (histogram != nullptr) histogram->record(duration_ns);
    }
  };

  std::atomic<uint32_t> word_{100U << 24};
  std::atomic<uint32_t> stay_{0};  // its return from how many ejections began it
  std::vector<WorkerTally> tallies_;
  std::vector<std::unique_ptr<Histogram>> durations_;  // by worker; empty: never measured
  bool measured_ = false;
};

}  // namespace sluice::balancer
