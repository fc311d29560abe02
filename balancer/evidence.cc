#include "balancer/evidence.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdarg>
#include <cstdio>

#include "balancer/histogram.h"
#include "balancer/rollout_text.h"

namespace sluice::balancer {
namespace {

constexpr double kNsPerMs = 1e6;
constexpr size_t kSamplesShown = 12;

[[gnu::format(printf, 2, 3)]] void append(std::string& text, const char* format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  const int length = std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  if (length > 0) text.append(line, std::min(static_cast<size_t>(length), sizeof line - 1));
}

double in_percent(double rate) {
  return 100 * rate;
}

// Seconds from the origin of the report to `at_ms`.
double seconds_since(uint64_t origin_ms, uint64_t at_ms) {
  return (static_cast<double>(at_ms) - static_cast<double>(origin_ms)) / 1000;
}

void append_counts(std::string& text, const Evidence& evidence) {
  for (const conf::Colour colour : conf::kColours) {
    const ColourCounts& counts = evidence.counts[static_cast<size_t>(colour)];
    const RateBounds bounds = counts.bounds();
    append(text, "%-10s%llu attempts, %llu errors", to_string(colour),
           static_cast<unsigned long long>(counts.attempts), static_cast<unsigned long long>(counts.errors));
    if (counts.attempts > 0) {
      append(text, ", %.2f %% (%.2f to %.2f)", in_percent(bounds.rate), in_percent(bounds.lower),
             in_percent(bounds.upper));
    }
    for (size_t i = 0; i < counts.by_outcome.size(); ++i) {
      if (counts.by_outcome[i] == 0) continue;
      append(text, ", %llu %s", static_cast<unsigned long long>(counts.by_outcome[i]),
             to_string(static_cast<Outcome>(i)));
    }
    text += '\n';
    const LatencySummary& latency = evidence.latencies[static_cast<size_t>(colour)];
    if (latency.count == 0) continue;
    append(text, "          p50 %.3g ms, p95 %.3g ms, p99 %.3g ms, max %.3g ms\n",
           static_cast<double>(latency.p50_ns) / kNsPerMs, static_cast<double>(latency.p95_ns) / kNsPerMs,
           static_cast<double>(latency.p99_ns) / kNsPerMs, static_cast<double>(latency.max_ns) / kNsPerMs);
    text += "          below";
    for (const LatencySummary::Bucket& bucket : latency.buckets) {
      append(text, " %.3g ms: %llu", static_cast<double>(bucket.below_ns) / kNsPerMs,
             static_cast<unsigned long long>(bucket.count));
    }
    text += '\n';
  }
  if (evidence.baseline_attempts == 0 && evidence.baseline.upper < 1) {
    append(text, "baseline  not learned yet: up to %.2f %% passed for normal\n",
           in_percent(evidence.baseline.upper));
    return;
  }
  if (evidence.baseline_attempts == 0) {
    text += "baseline  not learned yet: only the comparison judged\n";
    return;
  }
  append(text, "baseline  blue %.2f %% (%.2f to %.2f) over %llu attempts before\n",
         in_percent(evidence.baseline.rate), in_percent(evidence.baseline.lower),
         in_percent(evidence.baseline.upper), static_cast<unsigned long long>(evidence.baseline_attempts));
}

void append_involved(std::string& text, const char* title, const std::vector<Involved>& list) {
  if (list.empty()) return;
  append(text, "%s\n", title);
  for (const Involved& one : list) {
    append(text, "  %-40s %llu errors, %.0f %% of all", one.label.c_str(),
           static_cast<unsigned long long>(one.errors), in_percent(one.share_of_errors));
    if (one.share_of_traffic > 0) append(text, " (%.1f %% of the traffic)", in_percent(one.share_of_traffic));
    text += '\n';
  }
}

// At most kSamplesShown of the samples, every so many of them, the first and the last always.
void append_samples(std::string& text, const Evidence& evidence, uint64_t origin_ms) {
  const size_t count = evidence.samples.size();
  if (count == 0) return;
  text +=
      "detectors (at: rise of green / its limit, rise of blue, recent / limit, only green / limit, comparison / limit)\n";
  const size_t stride = (count + kSamplesShown - 2) / (kSamplesShown - 1);
  const size_t first = (count - 1) % stride;
  for (size_t at = 0; at < count; at = at < first ? first : at + stride) {
    const DetectorSample& sample = evidence.samples[at];
    append(text, "  %+9.3f s  %5.1f / %.1f  %5.1f  %6.1f / %.1f  %6.1f / %.1f  %6.1f / %.1f\n",
           seconds_since(origin_ms, sample.at_ms), sample.green_rise, sample.rise_threshold, sample.blue_rise,
           sample.recent, sample.recent_threshold, sample.only_green, sample.only_green_threshold,
           sample.comparison, sample.comparison_threshold);
  }
}

void append_failed(std::string& text, const Evidence& evidence, uint64_t origin_ms) {
  if (evidence.last_failed.empty()) return;
  text += "last failed requests on green\n";
  for (const FailedRequest& failed : evidence.last_failed) {
    append(text, "  %+9.3f s  %-8s %s %s %s %s\n", seconds_since(origin_ms, failed.at_ms),
           to_string(failed.outcome), failed.request_id.c_str(), failed.endpoint.c_str(),
           failed.client.c_str(), failed.path.c_str());
  }
}

}  // namespace

LatencySummary LatencySummary::of(const HistogramSnapshot& histogram) {
  LatencySummary summary{histogram.count(),           histogram.quantile_ns(0.5), histogram.quantile_ns(0.95),
                         histogram.quantile_ns(0.99), histogram.max_ns(),         {}};
  for (size_t i = 0; i < HistogramBuckets::kCount; ++i) {
    if (histogram.bucket(i) == 0) continue;
    const uint64_t below_ns = std::bit_ceil(HistogramBuckets::middle_ns(i) + 1);
    if (summary.buckets.empty() || summary.buckets.back().below_ns != below_ns) {
      summary.buckets.push_back({below_ns, 0});
    }
    summary.buckets.back().count += histogram.bucket(i);
  }
  return summary;
}

std::string to_text(const Evidence& evidence) {
  const uint64_t origin_ms = evidence.first_error_ms != 0 ? evidence.first_error_ms : evidence.step_began_ms;
  std::string text;
  append(text, "service   %s\n", evidence.service.c_str());
  append(text, "verdict   %s", to_string(evidence.verdict.kind));
  if (evidence.verdict.kind != Verdict::Kind::none) {
    append(text, " by %s: %s", to_string(evidence.verdict.detector), evidence.verdict.reason.c_str());
  }
  text += '\n';
  if (evidence.tripped_ms != 0 && evidence.clock_began_unix_ms != 0) {
    append(text, "at        %s\n", rfc3339(evidence.unix_ms(evidence.tripped_ms)).c_str());
  }
  if (evidence.tripped_ms != 0 && evidence.first_error_ms != 0) {
    append(text, "took      %.3f s from green's first error to the trip\n",
           seconds_since(origin_ms, evidence.tripped_ms));
  }
  append_counts(text, evidence);
  append(text, "share     green gets %.2f %% of the attempts\n", in_percent(evidence.green_share));
  text += "splits   ";
  for (const SplitChange& change : evidence.splits) {
    append(text, " %.2f %% at %+.1f s", static_cast<double>(change.split) / 100,
           seconds_since(origin_ms, change.at_ms));
  }
  text += '\n';
  append_samples(text, evidence, origin_ms);
  append_involved(text, "endpoints", evidence.endpoints);
  append_involved(text, "clients", evidence.clients);
  append_involved(text, "paths", evidence.paths);
  if (evidence.held_back != 0) {
    append(text, "held back %llu errors, because one client or path made most of them\n",
           static_cast<unsigned long long>(evidence.held_back));
  }
  append_failed(text, evidence, origin_ms);
  return text;
}

}  // namespace sluice::balancer
