// RolloutReport: what a rollout leaves behind, step by step, with the reasons;
// as JSON for programs and as text for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "balancer/rollout_judge.h"
#include "conf/config.h"
#include "conf/result.h"

namespace sluice::balancer {

struct UpstreamFigures {
  uint64_t attempts = 0;
  uint64_t errors = 0;
  double p50_s = 0;
  double p95_s = 0;
  double p99_s = 0;

  static UpstreamFigures of(const ColourEvidence& seen);
  bool operator==(const UpstreamFigures&) const = default;
};

struct StepReport {
  conf::BasisPoints green = 0;
  int64_t began_unix_ms = 0;
  int64_t ended_unix_ms = 0;  // 0: still there
  uint64_t held_ms = 0;
  std::string outcome;  // passed, promoted, aborted, tripped, interrupted; empty: still there
  std::string reason;   // a sentence; of a promotion, what was missing
  UpstreamFigures by_colour[2];

  bool operator==(const StepReport&) const = default;
};

struct RolloutReport {
  // The oldest go when there are more: a rollout that is paused and resumed by
  // hand all day stays within its journal record.
  static constexpr size_t kMaxSteps = 200;
  static constexpr size_t kMaxEvents = 200;

  struct Event {
    int64_t unix_ms = 0;
    std::string text;
    bool operator==(const Event&) const = default;
  };

  std::string service;
  std::vector<conf::BasisPoints> plan;
  int64_t began_unix_ms = 0;
  int64_t ended_unix_ms = 0;  // 0: under way
  std::string outcome;        // completed, aborted, tripped; empty: under way
  std::string reason;
  std::vector<StepReport> steps;
  std::vector<Event> events;

  void add_event(int64_t unix_ms, std::string text);
  void add_step(StepReport step);
  bool operator==(const RolloutReport&) const = default;

  // For the journal.
  std::string save() const;
  static conf::Result<RolloutReport> restore(std::string_view bytes);
};

// One JSON object on one line (RFC 8259), keys in snake_case, units in the keys.
std::string to_json(const RolloutReport& report);
std::string to_text(const RolloutReport& report);

}  // namespace sluice::balancer
