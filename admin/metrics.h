// Metrics: a snapshot of every number that is told to monitoring, and the forms
// it is told in.
//
// collect() reads the counters while the workers go on counting; each number is
// right for some moment of the call. The forms: Prometheus text 0.0.4,
// OpenMetrics 1.0 (which alone has exemplars), and the same families as JSON.
// Units are seconds and octets.
//
// Thread: collect() on the control thread; the rest are pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "balancer/histogram.h"
#include "proxy/control.h"

namespace sluice::admin {

using Labels = std::vector<std::pair<std::string, std::string>>;

// A histogram's buckets, cumulative, at the bounds kBucketBounds; the last
// bucket of all is `count`.
struct BucketCounts {
  std::vector<uint64_t> at_most;
  uint64_t count = 0;
  double sum_s = 0;
};

// A request that stands for a bucket (OpenMetrics 1.0, "Exemplars").
struct BucketExemplar {
  std::string request_id;
  double value_s = 0;
  double at_s = 0;  // since the epoch; 0: there is none
};

struct Sample {
  Labels labels;
  double value = 0;
  BucketCounts buckets;                        // of a histogram, instead of the value
  std::vector<BucketExemplar> exemplars = {};  // one for each bucket, +Inf too; or none at all
};

struct MetricFamily {
  enum class Type : uint8_t { counter, gauge, histogram };
  std::string name;  // a counter's ends in "_total"
  std::string help;
  Type type = Type::gauge;
  std::vector<Sample> samples;
};

// The upper bounds of the buckets, in nanoseconds, ascending.
inline constexpr uint64_t kBucketBoundsNs[] = {500'000,       1'000'000,      2'500'000,     5'000'000,
                                               10'000'000,    25'000'000,     50'000'000,    100'000'000,
                                               250'000'000,   500'000'000,    1'000'000'000, 2'500'000'000,
                                               5'000'000'000, 10'000'000'000, 30'000'000'000};
BucketCounts bucket_counts(const balancer::HistogramSnapshot& snapshot);

// What the proxy itself counts, in a fixed order.
std::vector<MetricFamily> collect(proxy::Control& control);

std::string to_prometheus(const std::vector<MetricFamily>& families);
std::string to_openmetrics(const std::vector<MetricFamily>& families);
// The member "metrics" of a JSON object.
std::string json_members(const std::vector<MetricFamily>& families);

// Does a client with this Accept field want OpenMetrics rather than the
// Prometheus text (RFC 9110, 12.5.1)?
bool prefers_openmetrics(std::string_view accept);

}  // namespace sluice::admin
