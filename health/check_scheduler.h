// CheckScheduler: runs the active checks of all endpoints of the process on one
// clock, at most kMaxRunning at a time, each with its timeout.
//
// The caller calls advance() at next_wakeup_ms() or later; what waits for its
// turn starts in the order in which it was due. A probe past its deadline is
// cancelled and counts as a failure. A result that comes between two calls may
// bring next_wakeup_ms() nearer, which on_result tells.
//
// Thread: the control thread. Owner: the control state; it owns the probes.
// Units: milliseconds on the caller's clock. Cost: O(log n) for each event.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "balancer/random.h"
#include "conf/config.h"
#include "health/active_check.h"
#include "health/probe.h"

namespace sluice::health {

using CheckId = uint64_t;

class CheckScheduler {
 public:
  // Enough that a hundred that hang do not hold up the others.
  static constexpr size_t kMaxRunning = 512;
  static constexpr uint64_t kNever = ActiveCheck::kNever;

  // Told of each endpoint that goes up or down. It may add and remove checks.
  using OnTransition = std::function<void(CheckId, const CheckTransition&)>;

  // Told after each result, when next_wakeup_ms() is up to date.
  using OnResult = std::function<void(CheckId)>;

  CheckScheduler(uint64_t seed, OnTransition on_transition, OnResult on_result)
      : random_(seed), on_transition_(std::move(on_transition)), on_result_(std::move(on_result)) {}
  CheckScheduler(const CheckScheduler&) = delete;
  CheckScheduler& operator=(const CheckScheduler&) = delete;

  // `known`: see ActiveCheck.
  CheckId add(const conf::Health& settings, std::unique_ptr<Probe> probe, uint64_t now_ms,
              balancer::EndpointHealth known = balancer::EndpointHealth::unknown);
  // Cancels a probe that runs. Unknown ids are ignored.
  void remove(CheckId id);

  void advance(uint64_t now_ms);
  uint64_t next_wakeup_ms() const;

  // Null for an id that is not there.
  const ActiveCheck* find(CheckId id) const;
  size_t running() const { return deadlines_.size(); }
  size_t size() const { return checks_.size(); }

 private:
  struct Check {
    ActiveCheck state;
    std::unique_ptr<Probe> probe;
    uint64_t attempt = 0;  // tells a late result from a current one
  };
  using Queue = std::set<std::pair<uint64_t, CheckId>>;

  void start(CheckId id, uint64_t now_ms);
  void finish(CheckId id, const ProbeResult& result, uint64_t now_ms);

  balancer::Random random_;
  OnTransition on_transition_;
  OnResult on_result_;
  CheckId last_id_ = 0;
  std::map<CheckId, Check> checks_;
  Queue due_;        // those that do not run
  Queue deadlines_;  // those that do
};

}  // namespace sluice::health
