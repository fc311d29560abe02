// What the journal keeps of a Rollout; see balancer/fields.h for the format.
#include <algorithm>

#include "balancer/fields.h"
#include "balancer/rollout.h"

namespace sluice::balancer {
namespace {

conf::Error not_a_rollout(const char* why) {
  return {conf::Error::Kind::invalid, conf::Error::Source::system, false,
          std::string("The saved rollout makes no sense: ") + why + "."};
}

// The buckets that are not empty: index:u32 amount:u64 each.
std::string save_histogram(const HistogramSnapshot& histogram) {
  std::string bytes;
  for (size_t index = 0; index < HistogramBuckets::kCount; ++index) {
    if (histogram.bucket(index) == 0) continue;
    append_u32(bytes, static_cast<uint32_t>(index));
    append_u64(bytes, histogram.bucket(index));
  }
  return bytes;
}

// Of a record that another wrote: no service has so many caps.
constexpr uint64_t kMostGrants = 1000;

HistogramSnapshot read_histogram(std::string_view bytes) {
  HistogramSnapshot histogram;
  for (; bytes.size() >= 12; bytes.remove_prefix(12)) {
    const size_t index = read_u32(bytes);
    if (index < HistogramBuckets::kCount) histogram.add(index, read_u64(bytes.substr(4)));
  }
  return histogram;
}

void save_evidence(FieldWriter& fields, const std::string& prefix, const ColourEvidence& seen) {
  fields.number(prefix + ".attempts", seen.attempts);
  fields.number(prefix + ".errors", seen.errors);
  fields.number(prefix + ".span_ms", seen.span_ms);
  fields.text(prefix + ".latency", save_histogram(seen.latency));
  fields.number(prefix + ".samples", seen.connections.samples());
  fields.number(prefix + ".connections", seen.connections.sum());
  fields.number(prefix + ".peak", seen.connections.peak());
  fields.number(prefix + ".least_idle", seen.connections.least_idle());
}

void read_evidence(const FieldReader& fields, const std::string& prefix, ColourEvidence& seen) {
  seen.attempts = fields.number(prefix + ".attempts");
  seen.errors = fields.number(prefix + ".errors");
  seen.span_ms = fields.number(prefix + ".span_ms");
  seen.latency = read_histogram(fields.text(prefix + ".latency"));
  seen.connections =
      ConnectionSeries(fields.number(prefix + ".samples"), fields.number(prefix + ".connections"),
                       static_cast<uint32_t>(fields.number(prefix + ".peak")),
                       static_cast<uint32_t>(fields.number(prefix + ".least_idle")));
}

void save_plan(FieldWriter& fields, const RolloutPlan& plan) {
  std::string steps;
  for (const conf::BasisPoints step : plan.steps) append_u32(steps, step);
  fields.text("plan.steps", steps);
  fields.number("plan.hold_ms", plan.hold_ms);
  fields.number("plan.min_requests", plan.min_requests);
  fields.real("plan.max_latency_ratio", plan.max_latency_ratio);
  fields.real("plan.margin", plan.margin);
  fields.number("plan.auto_promote", plan.auto_promote ? 1 : 0);
  fields.number("plan.deadline_ms", plan.deadline_ms);
  fields.number("plan.return_ms", plan.return_ms);
  fields.text("plan.gate", plan.gate);
  fields.number("plan.smoke_requests", plan.smoke_requests);
  fields.number("plan.steps_given", plan.steps_given ? 1 : 0);
  fields.number("plan.hold_given", plan.hold_given ? 1 : 0);
}

}  // namespace

std::string Rollout::save() const {
  FieldWriter fields;
  fields.text("service", service_);
  fields.number("state", static_cast<uint64_t>(state_));
  fields.number("paused_from", static_cast<uint64_t>(paused_from_));
  if (state_ == RolloutState::idle) return fields.take();
  save_plan(fields, plan_);
  fields.number("step", step_);
  fields.number("held_ms", evidence_.held_ms);
  for (const conf::Colour colour : conf::kColours) {
    const std::string name = conf::to_string(colour);
    const auto i = static_cast<size_t>(colour);
    save_evidence(fields, name, evidence_.by_colour[i]);
    save_evidence(fields, name + "_latest", evidence_.latest[i]);
    save_evidence(fields, name + "_all", all_seen_[i]);
  }
  save_evidence(fields, "blue_before", blue_before_);
  fields.number("smoke_passed", smoke_.state == Question::State::yes ? 1 : 0);
  fields.number("grants", grants_.size());
  for (size_t i = 0; i < grants_.size(); ++i) {
    fields.text("grant." + std::to_string(i), grants_[i].cap);
    fields.real("grant." + std::to_string(i), grants_[i].ours);
  }
  fields.number("return_from", return_from_);
  fields.number("returned_ms", returned_ms_);
  fields.number("stalled_ms", stalled_ms_);
  fields.text("return_reason", return_reason_);
  fields.text("report", report_.save());
  return fields.take();
}

void Rollout::restore_plan(const FieldReader& fields) {
  const std::string steps = fields.text("plan.steps");
  for (size_t at = 0; at + 4 <= steps.size(); at += 4) {
    plan_.steps.push_back(read_u32(std::string_view(steps).substr(at)));
  }
  plan_.hold_ms = fields.number("plan.hold_ms");
  plan_.min_requests = fields.number("plan.min_requests");
  plan_.max_latency_ratio = fields.real("plan.max_latency_ratio");
  plan_.margin = fields.real("plan.margin");
  plan_.auto_promote = fields.number("plan.auto_promote") != 0;
  plan_.deadline_ms = fields.number("plan.deadline_ms");
  plan_.return_ms = fields.number("plan.return_ms");
  plan_.gate = fields.text("plan.gate");
  plan_.smoke_requests = static_cast<uint32_t>(fields.number("plan.smoke_requests"));
  plan_.steps_given = fields.number("plan.steps_given") != 0;
  plan_.hold_given = fields.number("plan.hold_given") != 0;
}

void Rollout::restore_position(const FieldReader& fields) {
  step_ = fields.number("step");
  evidence_.held_ms = fields.number("held_ms");
  for (const conf::Colour colour : conf::kColours) {
    const std::string name = conf::to_string(colour);
    const auto i = static_cast<size_t>(colour);
    read_evidence(fields, name, evidence_.by_colour[i]);
    read_evidence(fields, name + "_latest", evidence_.latest[i]);
    read_evidence(fields, name + "_all", all_seen_[i]);
  }
  read_evidence(fields, "blue_before", blue_before_);
  if (fields.number("smoke_passed") != 0) smoke_.state = Question::State::yes;
  for (uint64_t i = 0; i < std::min(fields.number("grants"), kMostGrants); ++i) {
    const std::string name = "grant." + std::to_string(i);
    grants_.push_back({.cap = fields.text(name), .ours = fields.real(name)});
  }
  return_from_ = static_cast<conf::BasisPoints>(fields.number("return_from"));
  returned_ms_ = fields.number("returned_ms");
  stalled_ms_ = fields.number("stalled_ms");
  return_reason_ = fields.text("return_reason");
}

conf::Result<std::unique_ptr<Rollout>> Rollout::restore(std::string_view saved, conf::BasisPoints split,
                                                        bool latched, bool frozen) {
  const conf::Result<FieldReader> fields = FieldReader::parse(saved);
  if (!fields) return fields.error();
  auto rollout = std::make_unique<Rollout>(fields->text("service"), split);
  rollout->latched_ = latched;
  rollout->frozen_ = frozen;
  const uint64_t state = fields->number("state", kRolloutStates);
  const uint64_t paused_from = fields->number("paused_from");
  if (state >= kRolloutStates || paused_from >= kRolloutStates) return not_a_rollout("an unknown state");
  rollout->state_ = static_cast<RolloutState>(state);
  rollout->paused_from_ = static_cast<RolloutState>(paused_from);
  if (rollout->state_ == RolloutState::idle) return rollout;

  rollout->restore_plan(*fields);
  if (const conf::Status valid = validate(rollout->plan_); !valid) return valid.error();
  rollout->restore_position(*fields);
  if (rollout->step_ >= rollout->plan_.steps.size()) return not_a_rollout("a step that the plan has not");
  if (rollout->state_ == RolloutState::returning && rollout->plan_.return_ms == 0) {
    return not_a_rollout("a way back that takes no time");
  }
  auto report = RolloutReport::restore(fields->text("report"));
  if (!report) return report.error();
  rollout->report_ = std::move(*report);
  // One record holds both, so this is another's doing: an operator has to look.
  if (rollout->state_ == RolloutState::holding && split != rollout->plan_.steps[rollout->step_]) {
    rollout->state_ = RolloutState::paused;
    rollout->paused_from_ = RolloutState::holding;
  }
  return rollout;
}

}  // namespace sluice::balancer
