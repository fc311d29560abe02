#include "admin/wait.h"

#include <fmt/format.h>

#include <utility>

#include "admin/arguments.h"
#include "balancer/rollout.h"
#include "conf/units.h"

namespace sluice::admin {

using proxy::RunState;
using State = WaitProgress::State;

namespace {

std::variant<WaitCheck, Refusal> wait_for_ready(const Call& call, std::span<const std::string> words) {
  if (!words.empty()) return Refusal{"usage", "write: wait SECONDS ready"};
  return [&control = call.control()]() -> WaitProgress {
    const std::string why_not = control.why_not_ready();
    if (why_not.empty()) return {State::met, {}};
    return {control.state() == RunState::draining ? State::impossible : State::pending, why_not};
  };
}

std::variant<WaitCheck, Refusal> wait_for_split(const Call& call, std::span<const std::string> words) {
  if (words.size() != 2) return Refusal{"usage", "write: wait SECONDS split SVC green=N"};
  const auto service = service_argument(call, words[0]);
  if (const auto* refusal = std::get_if<Refusal>(&service)) return *refusal;
  const auto green = green_argument(words[1]);
  if (const auto* refusal = std::get_if<Refusal>(&green)) return *refusal;
  return [&control = call.control(), name = words[0],
          wanted = std::get<conf::BasisPoints>(green)]() -> WaitProgress {
    const proxy::ServiceEntry* const entry = control.registry().find(name);
    if (entry == nullptr) return {State::impossible, fmt::format("service '{}' is gone", name)};
    const conf::BasisPoints now = entry->state->split().get().green;
    if (now == wanted) return {State::met, {}};
    if (wanted > 0 && !control.service_conf(name).has_green) {
      return {State::impossible, fmt::format("service '{}' has no green upstream", name)};
    }
    return {State::pending, fmt::format("green has {} %", conf::format_percent(now))};
  };
}

std::variant<WaitCheck, Refusal> wait_for_trip(const Call& call, std::span<const std::string> words) {
  if (words.size() != 1) return Refusal{"usage", "write: wait SECONDS tripped SVC"};
  const auto service = service_argument(call, words[0]);
  if (const auto* refusal = std::get_if<Refusal>(&service)) return *refusal;
  return [&control = call.control(), name = words[0]]() -> WaitProgress {
    const proxy::ServiceEntry* const entry = control.registry().find(name);
    if (entry == nullptr) return {State::impossible, fmt::format("service '{}' is gone", name)};
    if (entry->state->tripped()) return {State::met, {}};
    return {State::pending, fmt::format("service '{}' is serving", name)};
  };
}

std::variant<WaitCheck, Refusal> wait_for_rollout(const Call& call, std::span<const std::string> words) {
  if (words.size() != 1) return Refusal{"usage", "write: wait SECONDS rollout-done SVC"};
  const auto service = service_argument(call, words[0]);
  if (const auto* refusal = std::get_if<Refusal>(&service)) return *refusal;
  return [&control = call.control(), name = words[0]]() -> WaitProgress {
    using balancer::RolloutState;
    const balancer::Rollout* const rollout = control.rollouts().find(name);
    if (rollout == nullptr) return {State::impossible, fmt::format("service '{}' has no rollout", name)};
    const std::string now = fmt::format("the rollout of '{}' is {}", name, to_string(rollout->state()));
    switch (rollout->state()) {
      case RolloutState::completed:
        return {State::met, {}};
      case RolloutState::preflight:
      case RolloutState::holding:
      case RolloutState::paused:
        return {State::pending, now};
      case RolloutState::idle:
      case RolloutState::returning:
      case RolloutState::aborted:
      case RolloutState::tripped:
        return {State::impossible,
                rollout->report().reason.empty() ? now : now + ": " + rollout->report().reason};
    }
    return {State::impossible, now};
  };
}

constexpr WaitCondition kConditions[] = {
    {"ready", "", wait_for_ready},
    {"rollout-done", "SVC", wait_for_rollout},
    {"split", "SVC green=N", wait_for_split},
    {"tripped", "SVC", wait_for_trip},
};

}  // namespace

std::span<const WaitCondition> wait_conditions() {
  return kConditions;
}

Waits::Wait::Wait(Waits& the_owner, WaitCheck the_check, AnswerPtr the_answer)
    : owner(the_owner),
      check(std::move(the_check)),
      answer(std::move(the_answer)),
      deadline([](void* wait) { static_cast<Wait*>(wait)->owner.time_out(*static_cast<Wait*>(wait)); },
               this) {}

Waits::Waits(proxy::Control& control)
    : control_(control),
      watching_(control.on_change([this] { look(); })),
      sweep_([](void* self) { static_cast<Waits*>(self)->sweep(); }, this) {}

Waits::~Waits() {
  control_.forget_change(watching_);
}

bool Waits::take_place() {
  if (places_taken_ >= kMost) return false;
  ++places_taken_;
  return true;
}

void Waits::begin(WaitCheck check, uint64_t delay_ms, AnswerPtr answer) {
  if (!take_place()) {
    answer->finish(Refusal{"unavailable", fmt::format("{} commands are waiting, which is the most", kMost)});
    return;
  }
  waits_.push_back(std::make_unique<Wait>(*this, std::move(check), std::move(answer)));
  Wait& wait = *waits_.back();
  wait.answer->on_abandoned([this] { control_.loop().defer(sweep_); });
  control_.loop().arm(wait.deadline, delay_ms);
  look_at(wait);
}

void Waits::look() {
  // By index: an answer that is finished may not add a wait before this ends.
  for (size_t i = 0; i < waits_.size(); ++i) look_at(*waits_[i]);
}

void Waits::look_at(Wait& wait) {
  if (wait.answer->finished()) return;
  WaitProgress progress = wait.check();
  if (progress.state != State::met && control_.state() == RunState::stopped) {
    progress = {State::impossible, "the process is stopping"};
  }
  switch (progress.state) {
    case State::pending:
      return;
    case State::met:
      end(wait, Output{});
      return;
    case State::impossible:
      end(wait, Refusal{"refused", "it can no longer happen: " + progress.why});
      return;
  }
}

void Waits::time_out(Wait& wait) {
  if (wait.answer->finished()) return;
  end(wait, Refusal{"timeout", "the time ran out: " + wait.check().why});
}

void Waits::end(Wait& wait, const Outcome& outcome) {
  wait.answer->finish(outcome);
  control_.loop().defer(sweep_);
}

// Lets go of those that are finished or abandoned.
void Waits::sweep() {
  places_taken_ -= std::erase_if(waits_, [](const auto& wait) { return wait->answer->finished(); });
}

void Waits::close() {
  for (const auto& wait : waits_) wait->answer->abandon();
}

}  // namespace sluice::admin
