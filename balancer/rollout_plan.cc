#include "balancer/rollout_plan.h"

#include "balancer/rollout_text.h"

namespace sluice::balancer {
namespace {

conf::Error bad_plan(std::string why) {
  return {conf::Error::Kind::invalid, conf::Error::Source::operator_, false, std::move(why)};
}

}  // namespace

RolloutPlan RolloutPlan::from(const conf::Rollout& settings) {
  RolloutPlan plan;
  plan.steps = settings.steps;
  plan.hold_ms = settings.hold_ms;
  plan.min_requests = settings.min_requests;
  plan.max_latency_ratio = settings.max_latency_ratio;
  plan.margin = settings.margin;
  plan.auto_promote = settings.auto_promote;
  plan.deadline_ms = settings.deadline_ms;
  plan.return_ms = settings.return_ms;
  plan.gate = settings.gate;
  plan.smoke_requests = settings.smoke_requests;
  return plan;
}

conf::Status validate(const RolloutPlan& plan) {
  if (plan.steps.empty()) return bad_plan("The plan has no steps.");
  if (plan.steps.size() > RolloutPlan::kMaxSteps) {
    return bad_plan("The plan has more than " + std::to_string(RolloutPlan::kMaxSteps) + " steps.");
  }
  conf::BasisPoints previous = 0;
  for (const conf::BasisPoints step : plan.steps) {
    if (step > conf::kFullSplit) return bad_plan("The step " + percent(step) + " is over 100 %.");
    if (step == 0) return bad_plan("A step of 0 % gives green nothing to show.");
    if (step <= previous) {
      return bad_plan("The steps must rise, but " + percent(step) + " follows " + percent(previous) + ".");
    }
    previous = step;
  }
  if (!(plan.max_latency_ratio > 0)) return bad_plan("max_latency_ratio must be above 0.");
  if (!(plan.margin >= 0 && plan.margin < conf::kMarginBelow)) {
    return bad_plan("The margin must be at least 0 and below 1.");
  }
  if (plan.deadline_ms != 0 && plan.deadline_ms <= plan.hold_ms) {
    return bad_plan("The deadline must be longer than the hold, or every step would end in an abort.");
  }
  return conf::Done{};
}

}  // namespace sluice::balancer
