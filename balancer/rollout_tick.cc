// What time does to a Rollout: evidence, judgement, and the way back.
#include <algorithm>

#include "balancer/rollout.h"
#include "balancer/rollout_text.h"

namespace sluice::balancer {
namespace {

using Kind = RolloutAction::Kind;

// Does blue hold so many connections that it should not get more at once?
bool blue_is_full(const Observation& seen) {
  const UpstreamObservation& blue = seen.of(conf::Colour::blue);
  if (blue.max_connections != 0 && blue.connections >= kOwnWarnAt * blue.max_connections) return true;
  return std::any_of(seen.caps.begin(), seen.caps.end(), [](const SharedCap& cap) {
    return cap.counts[static_cast<size_t>(conf::Colour::blue)] && cap.used >= cap.warn_at * cap.max;
  });
}

}  // namespace

uint64_t Rollout::pass_time(Moment at) {
  const uint64_t passed_ms = last_tick_ms_ ? std::min(kMostTickMs, at.now_ms - *last_tick_ms_) : 0;
  last_tick_ms_ = at.now_ms;
  return passed_ms;
}

void Rollout::gather(Moment at, const Observation& seen) {
  add_evidence(pass_time(at), seen);
}

void Rollout::add_evidence(uint64_t passed_ms, const Observation& seen) {
  if (state_ != RolloutState::preflight && state_ != RolloutState::holding) return;
  evidence_.add(passed_ms, seen, plan_);
  for (const conf::Colour colour : conf::kColours) {
    all_seen_[static_cast<size_t>(colour)].add(passed_ms, seen.of(colour));
  }
}

RolloutActions Rollout::tick(Moment at, const Observation& seen) {
  RolloutActions actions;
  const uint64_t passed_ms = pass_time(at);
  add_evidence(passed_ms, seen);
  if (state_ == RolloutState::preflight)
    tick_preflight(at, seen, actions);
  else if (state_ == RolloutState::holding)
    tick_holding(at, seen, actions);
  else if (state_ == RolloutState::returning)
    tick_returning(passed_ms, at, seen, actions);
  const bool gathers = state_ == RolloutState::preflight || state_ == RolloutState::holding;
  if (gathers && at.now_ms - saved_ms_ >= save_each_ms()) {
    saved_ms_ = at.now_ms;
    actions.push_back({.kind = Kind::save});
  }
  return actions;
}

uint64_t Rollout::save_each_ms() const {
  return std::clamp(plan_.hold_ms / 10, kSaveAtMostEachMs, kSaveAtLeastEachMs);
}

void Rollout::tick_preflight(Moment at, const Observation& seen, RolloutActions& actions) {
  const conf::BasisPoints first = plan_.steps.front();
  waiting_ = judge_preflight(seen, evidence_, split_, at.now_ms);
  const bool ready = waiting_.empty();
  wait_for_freeze(first);
  if (ready && plan_.smoke_requests != 0) wait_for_smoke(at, actions);
  if (plan_.asks_gate() && (waiting_.empty() || promotion_asked_)) wait_for_gate(at, first, actions);
  ColourLoad loads[2];
  fill_loads(loads, evidence_.of(conf::Colour::blue), evidence_.of(conf::Colour::green), seen);
  foreseen_ = forecast_first(loads, seen.caps, split_, first);
  if (waiting_.empty()) {
    enter_step(0, at, actions);
  } else if (past_deadline()) {
    go_back("The deadline passed in the pre-flight. " + sentences_of(waiting_), at, actions);
  }
}

void Rollout::tick_holding(Moment at, const Observation& seen, RolloutActions& actions) {
  const std::optional<conf::BasisPoints> next =
      at_last_step() ? std::nullopt : std::optional(plan_.steps[step_ + 1]);
  const StepQuestion question{plan_, evidence_, blue_reference(), seen, split_, next, at.now_ms};
  waiting_ = judge_step(question);
  foreseen_.clear();
  if (next) {
    foreseen_ = foresee(question).value_or(std::vector<CapForecast>());
    wait_for_freeze(*next);
    if (plan_.asks_gate() && (waiting_.empty() || promotion_asked_)) wait_for_gate(at, *next, actions);
  }
  if (next && !plan_.auto_promote) {
    waiting_.push_back(
        {"promote", 0, 0, "", "auto_promote is off: `rollout promote` goes on.", std::nullopt});
  }
  if (waiting_.empty()) {
    if (!next) {
      complete("passed", "All steps have passed.", at, actions);
    } else {
      leave_step("passed", "All that was asked for was met.", at);
      enter_step(step_ + 1, at, actions);
    }
    return;
  }
  if (past_deadline()) {
    go_back("The deadline passed. " + sentences_of(waiting_), at, actions);
    return;
  }
  if (evidence_.held_ms >= plan_.hold_ms) tell_hold(at, actions);
}

void Rollout::wait_for_freeze(conf::BasisPoints next) {
  if (!frozen_ || next <= split_) return;
  waiting_.push_back({"freeze", 0, 0, "", "A freeze is on: no split may rise.", std::nullopt});
}

void Rollout::wait_for_gate(Moment at, conf::BasisPoints next, RolloutActions& actions) {
  const uint64_t waited_ms = at.now_ms - gate_.since_ms;
  if (gate_.state == Question::State::asked && waited_ms >= kGateTimeoutMs) {
    gate_ = {Question::State::no, at.now_ms, "it did not answer."};
    promotion_asked_ = false;
    tell_veto("The gate did not answer.", at, actions);
  } else if (gate_.state != Question::State::none && waited_ms >= kAskAgainMs) {
    gate_ = {};  // also a yes grows stale while other things are missing
  }
  if (gate_.state == Question::State::yes) return;
  if (gate_.state == Question::State::none) return ask_gate(next, at, actions);
  if (gate_.state == Question::State::no) {
    waiting_.push_back({"gate", 0, 0, "", "The gate said no: " + gate_.reason, gate_.since_ms + kAskAgainMs});
  } else {
    waiting_.push_back({"gate", 0, 0, "", "The gate is being asked.", at.now_ms});
  }
}

void Rollout::wait_for_smoke(Moment at, RolloutActions& actions) {
  if (smoke_.state == Question::State::yes) return;
  if (at.now_ms - smoke_.since_ms >= kAskAgainMs) smoke_ = {};  // also a round that never ended
  if (smoke_.state == Question::State::none) {
    smoke_ = {Question::State::asked, at.now_ms, ""};
    actions.push_back({.kind = Kind::smoke, .number = plan_.smoke_requests, .round = ++smoke_round_});
  }
  if (smoke_.state == Question::State::no) {
    waiting_.push_back(
        {"smoke", 0, 0, "", "The smoke requests failed: " + smoke_.reason, smoke_.since_ms + kAskAgainMs});
  } else {
    waiting_.push_back({"smoke", 0, 0, "", "The smoke requests are under way.", at.now_ms});
  }
}

void Rollout::tell_hold(Moment at, RolloutActions& actions) {
  const std::string names = names_of(waiting_);
  const bool again = !told_hold_.empty() && (names == told_hold_ || at.now_ms - told_hold_ms_ < kAskAgainMs);
  if (again) return;
  told_hold_ = names;
  told_hold_ms_ = at.now_ms;
  tell(Notice::hold, "Held at " + percent(split_) + ": " + sentences_of(waiting_), at, actions);
}

void Rollout::tick_returning(uint64_t passed_ms, Moment at, const Observation& seen,
                             RolloutActions& actions) {
  // A cold blue is given time, but not for ever: at most as long again.
  if (blue_is_full(seen) && stalled_ms_ < plan_.return_ms) {
    stalled_ms_ += passed_ms;
  } else {
    returned_ms_ += passed_ms;
  }
  const uint64_t done = std::min(kReturnSteps, returned_ms_ * kReturnSteps / plan_.return_ms);
  const auto target = static_cast<conf::BasisPoints>(return_from_ * (kReturnSteps - done) / kReturnSteps);
  if (target == 0) {
    finish(RolloutState::aborted, return_reason_, at, actions);
  } else if (target < split_) {
    set_split(target, actions);
    actions.push_back({.kind = Kind::save});
  }
}

const ColourEvidence& Rollout::blue_reference() {
  const ColourEvidence& here = evidence_.of(conf::Colour::blue);
  if (here.attempts >= std::max(plan_.min_requests, kMinBlueRequests) || blue_before_.attempts == 0)
    return here;
  blue_combined_ = blue_before_;
  blue_combined_.add(here);
  return blue_combined_;
}

}  // namespace sluice::balancer
