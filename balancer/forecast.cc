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
  return std::max(0.0, static_cast<double>(cap.used) - ours) + cap.granted;
}

std::vector<CapForecast> forecast_caps(const ColourLoad (&loads)[2], const std::vector<SharedCap>& caps,
                                       double blue, double green, bool whole) {
  std::vector<CapForecast> forecasts;
  const ColourLoad& green_load = loads[kGreen];
  if (green_load.max != 0) {
    const double limit = green_load.max * (whole ? 1.0 : kOwnWarnAt);
    forecasts.push_back({"green", green_load.now, green, limit, green, true});
  }
  for (const SharedCap& cap : caps) {
    if (!cap.counts[kGreen]) continue;
    double ours = bounded(green, green_load);
    if (cap.counts[kBlue]) ours += bounded(blue, loads[kBlue]);
    forecasts.push_back({cap.name, cap.used, used_by_others(cap, loads) + ours,
                         cap.max * (whole ? 1.0 : cap.warn_at), ours, false});
  }
  return forecasts;
}

// With the idle connections that the pools keep whatever comes.
std::optional<double> forecast_held(const ColourLoad& load, double share_now, double share_next) {
  const auto in_use = forecast_connections(load, share_now, share_next);
  if (!in_use || share_next <= 0) return in_use;
  return *in_use + load.connections.least_idle();
}

// What one colour needs for all of the traffic, by the one that has some.
std::optional<double> full_size(const ColourLoad (&loads)[2], conf::BasisPoints now) {
  const double green = share_of_green(now);
  return green < 1 ? forecast_held(loads[kBlue], 1 - green, 1) : forecast_held(loads[kGreen], green, 1);
}

// Do the colours' own limits keep them within the cap?
bool fits_by_limits(const CapForecast& forecast, const std::vector<SharedCap>& caps,
                    const ColourLoad (&loads)[2]) {
  const uint32_t blue = loads[kBlue].max;
  const uint32_t green = loads[kGreen].max;
  if (forecast.own) return blue != 0 && blue <= green;
  const auto cap =
      std::find_if(caps.begin(), caps.end(), [&](const SharedCap& one) { return one.name == forecast.cap; });
  if (green == 0 || (cap->counts[kBlue] && blue == 0)) return false;
  const double most = static_cast<double>(green) + (cap->counts[kBlue] ? blue : 0);
  return used_by_others(*cap, loads) + most <= cap->max;
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
  const auto green = forecast_held(loads[kGreen], green_now, green_next);
  if (!green) return std::nullopt;
  // A blue that gets no requests holds what it holds.
  const auto blue = forecast_held(loads[kBlue], 1 - green_now, 1 - green_next);
  return forecast_caps(loads, caps, blue.value_or(loads[kBlue].now), *green, false);
}

FullForecast forecast_both_full(const ColourLoad (&loads)[2], const std::vector<SharedCap>& caps,
                                conf::BasisPoints now, bool seen) {
  const std::optional<double> full = seen ? full_size(loads, now) : std::nullopt;
  FullForecast forecast;
  for (CapForecast& one : forecast_caps(loads, caps, full.value_or(0), full.value_or(0), true)) {
    if (fits_by_limits(one, caps, loads)) continue;
    (full ? forecast.caps : forecast.unknown).push_back(std::move(one));
  }
  return forecast;
}

std::vector<CapForecast> forecast_first(const ColourLoad (&loads)[2], const std::vector<SharedCap>& caps,
                                        conf::BasisPoints now, conf::BasisPoints first) {
  const std::optional<double> full = full_size(loads, now);
  if (!full) return {};
  const double green = share_of_green(first);
  return forecast_caps(loads, caps, *full * (1 - green), *full * green, false);
}

}  // namespace sluice::balancer
