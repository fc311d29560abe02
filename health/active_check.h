// ActiveCheck: is one endpoint up? A state machine over the results of probes.
//
//   unknown ── one success ──> up ── `fall` failures in a row ──> down
//                              ^                                   │
//                              └────── `rise` successes in a row ──┘
//
// An endpoint gets no traffic before its first success, not even in a panic:
// unknown is left by a success only, however many probes failed. last_failure()
// says why it is still unknown.
//
// A probe is due an interval after the last one began, plus or minus
// kJitter of it, so that checks that began together drift apart. While anything
// is wrong (not up, or up with failures) the interval is a quarter: news travel
// faster, and one small request more does not hurt an endpoint that gets no
// others. The first success is followed by a random part of an interval, which
// spreads the checks of a thousand endpoints that came up together.
//
// Thread: the control thread. Owner: CheckScheduler. Units: milliseconds on the
// caller's clock.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "balancer/endpoint.h"
#include "balancer/random.h"
#include "conf/config.h"
#include "health/probe.h"

namespace sluice::health {

struct CheckTransition {
  balancer::EndpointHealth from = balancer::EndpointHealth::unknown;
  balancer::EndpointHealth to = balancer::EndpointHealth::unknown;
  std::string reason;  // "3 failed checks: connection refused"
};

class ActiveCheck {
 public:
  static constexpr double kJitter = 0.1;
  static constexpr uint32_t kUnhealthyDivisor = 4;
  // What dividing does not go below; a shorter interval stays as it is.
  static constexpr uint32_t kLeastUnhealthyMs = 50;
  // First probes are spread over this: readiness should not wait for more.
  static constexpr uint32_t kFirstSpreadMs = 10;
  static constexpr uint64_t kNever = UINT64_MAX;

  // `known`: of checks by other settings, or of the time without any.
  ActiveCheck(const conf::Health& settings, uint64_t now_ms, balancer::Random& random,
              balancer::EndpointHealth known = balancer::EndpointHealth::unknown);

  balancer::EndpointHealth health() const { return health_; }
  bool running() const { return running_; }
  // When the next probe should begin; kNever while one runs.
  uint64_t due_ms() const { return running_ ? kNever : due_ms_; }
  // When the running probe has taken too long; kNever without one.
  uint64_t deadline_ms() const { return running_ ? started_ms_ + settings_.timeout_ms : kNever; }

  uint32_t successes() const { return successes_; }  // in a row
  uint32_t failures() const { return failures_; }    // in a row
  const std::string& last_failure() const { return last_failure_; }
  // As many in a row have failed as take an endpoint out; one that never came up
  // is still unknown then.
  bool fails() const { return failures_ >= settings_.fall; }
  uint64_t last_finished_ms() const { return last_finished_ms_; }  // 0: none yet

  void start(uint64_t now_ms);
  // A transition, if the result makes one.
  std::optional<CheckTransition> finish(const ProbeResult& result, uint64_t now_ms, balancer::Random& random);

 private:
  std::optional<CheckTransition> move_to(balancer::EndpointHealth health, std::string reason);
  uint64_t next_interval_ms(balancer::Random& random) const;

  const conf::Health settings_;
  balancer::EndpointHealth health_;
  bool running_ = false;
  uint64_t due_ms_ = 0;
  uint64_t started_ms_ = 0;
  uint64_t last_finished_ms_ = 0;
  uint32_t successes_ = 0;
  uint32_t failures_ = 0;
  std::string last_failure_;
};

}  // namespace sluice::health
