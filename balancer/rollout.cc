#include "balancer/rollout.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "balancer/rollout_text.h"

namespace sluice::balancer {
namespace {

using Kind = RolloutAction::Kind;

conf::Error refused(std::string why) {
  return {conf::Error::Kind::refused, conf::Error::Source::operator_, false, std::move(why)};
}

}  // namespace

const char* to_string(RolloutState state) {
  constexpr const char* names[kRolloutStates] = {"idle",      "preflight", "holding", "paused",
                                                 "returning", "completed", "aborted", "tripped"};
  return names[static_cast<size_t>(state)];
}

const char* to_string(Notice notice) {
  constexpr const char* names[] = {"start", "step",  "hold",   "trip", "abort",
                                   "done",  "pause", "resume", "veto", "smoke"};
  return names[static_cast<size_t>(notice)];
}

Rollout::Rollout(std::string service, conf::BasisPoints split)
    : service_(std::move(service)), split_(split) {}

size_t Rollout::step_entered() const {
  return place() == RolloutState::holding || place() == RolloutState::returning ? step_ + 1 : 0;
}

bool Rollout::running() const {
  return state_ == RolloutState::preflight || state_ == RolloutState::holding ||
         state_ == RolloutState::paused || state_ == RolloutState::returning;
}

conf::Status Rollout::may_rise_to(conf::BasisPoints split) const {
  if (split <= split_) return conf::Done{};
  if (frozen_) return refused("A freeze is on: no split may rise until `freeze off`.");
  if (latched_) return refused("The service has tripped: reset it first.");
  return conf::Done{};
}

std::optional<uint64_t> Rollout::earliest_step_ms() const {
  std::optional<uint64_t> latest = 0;
  for (const Waiting& one : waiting_) {
    if (!one.earliest_ms) return std::nullopt;
    latest = std::max(*latest, *one.earliest_ms);
  }
  return waiting_.empty() ? std::nullopt : latest;
}

std::optional<uint64_t> Rollout::least_left_ms(uint64_t now_ms) const {
  uint64_t step_ms = 0;
  size_t to_come = plan_.steps.size();
  if (place() == RolloutState::holding) {
    step_ms = plan_.hold_ms - std::min(plan_.hold_ms, evidence_.held_ms);
    to_come -= step_ + 1;
  } else if (place() != RolloutState::preflight) {
    return std::nullopt;
  }
  if (const auto earliest = earliest_step_ms(); earliest && *earliest > now_ms) {
    step_ms = std::max(step_ms, *earliest - now_ms);
  }
  return step_ms + to_come * plan_.hold_ms;
}

double Rollout::granted(std::string_view cap) const {
  if (place() != RolloutState::holding || split_ != plan_.steps[step_] ||
      evidence_.held_ms >= plan_.hold_ms) {
    return 0;
  }
  for (const CapForecast& one : grants_) {
    if (one.cap == cap) return one.ours;
  }
  return 0;
}

// ---- commands

conf::Result<RolloutActions> Rollout::start(const RolloutPlan& plan, Moment at) {
  if (running())
    return refused("A rollout is " + std::string(to_string(state_)) + " already: abort it first.");
  if (conf::Status valid = validate(plan); !valid) return valid.error();
  if (plan.steps.front() < split_) {
    return refused("Green has " + percent(split_) + " already, more than the first step's " +
                   percent(plan.steps.front()) + ".");
  }
  if (latched_) return refused("The service has tripped: reset it first.");
  if (frozen_) return refused("A freeze is on: no split may rise.");
  return begin(plan, at);
}

conf::Result<RolloutActions> Rollout::retry(const RolloutPlan& plan, Moment at) {
  if (state_ != RolloutState::aborted && state_ != RolloutState::tripped) {
    return refused("Only a rollout that was aborted or has tripped can be retried; this one is " +
                   std::string(to_string(state_)) + ".");
  }
  return start(plan, at);
}

RolloutActions Rollout::begin(const RolloutPlan& plan, Moment at) {
  RolloutActions actions;
  plan_ = plan;
  step_ = 0;
  state_ = RolloutState::preflight;
  evidence_ = {};
  for (ColourEvidence& seen : all_seen_) seen = {};
  blue_before_ = {};
  waiting_.clear();
  foreseen_.clear();
  grants_.clear();
  forget_gate();
  smoke_ = {};
  told_hold_.clear();
  saved_ms_ = at.now_ms;
  report_ = {};
  report_.service = service_;
  report_.plan = plan.steps;
  report_.began_unix_ms = at.unix_ms;
  actions.push_back({.kind = Kind::save});
  tell(Notice::start, "The rollout has begun with its pre-flight.", at, actions);
  return actions;
}

conf::Result<RolloutActions> Rollout::pause(Moment at, const std::string& reason) {
  if (state_ != RolloutState::preflight && state_ != RolloutState::holding) {
    return refused("A rollout that is " + std::string(to_string(state_)) + " cannot be paused.");
  }
  RolloutActions actions;
  paused_from_ = state_;
  state_ = RolloutState::paused;
  waiting_.clear();
  foreseen_.clear();
  forget_gate();
  if (smoke_.state != Question::State::yes) smoke_ = {};
  actions.push_back({.kind = Kind::save});
  tell(Notice::pause, "Paused: " + reason, at, actions);
  return actions;
}

conf::Result<RolloutActions> Rollout::resume(Moment at) {
  if (state_ != RolloutState::paused) {
    return refused("A rollout that is " + std::string(to_string(state_)) + " cannot be resumed.");
  }
  RolloutActions actions;
  if (paused_from_ == RolloutState::preflight) {
    if (plan_.steps.front() < split_) {
      return refused("Green was given " + percent(split_) + " by hand, more than the first step's " +
                     percent(plan_.steps.front()) + ".");
    }
    state_ = RolloutState::preflight;
    actions.push_back({.kind = Kind::save});
    tell(Notice::resume, "The pre-flight goes on.", at, actions);
    return actions;
  }
  if (conf::Status may = may_rise_to(plan_.steps[step_]); !may) return may.error();
  if (split_ == plan_.steps[step_]) {
    state_ = RolloutState::holding;
    actions.push_back({.kind = Kind::save});
    tell(Notice::resume, "The step of " + percent(split_) + " is held on.", at, actions);
    return actions;
  }
  // What was seen at the split that was set by hand says nothing about the step.
  leave_step("interrupted", "The split was changed by hand.", at);
  enter_step(step_, at, actions);
  return actions;
}

conf::Result<RolloutActions> Rollout::promote(Moment at, bool full) {
  if (state_ != RolloutState::preflight && state_ != RolloutState::holding) {
    return refused("A rollout that is " + std::string(to_string(state_)) + " cannot be promoted" +
                   (state_ == RolloutState::paused ? "; `rollout resume` first." : "."));
  }
  const auto unhealthy = std::find_if(waiting_.begin(), waiting_.end(),
                                      [](const Waiting& one) { return one.what == "endpoints"; });
  if (state_ == RolloutState::preflight && unhealthy != waiting_.end()) {
    return refused("Green is not healthy: " + unhealthy->why);
  }
  const bool completes = full || (state_ == RolloutState::holding && at_last_step());
  const size_t target = completes                           ? plan_.steps.size() - 1
                        : state_ == RolloutState::preflight ? 0
                                                            : step_ + 1;
  if (conf::Status may = may_rise_to(plan_.steps[target]); !may) return may.error();

  RolloutActions actions;
  const bool asks = plan_.asks_gate() && !(state_ == RolloutState::holding && at_last_step());
  if (asks && !full && !(gate_.state == Question::State::yes && gate_is_fresh(at))) {
    if (gate_.state == Question::State::no && gate_is_fresh(at)) {
      return refused("The gate said no: " + gate_.reason + " It is asked again after a minute; " +
                     "`rollout promote --full` goes to the last step without it.");
    }
    if (gate_.state != Question::State::asked) ask_gate(plan_.steps[target], at, actions);
    promotion_asked_ = true;
    return actions;
  }
  std::string reason = "Promoted by hand.";
  if (asks && full) reason += past_gate();
  if (!waiting_.empty()) reason += " Missing: " + sentences_of(waiting_);
  report_.add_event(at.unix_ms, reason);
  leave_step("promoted", reason, at);
  if (target != step_ || state_ == RolloutState::preflight) enter_step(target, at, actions);
  if (completes) complete("promoted", reason, at, actions);
  return actions;
}

conf::Result<RolloutActions> Rollout::abort(Moment at, const std::string& reason) {
  if (state_ == RolloutState::idle) return refused("There is no rollout to abort.");
  RolloutActions actions;
  if (state_ == RolloutState::aborted || state_ == RolloutState::tripped) {
    if (split_ == 0) return actions;
    set_split(0, actions);
    actions.push_back({.kind = Kind::save});
    tell(Notice::abort, "What green was given since goes back, all requests go to blue: " + reason, at,
         actions);
    return actions;
  }
  if (state_ == RolloutState::returning) {
    finish(RolloutState::aborted, reason, at, actions);
  } else {
    go_back(reason, at, actions);
  }
  return actions;
}

// ---- what happened elsewhere

RolloutActions Rollout::split_changed(conf::BasisPoints green, Moment at, const char* by) {
  RolloutActions actions;
  split_ = green;
  const std::string text = "the split was set to " + percent(green) + " " + by + ".";
  if (state_ == RolloutState::preflight || state_ == RolloutState::holding) return *pause(at, text);
  if (state_ == RolloutState::returning) {
    // That word ends the ramp, at that split.
    state_ = RolloutState::aborted;
    report_.ended_unix_ms = at.unix_ms;
    report_.outcome = to_string(state_);
    report_.reason = return_reason_;
    actions.push_back({.kind = Kind::save});
    tell(Notice::abort, "The way back has ended: " + text, at, actions);
    actions.push_back({.kind = Kind::finish_report});
  }
  return actions;
}

RolloutActions Rollout::tripped(const std::string& reason, Moment at) {
  RolloutActions actions;
  latched_ = true;
  if (running() || state_ == RolloutState::completed) {
    leave_step("tripped", reason, at);
    finish(RolloutState::tripped, reason, at, actions);
  } else {
    set_split(0, actions);
    actions.push_back({.kind = Kind::save});
  }
  return actions;
}

RolloutActions Rollout::gate_answered(uint64_t number, bool allowed, const std::string& reason, Moment at) {
  RolloutActions actions;
  if (number != gate_number_ || gate_.state != Question::State::asked) return actions;
  gate_ = {allowed ? Question::State::yes : Question::State::no, at.now_ms, reason};
  if (allowed) told_veto_.clear();
  if (!allowed) tell_veto("The gate said no: " + reason, at, actions);
  if (!std::exchange(promotion_asked_, false) || !allowed) return actions;
  const conf::Result<RolloutActions> promoted = promote(at, false);
  if (promoted.ok()) return *promoted;
  report_.add_event(at.unix_ms, "Not promoted: " + promoted.error().detail);
  return actions;
}

void Rollout::forget_gate() {
  gate_ = {};
  promotion_asked_ = false;
  told_veto_.clear();
}

// It is asked each minute, perhaps all night: the same no is told once.
void Rollout::tell_veto(const std::string& text, Moment at, RolloutActions& actions) {
  if (text == told_veto_) return;
  told_veto_ = text;
  tell(Notice::veto, text, at, actions);
}

void Rollout::ask_gate(conf::BasisPoints next, Moment at, RolloutActions& actions) {
  gate_ = {Question::State::asked, at.now_ms, ""};
  actions.push_back({.kind = Kind::ask_gate, .green = next, .number = ++gate_number_});
  if (std::any_of(waiting_.begin(), waiting_.end(), [](const Waiting& one) { return one.what == "gate"; }))
    return;
  waiting_.push_back({"gate", 0, 0, "", "The gate is being asked.", at.now_ms});
}

// What the report says of a promotion that went past the gate.
std::string Rollout::past_gate() const {
  switch (gate_.state) {
    case Question::State::none:
      return " The gate was not asked.";
    case Question::State::asked:
      return " The gate had not answered.";
    case Question::State::no:
      return " The gate had said no: " + gate_.reason;
    case Question::State::yes:
      return "";
  }
  return "";
}

bool Rollout::awaits_smoke(uint64_t round) const {
  return state_ == RolloutState::preflight && smoke_.state == Question::State::asked && round == smoke_round_;
}

RolloutActions Rollout::smoke_finished(uint64_t round, bool passed, const std::string& reason, Moment at) {
  RolloutActions actions;
  if (!awaits_smoke(round)) return actions;
  smoke_ = {passed ? Question::State::yes : Question::State::no, at.now_ms, reason};
  tell(Notice::smoke, passed ? "The smoke requests passed." : "The smoke requests failed: " + reason, at,
       actions);
  return actions;
}

// ---- transitions

void Rollout::set_split(conf::BasisPoints split, RolloutActions& actions) {
  assert(split <= split_ || (!frozen_ && !latched_));
  if (split == split_) return;
  split_ = split;
  actions.push_back({.kind = Kind::set_split, .green = split});
}

void Rollout::tell(Notice notice, std::string text, Moment at, RolloutActions& actions) {
  report_.add_event(at.unix_ms, text);
  actions.push_back({.kind = Kind::notify, .green = split_, .notice = notice, .text = std::move(text)});
}

void Rollout::enter_step(size_t step, Moment at, RolloutActions& actions) {
  blue_before_ = blue_reference();
  evidence_ = {};
  for (ColourEvidence& seen : all_seen_) seen = {};
  step_ = step;
  state_ = RolloutState::holding;
  waiting_ = {held_for(plan_, 0, at.now_ms)};  // the rest is known at the next tick
  grants_ = std::exchange(foreseen_, {});
  forget_gate();
  told_hold_.clear();
  saved_ms_ = at.now_ms;
  set_split(plan_.steps[step], actions);
  StepReport entered;
  entered.green = split_;
  entered.began_unix_ms = at.unix_ms;
  report_.add_step(std::move(entered));
  actions.push_back({.kind = Kind::save});
  tell(Notice::step,
       "Step " + std::to_string(step + 1) + " of " + std::to_string(plan_.steps.size()) + ": green has " +
           percent(split_) + ".",
       at, actions);
}

void Rollout::leave_step(const char* outcome, const std::string& reason, Moment at) {
  if (report_.steps.empty() || report_.steps.back().ended_unix_ms != 0) return;
  StepReport& step = report_.steps.back();
  step.ended_unix_ms = at.unix_ms;
  step.outcome = outcome;
  step.reason = reason;
  fill(step);
}

void Rollout::fill(StepReport& step) const {
  step.held_ms = evidence_.held_ms;
  for (const conf::Colour colour : conf::kColours) {
    step.by_colour[static_cast<size_t>(colour)] = UpstreamFigures::of(all_seen_[static_cast<size_t>(colour)]);
  }
}

RolloutReport Rollout::report_so_far() const {
  RolloutReport so_far = report_;
  if (!so_far.steps.empty() && so_far.steps.back().ended_unix_ms == 0) fill(so_far.steps.back());
  return so_far;
}

void Rollout::complete(const char* outcome, const std::string& reason, Moment at, RolloutActions& actions) {
  leave_step(outcome, reason, at);
  state_ = RolloutState::completed;
  waiting_.clear();
  forget_gate();
  report_.ended_unix_ms = at.unix_ms;
  report_.outcome = to_string(state_);
  report_.reason = reason;
  actions.push_back({.kind = Kind::save});
  tell(Notice::done, "The rollout is complete: green has " + percent(split_) + ".", at, actions);
  actions.push_back({.kind = Kind::finish_report});
}

void Rollout::go_back(const std::string& reason, Moment at, RolloutActions& actions) {
  leave_step("aborted", reason, at);
  if (plan_.return_ms == 0 || split_ == 0) {
    finish(RolloutState::aborted, reason, at, actions);
    return;
  }
  state_ = RolloutState::returning;
  waiting_.clear();
  forget_gate();
  return_from_ = split_;
  return_reason_ = reason;
  returned_ms_ = 0;
  stalled_ms_ = 0;
  actions.push_back({.kind = Kind::save});
  tell(Notice::abort, "Going back over " + duration_text(plan_.return_ms) + ": " + reason, at, actions);
}

void Rollout::finish(RolloutState state, const std::string& reason, Moment at, RolloutActions& actions) {
  const bool told_already = state_ == RolloutState::returning && state == RolloutState::aborted;
  set_split(0, actions);
  state_ = state;
  waiting_.clear();
  forget_gate();
  report_.ended_unix_ms = at.unix_ms;
  report_.outcome = to_string(state);
  report_.reason = told_already ? return_reason_ : reason;
  actions.push_back({.kind = Kind::save});
  if (state == RolloutState::tripped) {
    tell(Notice::trip, "Tripped, all requests go to blue: " + reason, at, actions);
  } else {
    tell(Notice::abort,
         told_already ? "All requests go to blue." : "Aborted, all requests go to blue: " + reason, at,
         actions);
  }
  actions.push_back({.kind = Kind::finish_report});
}

}  // namespace sluice::balancer
