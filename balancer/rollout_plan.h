// RolloutPlan: the splits of a rollout and what must be true between them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conf/config.h"
#include "conf/result.h"

namespace sluice::balancer {

struct RolloutPlan {
  static constexpr size_t kMaxSteps = conf::kMaxRolloutSteps;

  std::vector<conf::BasisPoints> steps;  // strictly ascending, 1..kFullSplit
  uint64_t hold_ms = 300000;
  uint64_t min_requests = 600;
  double max_latency_ratio = 1.5;
  double margin = 0.01;
  bool auto_promote = true;
  uint64_t deadline_ms = 0;     // held longer than this at one step: abort; 0: never
  uint64_t return_ms = 0;       // going back takes this long; 0: at once
  std::string gate = {};        // may veto each step; where it was when the plan was made; empty: none
  uint32_t smoke_requests = 0;  // sent to green before the first step; 0: none
  // By the command that started it, not by the configuration.
  bool steps_given = false;
  bool hold_given = false;

  bool asks_gate() const { return !gate.empty(); }
  static RolloutPlan from(const conf::Rollout& settings);
  bool operator==(const RolloutPlan&) const = default;
};

// An error of kind invalid names what is wrong with the plan.
conf::Status validate(const RolloutPlan& plan);

}  // namespace sluice::balancer
