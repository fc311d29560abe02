// The judge's commands: what it knows, a trip by hand, and clearing the latch.
#include <fmt/format.h>

#include "admin/arguments.h"
#include "admin/command_table.h"
#include "admin/listing.h"
#include "admin/totals.h"
#include "balancer/cusum.h"
#include "balancer/trip_breaker.h"
#include "proxy/trip_report.h"

namespace sluice::admin {
namespace {

using balancer::TripStatus;

Json counts_json(const balancer::ColourCounts& counts) {
  const balancer::RateBounds bounds = counts.bounds();
  Json by_outcome = Json::object();
  for (size_t i = 1; i < balancer::kOutcomes; ++i) {
    by_outcome[to_string(static_cast<balancer::Outcome>(i))] = counts.by_outcome[i];
  }
  return {{"attempts", counts.attempts}, {"errors", counts.errors},   {"rate", bounds.rate},
          {"rate_low", bounds.lower},    {"rate_high", bounds.upper}, {"by_outcome", by_outcome}};
}

// Who judges at the moment: "yes" stands for both detectors.
std::string judged(const TripStatus& status) {
  if (!status.judging) return "no";
  if (!status.learning) return "yes";
  if (status.split < conf::kFullSplit) return "learning, comparison only";
  return fmt::format("learning, {:.3g} % passes", 100 * status.baseline.upper);
}

Json trip_json(const std::string& name, const proxy::ServiceEntry& entry, const TripStatus& status) {
  const bool tripped = entry.state->tripped();
  const auto& detectors = status.detectors;
  return {{"service", name},
          {"state", tripped ? "tripped" : "serving"},
          {"enabled", status.enabled},
          {"judging", status.judging},
          {"learning", status.learning},
          {"judged", judged(status)},
          {"verdict", to_string(status.verdict.kind)},
          {"detector", to_string(status.verdict.detector)},
          {"reason", tripped ? entry.trip_reason : status.verdict.reason},
          {"since", tripped ? Json(rfc3339(entry.tripped_at_us)) : Json()},
          {"green_share", status.green_share},
          {"baseline_rate", status.baseline.rate},
          {"baseline_attempts", status.baseline_attempts},
          {"rise", detectors.green_rise},
          {"blue_rise", detectors.blue_rise},
          {"rise_threshold", detectors.rise_threshold},
          {"rise_alone", detectors.rise_alone},
          {"blue_rise_threshold", balancer::Cusum::kThreshold},
          {"recent_log", detectors.recent},
          {"recent_log_threshold", detectors.recent_threshold},
          {"only_green_log", detectors.only_green},
          {"only_green_log_threshold", detectors.only_green_threshold},
          {"comparison_log", detectors.comparison},
          {"comparison_log_threshold", detectors.comparison_threshold},
          {"blue", counts_json(status.counts[0])},
          {"green", counts_json(status.counts[1])}};
}

std::string evidence_text(const balancer::TripBreaker& breaker, const balancer::Evidence* last) {
  if (!breaker.tripped()) return {};
  if (last != nullptr) return "\n" + balancer::to_text(*last);
  return "\n\n" + breaker.evidence().service +
         " tripped before this process was started; its report is in state_dir/reports";
}

Outcome show_trip(const Call& call) {
  std::vector<Json> rows;
  std::string reports;
  const auto refusal = for_services(call, [&](const std::string& name, const proxy::ServiceEntry& entry) {
    const balancer::TripBreaker* const breaker = call.control().judge().find(name);
    if (breaker == nullptr) return;
    const balancer::Evidence* const last = call.control().judge().last_trip(name);
    rows.push_back(trip_json(name, entry, breaker->status()));
    rows.back()["evidence"] = Json::parse(proxy::to_json(*call.control().judge().evidence(name)));
    reports += evidence_text(*breaker, last);
  });
  if (refusal.has_value()) return *refusal;
  Outcome table = listing(call.format, "trip", rows,
                          {{"service", "SERVICE"},
                           {"state", "STATE"},
                           {"judged", "JUDGED"},
                           {"rise", "RISE"},
                           {"rise_threshold", "AT"},
                           {"recent_log", "RECENT"},
                           {"recent_log_threshold", "AT"},
                           {"only_green_log", "ONLY-GREEN"},
                           {"only_green_log_threshold", "AT"},
                           {"comparison_log", "COMPARISON"},
                           {"comparison_log_threshold", "AT"},
                           {"blue_rise", "BLUE-RISE"},
                           {"blue_rise_threshold", "AT"},
                           {"reason", "REASON"}});
  if (call.format == Format::text && std::holds_alternative<Output>(table))
    std::get<Output>(table).body += reports;
  return table;
}

Outcome trip(const Call& call) {
  const std::string& service = call.arguments[0];
  const auto found = service_argument(call, service);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  const proxy::ServiceEntry& entry = *std::get<proxy::ServiceEntry*>(found);
  // Whoever wants it to be so need not know whether somebody was faster.
  if (entry.state->tripped()) {
    return either(call.format,
                  {{"service", service},
                   {"state", "tripped"},
                   {"green", 0.0},
                   {"generation", entry.state->split().get().generation},
                   {"reason", entry.trip_reason}},
                  fmt::format("{}: is tripped since {}: {}; everything goes to blue until 'reset {}'",
                              service, rfc3339(entry.tripped_at_us), entry.trip_reason, service));
  }
  std::string reason;
  for (size_t i = 1; i < call.arguments.size(); ++i) reason += (i > 1 ? " " : "") + call.arguments[i];
  const conf::Status tripped = call.control().trip(service, reason, call.actor);
  if (!tripped.ok()) return Refusal{tripped.error()};
  const uint64_t generation = entry.state->split().get().generation;
  return either(call.format,
                {{"service", service}, {"state", "tripped"}, {"green", 0.0}, {"generation", generation}},
                fmt::format("{}: tripped, everything goes to blue until 'reset {}'", service, service));
}

Outcome reset(const Call& call) {
  const std::string& service = call.arguments[0];
  const auto found = service_argument(call, service);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  const conf::Status done = call.control().reset(service, call.actor);
  if (!done.ok()) return Refusal{done.error()};
  return either(
      call.format, {{"service", service}, {"state", "serving"}},
      fmt::format("{}: the latch is cleared; green gets requests again when its weight is set", service));
}

constexpr Command kCommands[] = {
    {"show trip", "[SVC]",
     "What the judge of each service knows: its detectors and their thresholds, both colours' counts, and why it "
     "tripped or holds; in JSON with all of its evidence. While tripped, the evidence follows as text.",
     false, at_once<show_trip>},
    {"trip", "SVC [REASON...]",
     "Puts everything back on blue now. It stays there until reset. Wins in every state; of a "
     "service that is tripped it says why.",
     true, once_durable<trip>},
    {"reset", "SVC", "Clears the latch after a trip. Green's share stays 0 until it is set again.", true,
     once_durable<reset>},
};

}  // namespace

std::span<const Command> trip_commands() {
  return kCommands;
}

}  // namespace sluice::admin
