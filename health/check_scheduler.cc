#include "health/check_scheduler.h"

#include <algorithm>

namespace sluice::health {

CheckId CheckScheduler::add(const conf::Health& settings, std::unique_ptr<Probe> probe, uint64_t now_ms,
                            balancer::EndpointHealth known) {
  const CheckId id = ++last_id_;
  const auto& check =
      checks_.emplace(id, Check{ActiveCheck(settings, now_ms, random_, known), std::move(probe)});
  due_.emplace(check.first->second.state.due_ms(), id);
  return id;
}

void CheckScheduler::remove(CheckId id) {
  const auto found = checks_.find(id);
  if (found == checks_.end()) return;
  const ActiveCheck& state = found->second.state;
  if (state.running()) {
    deadlines_.erase({state.deadline_ms(), id});
    found->second.probe->cancel();
  } else {
    due_.erase({state.due_ms(), id});
  }
  checks_.erase(found);
}

void CheckScheduler::advance(uint64_t now_ms) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_ms) {
    const CheckId id = deadlines_.begin()->second;
    checks_.at(id).probe->cancel();
    finish(id, {ProbeResult::Kind::timed_out, "timed out"}, now_ms);
  }
  while (running() < kMaxRunning && !due_.empty() && due_.begin()->first <= now_ms) {
    start(due_.begin()->second, now_ms);
  }
}

uint64_t CheckScheduler::next_wakeup_ms() const {
  const uint64_t deadline_ms = deadlines_.empty() ? kNever : deadlines_.begin()->first;
  // With all places taken, the next start waits for a result or a deadline.
  const uint64_t due_ms = due_.empty() || running() >= kMaxRunning ? kNever : due_.begin()->first;
  return std::min(deadline_ms, due_ms);
}

const ActiveCheck* CheckScheduler::find(CheckId id) const {
  const auto found = checks_.find(id);
  return found == checks_.end() ? nullptr : &found->second.state;
}

void CheckScheduler::start(CheckId id, uint64_t now_ms) {
  Check& check = checks_.at(id);
  due_.erase({check.state.due_ms(), id});
  check.state.start(now_ms);
  deadlines_.emplace(check.state.deadline_ms(), id);
  const uint64_t attempt = ++check.attempt;
  check.probe->start([this, id, attempt](const ProbeResult& result, uint64_t finished_ms) {
    const auto found = checks_.find(id);
    if (found == checks_.end() || found->second.attempt != attempt || !found->second.state.running()) return;
    finish(id, result, finished_ms);
  });
}

void CheckScheduler::finish(CheckId id, const ProbeResult& result, uint64_t now_ms) {
  ActiveCheck& state = checks_.at(id).state;
  deadlines_.erase({state.deadline_ms(), id});
  const auto transition = state.finish(result, now_ms, random_);
  due_.emplace(state.due_ms(), id);
  if (transition) on_transition_(id, *transition);
  on_result_(id);
}

}  // namespace sluice::health
