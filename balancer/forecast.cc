#include "balancer/forecast.h"

#include <algorithm>
#include <cmath>

namespace sluice::balancer {
namespace {

constexpr size_t kBlue = static_cast<size_t>(conf::Colour::blue);
constexpr size_t kGreen = static_cast<size_t>(conf::Colour::green);

double share_of_green(conf::BasisPoints split) {
  return static_cast<double>(split) / conf::kFullSplit;
}

// No upstream ever holds more than its max_connections.
double bounded(double connections, const ColourLoad& load) {
  return load.max == 0 ? connections : std::min(connections, static_cast<double>(load.max));
}

// What of a shared cap belongs to other services.
double used_by_others(const SharedCap& cap, const ColourLoad (&loads)[2]) {
  double ours = 0;
  for (const size_t colour : {kBlue, kGreen}) {
    if (cap.counts[colour]) ours += loads[colour].now;
  }
  return std::max(0.0, static_cast<double>(cap.used) - ours);
}

std::vector<CapForecast> forecast_caps(const ColourLoad (&loads)[2], const std::vector<SharedCap>& caps,
                                       double blue, double green, bool whole) {
  std::vector<CapForecast> forecasts;
  const ColourLoad& green_load = loads[kGreen];
  if (green_load.max != 0) {
    const double limit = green_load.max * (whole ? 1.0 : kOwnWarnAt);
    forecasts.push_back({"green", green_load.now, green, limit});
  }
  for (const SharedCap& cap : caps) {
    if (!cap.counts[kGreen]) continue;
    double expected = used_by_others(cap, loads) + bounded(green, green_load);
    if (cap.counts[kBlue]) expected += bounded(blue, loads[kBlue]);
    forecasts.push_back({cap.name, cap.used, expected, cap.max * (whole ? 1.0 : cap.warn_at)});
  }
  return forecasts;
}

}  // namespace

std::optional<double> forecast_connections(const ColourLoad& load, double share_now, double share_next) {
  if (share_next <= 0) return 0.0;
  if (share_now <= 0 || load.connections.samples() == 0 || load.requests == 0) return std::nullopt;
  const double ratio = share_next / share_now;
  const double mean = load.connections.mean();
  const double unsure = 2 * std::sqrt(2.0 / static_cast<double>(load.requests));
  const double swing = std::max(0.0, load.connections.peak() - mean);
  return mean * ratio * (1 + unsure) + swing * std::sqrt(ratio);
}

std::optional<std::vector<CapForecast>> forecast_split(const ColourLoad (&loads)[2],
                                                       const std::vector<SharedCap>& caps,
                                                       conf::BasisPoints now, conf::BasisPoints next) {
  const double green_now = share_of_green(now);
  const double green_next = share_of_green(next);
  const auto green = forecast_connections(loads[kGreen], green_now, green_next);
  if (!green) return std::nullopt;
  // A blue that gets no requests holds what it holds.
  const auto blue = forecast_connections(loads[kBlue], 1 - green_now, 1 - green_next);
  return forecast_caps(loads, caps, blue.value_or(loads[kBlue].now), *green, false);
}

std::vector<CapForecast> forecast_both_full(const ColourLoad (&loads)[2], const std::vector<SharedCap>& caps,
                                            conf::BasisPoints now) {
  const auto blue = forecast_connections(loads[kBlue], 1 - share_of_green(now), 1.0);
  const double full = blue.value_or(loads[kBlue].now);
  return forecast_caps(loads, caps, full, full, true);
}

}  // namespace sluice::balancer
