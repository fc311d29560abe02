#include "balancer/rollout_judge.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "balancer/latency.h"
#include "balancer/rollout_text.h"
#include "balancer/wilson.h"

namespace sluice::balancer {
namespace {

using conf::Colour;

double seconds(uint64_t ms) {
  return static_cast<double>(ms) / 1000;
}

std::string whole(double value) {
  return std::to_string(static_cast<uint64_t>(std::ceil(value)));
}

// When a count that took `span_ms` will have grown from `have` to `need`, at its pace.
std::optional<uint64_t> when_counted(double have, double need, uint64_t span_ms, uint64_t now_ms) {
  if (have <= 0 || span_ms == 0) return std::nullopt;
  return now_ms + static_cast<uint64_t>(std::ceil((need - have) * static_cast<double>(span_ms) / have));
}

// What an operator may say that so many are enough to judge by.
uint64_t trusted_requests(const RolloutPlan& plan) {
  return std::max(plan.min_requests, kMinGreenRequests);
}

void judge_hold(const StepQuestion& q, std::vector<Waiting>& missing) {
  if (q.seen.held_ms < q.plan.hold_ms) missing.push_back(held_for(q.plan, q.seen.held_ms, q.now_ms));
}

void judge_requests(const StepQuestion& q, std::vector<Waiting>& missing) {
  const auto green = static_cast<double>(q.seen.of(Colour::green).attempts);
  const auto need = static_cast<double>(q.plan.min_requests);
  if (green < need) {
    missing.push_back({"requests", green, need, "requests",
                       "Too few requests of green were judged at this step.",
                       when_counted(green, need, q.seen.of(Colour::green).span_ms, q.now_ms)});
  }
  if (q.blue.attempts < kMinBlueRequests) {
    const auto blue = static_cast<double>(q.blue.attempts);
    missing.push_back(
        {"blue-requests", blue, kMinBlueRequests, "requests",
         q.split == conf::kFullSplit
             ? "Too few requests of blue were seen to compare green with, and blue has none now; "
               "`rollout promote` completes."
             : "Too few requests of blue were seen to compare green with.",
         q.split == conf::kFullSplit ? std::nullopt
                                     : when_counted(blue, kMinBlueRequests, q.blue.span_ms, q.now_ms)});
  }
}

// The attempts after which the bound would pass if the rate stayed as it is:
// the width of the interval falls with the root of the attempts.
std::optional<uint64_t> when_rate_passes(const StepQuestion& q, const RateBounds& green, double allowed) {
  if (green.rate >= allowed) return std::nullopt;
  const auto attempts = static_cast<double>(q.seen.of(Colour::green).attempts);
  double enough = attempts;
  while (wilson(green.rate * enough, enough).upper > allowed && enough < attempts * 1e6) enough *= 1.05;
  return when_counted(attempts, enough, q.seen.of(Colour::green).span_ms, q.now_ms);
}

void judge_error_rate(const StepQuestion& q, std::vector<Waiting>& missing) {
  const ColourEvidence& seen = q.seen.of(Colour::green);
  const RateBounds green = wilson(static_cast<double>(seen.errors), static_cast<double>(seen.attempts));
  const double blue =
      q.blue.attempts == 0 ? 0 : static_cast<double>(q.blue.errors) / static_cast<double>(q.blue.attempts);
  const double allowed = blue + allowed_excess(q.plan);
  if (green.upper <= allowed) return;
  missing.push_back({"error-rate", green.upper, allowed, "share",
                     "Green's error rate is " + percent_of(green.rate) + " and may be as high as " +
                         percent_of(green.upper) + "; blue's " + percent_of(blue) + " allows " +
                         percent_of(allowed) + ".",
                     when_rate_passes(q, green, allowed)});
}

// Something fails that both depend on: that green is no worse says nothing now.
void judge_blue(const StepQuestion& q, std::vector<Waiting>& missing) {
  if (q.blue.attempts < kMinBlueRequests) return;
  const double blue = static_cast<double>(q.blue.errors) / static_cast<double>(q.blue.attempts);
  if (blue <= kMostBlueErrorRate) return;
  missing.push_back(
      {"blue", blue, kMostBlueErrorRate, "share",
       "Blue itself fails " + percent_of(blue) + " of its requests: nothing can be said of green.",
       std::nullopt});
}

void judge_latency(const StepQuestion& q, std::vector<Waiting>& missing) {
  const LatencyComparison tail = compare_latency(q.blue.latency, q.seen.of(Colour::green).latency,
                                                 q.plan.max_latency_ratio, q.plan.min_requests);
  if (tail.within) return;
  std::string why = "No latencies to compare yet.";
  if (tail.quantile > 0) {
    char text[160];
    std::snprintf(
        text, sizeof text,
        "Of green's requests %.2f %%, and it may be %.2f %%, took over %.1f ms; at most %.0f %% may.",
        tail.over_share * 100, tail.over_upper * 100, static_cast<double>(tail.allowed_ns) / 1e6,
        tail.over_allowed * 100);
    why = text;
  }
  missing.push_back({"latency", tail.over_upper, tail.over_allowed, "share", why, std::nullopt});
}

void judge_endpoints(const Observation& now, std::vector<Waiting>& missing) {
  const UpstreamObservation& green = now.of(Colour::green);
  if (green.endpoints > 0 && green.endpoints_out == 0) return;
  const uint32_t in = green.endpoints - green.endpoints_out;
  const std::string why = green.endpoints == 0 ? "Green has no endpoint."
                                               : std::to_string(green.endpoints_out) + " of green's " +
                                                     std::to_string(green.endpoints) + " endpoints are out.";
  missing.push_back({"endpoints", static_cast<double>(in),
                     std::max(1.0, static_cast<double>(green.endpoints)), "endpoints", why, std::nullopt});
}

std::string cap_text(const CapForecast& forecast) {
  return forecast.own ? "green's max_connections" : "cap." + forecast.cap;
}

std::string forecast_text(const CapForecast& forecast, const char* when) {
  return "Under " + cap_text(forecast) + ", " + std::to_string(forecast.now) +
         " connections in use would be up to " + whole(forecast.expected) + " " + when + "; at most " +
         std::to_string(static_cast<uint64_t>(forecast.limit)) + " may.";
}

void judge_forecast(const StepQuestion& q, std::vector<Waiting>& missing) {
  if (!q.next) return;
  const auto forecasts = foresee(q);
  if (!forecasts) {
    missing.push_back(
        {"forecast", 0, 0, "", "Nothing was seen to foresee green's connections from.", std::nullopt});
    return;
  }
  for (const CapForecast& forecast : *forecasts) {
    if (forecast.fits()) continue;
    missing.push_back({"forecast", forecast.expected, forecast.limit, "connections",
                       forecast_text(forecast, ("at " + percent(*q.next)).c_str()), std::nullopt});
  }
}

void judge_circumstances(const Observation& now, std::vector<Waiting>& missing) {
  if (!now.judge_hold.empty()) missing.push_back({"judge", 0, 0, "", now.judge_hold, std::nullopt});
  if (!now.state_saved) {
    missing.push_back({"journal", 0, 0, "", "The state could not be saved; see the log.", std::nullopt});
  }
}

}  // namespace

Waiting held_for(const RolloutPlan& plan, uint64_t held_ms, uint64_t now_ms) {
  return {"hold",
          seconds(held_ms),
          seconds(plan.hold_ms),
          "s",
          "The step is held for " + duration_text(plan.hold_ms) + ".",
          now_ms + plan.hold_ms - held_ms};
}

std::optional<std::vector<CapForecast>> foresee(const StepQuestion& q) {
  ColourLoad loads[2];
  fill_loads(loads, q.seen.of(Colour::blue), q.seen.of(Colour::green), q.now);
  return forecast_split(loads, q.now.caps, q.split, *q.next);
}

double allowed_excess(const RolloutPlan& plan) {
  return std::max(plan.margin, wilson(0, static_cast<double>(trusted_requests(plan))).upper);
}

uint64_t stretch_ms(const RolloutPlan& plan) {
  return std::max(plan.hold_ms, kLeastStretchMs);
}

// The interval's half width z·sqrt(p·(1 - p) / n), z = 2, has to come within the
// excess also at p = kMostBlueErrorRate; once more for what blue's rate is in doubt.
uint64_t stretch_requests(const RolloutPlan& plan) {
  constexpr double kVariance = kMostBlueErrorRate * (1 - kMostBlueErrorRate);
  const double excess = allowed_excess(plan);
  const auto enough = static_cast<uint64_t>(std::ceil(2 * 4 * kVariance / (excess * excess)));
  return std::max({enough, kLeastStretchRequests, 4 * trusted_requests(plan)});
}

void StepEvidence::add(uint64_t passed_ms, const Observation& seen, const RolloutPlan& plan) {
  held_ms += passed_ms;
  for (const Colour colour : conf::kColours) {
    const auto i = static_cast<size_t>(colour);
    by_colour[i].add(passed_ms, seen.of(colour));
    latest[i].add(passed_ms, seen.of(colour));
    if (latest[i].span_ms < stretch_ms(plan) || latest[i].attempts < stretch_requests(plan)) continue;
    by_colour[i] = latest[i];
    latest[i] = {};
  }
}

void ColourEvidence::add(uint64_t passed_ms, const UpstreamObservation& seen) {
  span_ms += passed_ms;
  attempts += seen.attempts;
  errors += seen.errors;
  if (seen.latency != nullptr) latency += *seen.latency;
  connections.add(seen.connections, seen.idle);
}

void ColourEvidence::add(const ColourEvidence& other) {
  span_ms += other.span_ms;
  attempts += other.attempts;
  errors += other.errors;
  latency += other.latency;
}

void fill_loads(ColourLoad (&loads)[2], const ColourEvidence& blue, const ColourEvidence& green,
                const Observation& now) {
  for (const Colour colour : conf::kColours) {
    const ColourEvidence& seen = colour == Colour::blue ? blue : green;
    const UpstreamObservation& upstream = now.of(colour);
    loads[static_cast<size_t>(colour)] = {seen.connections, seen.attempts, upstream.connections,
                                          upstream.max_connections};
  }
}

std::vector<Waiting> judge_step(const StepQuestion& question) {
  std::vector<Waiting> missing;
  judge_hold(question, missing);
  judge_requests(question, missing);
  judge_error_rate(question, missing);
  judge_blue(question, missing);
  judge_latency(question, missing);
  judge_endpoints(question.now, missing);
  judge_forecast(question, missing);
  judge_circumstances(question.now, missing);
  return missing;
}

std::vector<Waiting> judge_preflight(const Observation& now, const StepEvidence& seen,
                                     conf::BasisPoints split, uint64_t now_ms) {
  std::vector<Waiting> missing;
  judge_endpoints(now, missing);
  ColourLoad loads[2];
  fill_loads(loads, seen.of(Colour::blue), seen.of(Colour::green), now);
  const Colour known = split == conf::kFullSplit ? Colour::green : Colour::blue;
  const ColourEvidence& evidence = seen.of(known);
  const bool enough =
      evidence.attempts >= kMinBlueRequests && evidence.connections.samples() >= kMinConnectionSamples;
  const FullForecast full = forecast_both_full(loads, now.caps, split, enough);
  for (const CapForecast& forecast : full.caps) {
    if (forecast.fits()) continue;
    missing.push_back({"caps", forecast.expected, forecast.limit, "connections",
                       forecast_text(forecast, "with both colours at full size"), std::nullopt});
  }
  for (const CapForecast& cap : full.unknown) {
    const auto have = static_cast<double>(evidence.attempts);
    missing.push_back(
        {"caps", have, kMinBlueRequests, "requests",
         std::string("Too little of ") + to_string(known) +
             " was seen to foresee what both colours need under " + cap_text(cap) +
             "; their max_connections do not keep them within it.",
         have < kMinBlueRequests ? when_counted(have, kMinBlueRequests, evidence.span_ms, now_ms) : now_ms});
  }
  judge_circumstances(now, missing);
  return missing;
}

std::string names_of(const std::vector<Waiting>& waiting) {
  std::string names;
  for (const Waiting& one : waiting) names += (names.empty() ? "" : ", ") + one.what;
  return names;
}

std::string sentences_of(const std::vector<Waiting>& waiting) {
  std::string text;
  for (const Waiting& one : waiting) text += (text.empty() ? "" : " ") + one.why;
  return text;
}

}  // namespace sluice::balancer
