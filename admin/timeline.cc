#include "admin/timeline.h"

#include <algorithm>
#include <iterator>

namespace sluice::admin {

using balancer::HistogramBuckets;

TimelinePoint::Side::Side(const LatencyWindow& window) {
  if (window.duration_us == 0) return;
  const double seconds = static_cast<double>(window.duration_us) / 1e6;
  rate_per_s = static_cast<double>(window.requests.count()) / seconds;
  failed_per_s = static_cast<double>(window.failed) / seconds;
  p50_s = static_cast<double>(window.requests.quantile_ns(0.5)) / 1e9;
  p99_s = static_cast<double>(window.requests.quantile_ns(0.99)) / 1e9;
  for (size_t index = 0; index < HistogramBuckets::kCount; ++index) {
    const uint64_t count = window.requests.bucket(index);
    if (count == 0) continue;
    const double value_s = static_cast<double>(HistogramBuckets::middle_ns(index)) / 1e9;
    const double* const bound = std::upper_bound(std::begin(kBandBoundsS), std::end(kBandBoundsS), value_s);
    bands[static_cast<size_t>(bound - std::begin(kBandBoundsS))] += static_cast<uint32_t>(count);
  }
}

void Timeline::add_second(const TimelinePoint& point) {
  seconds_.push_back(point);
  if (seconds_.size() > kSeconds) seconds_.pop_front();
}

void Timeline::add_ten(const TimelinePoint& point) {
  tens_.push_back(point);
  if (tens_.size() > kTens) tens_.pop_front();
}

}  // namespace sluice::admin
