// The judgement between two steps of a rollout: may green have the next split?
//
// Each function answers with what is still missing; an empty list is a pass.
// Whatever is unknown is missing: nothing passes for want of data.
//
// Pure functions over plain values; the state machine is in balancer/rollout.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "balancer/forecast.h"
#include "balancer/histogram.h"
#include "balancer/rollout_plan.h"
#include "conf/config.h"

namespace sluice::balancer {

// What was seen of one upstream since the last observation.
struct UpstreamObservation {
  uint64_t attempts = 0;                       // that ended, and count for judgement
  uint64_t errors = 0;                         // of those
  const HistogramSnapshot* latency = nullptr;  // of those; null: none
  uint32_t endpoints = 0;
  uint32_t endpoints_out = 0;    // of those, not usable: unknown, down, ejected, drained
  uint32_t connections = 0;      // in use at this moment
  uint32_t idle = 0;             // the others in the pools
  uint32_t max_connections = 0;  // 0: no limit
};

struct Observation {
  UpstreamObservation upstreams[2];  // by conf::Colour
  std::vector<SharedCap> caps;       // that count either of them
  std::string judge_hold;            // why the trip breaker wants no step; empty: it does not
  bool state_saved = true;           // the journal holds what was last asked of it

  const UpstreamObservation& of(conf::Colour colour) const { return upstreams[static_cast<size_t>(colour)]; }
};

// What was seen of one upstream at one step. Heavy: it has a histogram.
struct ColourEvidence {
  uint64_t attempts = 0;
  uint64_t errors = 0;
  uint64_t span_ms = 0;  // over which this was seen
  HistogramSnapshot latency;
  ConnectionSeries connections;

  void add(uint64_t passed_ms, const UpstreamObservation& seen);
  void add(const ColourEvidence& other);
};

// What a step is judged by. Of a long hold what was seen long ago is forgotten, so
// that green is judged as it is: when the latest stretch is both as long and as
// full as is needed, what was seen before it goes. So there are at least one
// stretch and at most about two.
struct StepEvidence {
  ColourEvidence by_colour[2];
  ColourEvidence latest[2];  // the stretch under way; its requests are in by_colour as well
  uint64_t held_ms = 0;      // while holding, without pauses and restarts

  const ColourEvidence& of(conf::Colour colour) const { return by_colour[static_cast<size_t>(colour)]; }
  void add(uint64_t passed_ms, const Observation& seen, const RolloutPlan& plan);
};

// One thing that a rollout waits for.
struct Waiting {
  std::string what;  // hold, requests, blue-requests, error-rate, blue, latency, endpoints, forecast, judge,
                     // freeze, journal, promote, gate, smoke, caps
  double have = 0;
  double need = 0;   // have must reach it, or for what must not be exceeded, not pass it
  std::string unit;  // "s", "requests", "share", "endpoints", "connections"; empty: no figures
  std::string why;   // a sentence
  // When it can come true if things go on as they do, on the rollout's clock;
  // nothing: cannot be told.
  std::optional<uint64_t> earliest_ms;
};

struct StepQuestion {
  const RolloutPlan& plan;
  const StepEvidence& seen;
  const ColourEvidence& blue;  // what green is compared with: blue at this step, and before if that is little
  const Observation& now;
  conf::BasisPoints split = 0;
  std::optional<conf::BasisPoints> next;  // nothing: this is the last step
  uint64_t now_ms = 0;
};

// The least of a stretch, see StepEvidence: a hold, and as long as it takes to know
// blue's rate (Baseline). And as many requests as show that green is no worse, if it
// is not, at any error rate that blue may have; the tail of the latencies wants some
// thousands in any case (balancer/latency.h).
inline constexpr uint64_t kLeastStretchMs = 5 * 60 * 1000;
inline constexpr uint64_t kLeastStretchRequests = 5000;
uint64_t stretch_ms(const RolloutPlan& plan);
uint64_t stretch_requests(const RolloutPlan& plan);

// Blue requests without which neither its rate nor its latency means anything.
inline constexpr uint64_t kMinBlueRequests = 100;
// With more of blue's own requests failing no step passes.
inline constexpr double kMostBlueErrorRate = 0.25;
// For as many observations blue's connections are watched before its peak counts.
inline constexpr uint64_t kMinConnectionSamples = 10;
// With fewer of green than this no rate is known well enough to pass by, whatever
// min_requests says.
inline constexpr uint64_t kMinGreenRequests = 50;

// What green's upper bound may exceed blue's rate by: the plan's margin, or what
// min_requests without one error leave in doubt; the operator has said that so
// many are enough to judge by.
double allowed_excess(const RolloutPlan& plan);

// Everything the evidence has to show; what operators and gates have to say is
// added by Rollout.
// That the step has not been held long enough: for what is known without a look.
Waiting held_for(const RolloutPlan& plan, uint64_t held_ms, uint64_t now_ms);

std::vector<Waiting> judge_step(const StepQuestion& question);

// All caps that count green, at the next split, which there must be.
std::optional<std::vector<CapForecast>> foresee(const StepQuestion& question);

// Before the first step, with what was seen since the start: green is healthy,
// and both colours at full size fit.
std::vector<Waiting> judge_preflight(const Observation& now, const StepEvidence& seen,
                                     conf::BasisPoints split, uint64_t now_ms);

// The words, with commas between; and the sentences.
std::string names_of(const std::vector<Waiting>& waiting);
std::string sentences_of(const std::vector<Waiting>& waiting);

// The loads that the forecasts want.
void fill_loads(ColourLoad (&loads)[2], const ColourEvidence& blue, const ColourEvidence& green,
                const Observation& now);

}  // namespace sluice::balancer
