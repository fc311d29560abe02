#include "balancer/latency.h"

#include <algorithm>
#include <cmath>

#include "balancer/wilson.h"

namespace sluice::balancer {
namespace {

constexpr double kQuantiles[] = {0.90, 0.95, 0.99};
constexpr double kZ = 1.4;

// Could `requests` show that at most 1 - quantile are over, if none is?
bool can_settle(uint64_t requests, double quantile) {
  return wilson(0, static_cast<double>(requests), kZ).upper <= 1 - quantile;
}

uint64_t lower_limit_ns(const HistogramSnapshot& histogram, double quantile) {
  const auto count = static_cast<double>(histogram.count());
  const double rank = count * quantile - kZ * std::sqrt(count * quantile * (1 - quantile));
  return histogram.quantile_ns(std::max(0.0, rank) / count);
}

LatencyComparison compare_at(const HistogramSnapshot& blue, const HistogramSnapshot& green, double ratio,
                             double quantile) {
  LatencyComparison result;
  result.quantile = quantile;
  result.over_allowed = 1 - quantile;
  const uint64_t blue_ns = lower_limit_ns(blue, quantile);
  const auto scaled_ns = static_cast<uint64_t>(static_cast<double>(blue_ns) * ratio);
  result.allowed_ns = std::max(scaled_ns, blue_ns + kLatencyNoiseNs);
  const uint64_t over = green.count() - green.count_at_most(result.allowed_ns);
  const RateBounds share = wilson(static_cast<double>(over), static_cast<double>(green.count()), kZ);
  result.over_share = share.rate;
  result.over_upper = share.upper;
  result.within = share.upper <= result.over_allowed;
  result.slower = share.lower > result.over_allowed;
  return result;
}

}  // namespace

LatencyComparison compare_latency(const HistogramSnapshot& blue, const HistogramSnapshot& green, double ratio,
                                  uint64_t least_requests) {
  if (blue.count() == 0 || green.count() == 0) return {};
  LatencyComparison worst;
  worst.within = true;
  double worst_excess = -1;
  for (const double quantile : kQuantiles) {
    LatencyComparison one = compare_at(blue, green, ratio, quantile);
    if (quantile != kQuantiles[0] && !can_settle(least_requests, quantile)) one.within = !one.slower;
    const double excess = one.over_upper / one.over_allowed;
    const bool is_worse = one.within == worst.within ? excess > worst_excess : !one.within;
    if (!is_worse) continue;
    worst = one;
    worst_excess = excess;
  }
  return worst;
}

}  // namespace sluice::balancer
