#include "health/active_check.h"

#include <algorithm>
#include <cassert>

namespace sluice::health {

using balancer::EndpointHealth;

ActiveCheck::ActiveCheck(const conf::Health& settings, uint64_t now_ms, balancer::Random& random,
                         EndpointHealth known)
    : settings_(settings),
      health_(known),
      due_ms_(now_ms + random.below(std::min(kFirstSpreadMs, std::max(settings.interval_ms, 1U)))) {}

void ActiveCheck::start(uint64_t now_ms) {
  assert(!running_);
  running_ = true;
  started_ms_ = now_ms;
}

std::optional<CheckTransition> ActiveCheck::finish(const ProbeResult& result, uint64_t now_ms,
                                                   balancer::Random& random) {
  assert(running_);
  running_ = false;
  last_finished_ms_ = now_ms;
  std::optional<CheckTransition> transition;
  if (result.ok()) {
    ++successes_;
    failures_ = 0;
    if (health_ == EndpointHealth::unknown) {
      transition = move_to(EndpointHealth::up, "the first check succeeded");
      due_ms_ = now_ms + 1 + random.below(std::max(settings_.interval_ms, 1U));
      return transition;
    }
    if (health_ == EndpointHealth::down && successes_ >= settings_.rise) {
      transition = move_to(EndpointHealth::up, std::to_string(successes_) + " checks succeeded");
    }
  } else {
    ++failures_;
    successes_ = 0;
    last_failure_ = result.reason;
    if (health_ == EndpointHealth::up && fails()) {
      transition =
          move_to(EndpointHealth::down, std::to_string(failures_) + " failed checks: " + result.reason);
    }
  }
  due_ms_ = std::max(started_ms_ + next_interval_ms(random), now_ms + 1);
  return transition;
}

std::optional<CheckTransition> ActiveCheck::move_to(EndpointHealth health, std::string reason) {
  const EndpointHealth from = health_;
  health_ = health;
  return CheckTransition{from, health, std::move(reason)};
}

uint64_t ActiveCheck::next_interval_ms(balancer::Random& random) const {
  const bool healthy = health_ == EndpointHealth::up && failures_ == 0;
  const uint32_t unhealthy_ms =
      std::max(settings_.interval_ms / kUnhealthyDivisor, std::min(kLeastUnhealthyMs, settings_.interval_ms));
  const uint32_t interval_ms = healthy ? settings_.interval_ms : unhealthy_ms;
  return static_cast<uint64_t>(interval_ms * (1 - kJitter + 2 * kJitter * random.unit()));
}

}  // namespace sluice::health
