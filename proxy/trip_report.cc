#include "proxy/trip_report.h"

#include <nlohmann/json.hpp>

#include "balancer/rollout_text.h"

namespace sluice::proxy {
namespace {

using Json = nlohmann::ordered_json;
using balancer::Evidence;

Json time(const Evidence& evidence, uint64_t at_ms) {
  const int64_t unix_ms = evidence.unix_ms(at_ms);
  return unix_ms == 0 ? Json() : Json(balancer::rfc3339(unix_ms));
}

double seconds(uint64_t ns) {
  return static_cast<double>(ns) / 1e9;
}

Json rates(const balancer::RateBounds& bounds) {
  return {{"rate", bounds.rate}, {"rate_low", bounds.lower}, {"rate_high", bounds.upper}};
}

Json latency(const balancer::LatencySummary& summary) {
  Json buckets = Json::array();
  for (const auto& bucket : summary.buckets) {
    buckets.push_back({{"below_s", seconds(bucket.below_ns)}, {"count", bucket.count}});
  }
  return {{"count", summary.count},           {"p50_s", seconds(summary.p50_ns)},
          {"p95_s", seconds(summary.p95_ns)}, {"p99_s", seconds(summary.p99_ns)},
          {"max_s", seconds(summary.max_ns)}, {"buckets", buckets}};
}

Json colour(const Evidence& evidence, conf::Colour which) {
  const auto i = static_cast<size_t>(which);
  const balancer::ColourCounts& counts = evidence.counts[i];
  Json json = {{"attempts", counts.attempts}, {"errors", counts.errors}};
  json.update(rates(counts.bounds()));
  json["by_outcome"] = Json::object();
  for (size_t outcome = 1; outcome < counts.by_outcome.size(); ++outcome) {
    json["by_outcome"][to_string(static_cast<balancer::Outcome>(outcome))] = counts.by_outcome[outcome];
  }
  json["latency"] = latency(evidence.latencies[i]);
  return json;
}

Json detectors(const Evidence& evidence) {
  Json list = Json::array();
  for (const balancer::DetectorSample& sample : evidence.samples) {
    list.push_back({{"at", time(evidence, sample.at_ms)},
                    {"rise", sample.green_rise},
                    {"rise_threshold", sample.rise_threshold},
                    {"rise_alone", sample.rise_alone},
                    {"blue_rise", sample.blue_rise},
                    {"recent_log", sample.recent},
                    {"recent_log_threshold", sample.recent_threshold},
                    {"only_green_log", sample.only_green},
                    {"only_green_log_threshold", sample.only_green_threshold},
                    {"comparison_log", sample.comparison},
                    {"comparison_log_threshold", sample.comparison_threshold}});
  }
  return list;
}

Json last_failed(const Evidence& evidence) {
  Json list = Json::array();
  for (const balancer::FailedRequest& failed : evidence.last_failed) {
    list.push_back({{"at", time(evidence, failed.at_ms)},
                    {"request_id", failed.request_id},
                    {"outcome", to_string(failed.outcome)},
                    {"endpoint", failed.endpoint},
                    {"client", failed.client},
                    {"path", failed.path}});
  }
  return list;
}

Json involved(const std::vector<balancer::Involved>& ones, const char* name) {
  Json list = Json::array();
  for (const balancer::Involved& one : ones) {
    list.push_back({{name, one.label},
                    {"errors", one.errors},
                    {"share_of_errors", one.share_of_errors},
                    {"share_of_traffic", one.share_of_traffic < 0 ? Json() : Json(one.share_of_traffic)}});
  }
  return list;
}

Json splits(const Evidence& evidence) {
  Json list = Json::array();
  for (const balancer::SplitChange& change : evidence.splits) {
    list.push_back(
        {{"at", time(evidence, change.at_ms)}, {"green", static_cast<double>(change.split) / 100}});
  }
  return list;
}

}  // namespace

std::string to_json(const Evidence& evidence) {
  Json json = {{"service", evidence.service},
               {"verdict", to_string(evidence.verdict.kind)},
               {"detector", to_string(evidence.verdict.detector)},
               {"reason", evidence.verdict.reason},
               {"step_began", time(evidence, evidence.step_began_ms)},
               {"first_error", time(evidence, evidence.first_error_ms)},
               {"tripped", time(evidence, evidence.tripped_ms)},
               {"first_error_to_trip_s", Json()},
               {"splits", splits(evidence)},
               {"green_share", evidence.green_share},
               {"blue", colour(evidence, conf::Colour::blue)},
               {"green", colour(evidence, conf::Colour::green)}};
  if (evidence.first_error_ms != 0 && evidence.tripped_ms != 0) {
    json["first_error_to_trip_s"] = static_cast<double>(evidence.tripped_ms - evidence.first_error_ms) / 1000;
  }
  json["baseline"] = rates(evidence.baseline);
  json["baseline"]["attempts"] = evidence.baseline_attempts;
  json["detectors"] = detectors(evidence);
  json["last_failed"] = last_failed(evidence);
  json["endpoints"] = involved(evidence.endpoints, "endpoint");
  json["clients"] = involved(evidence.clients, "client");
  json["paths"] = involved(evidence.paths, "path");
  json["held_back"] = evidence.held_back;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace sluice::proxy
