#include "health/outlier.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdio>

namespace sluice::health {
namespace {

struct Rates {
  size_t endpoints = 0;
  double mean = 0;
  double deviation = 0;
};

Rates summarize(const std::vector<double>& rates) {
  Rates result;
  result.endpoints = rates.size();
  if (rates.empty()) return result;
  const auto count = static_cast<double>(rates.size());
  for (const double rate : rates) result.mean += rate / count;
  double variance = 0;
  for (const double rate : rates) variance += (rate - result.mean) * (rate - result.mean) / count;
  result.deviation = std::sqrt(variance);
  return result;
}

std::string rate_reason(double rate, double mean) {
  char text[96];
  std::snprintf(text, sizeof text, "a success rate of %.1f %%, where the mean is %.1f %%", rate * 100,
                mean * 100);
  return text;
}

}  // namespace

void Outlier::add(EndpointKey endpoint) {
  endpoints_.emplace(endpoint, Endpoint{});
}

std::vector<OutlierEvent> Outlier::remove(EndpointKey endpoint, uint64_t now_ms) {
  std::vector<OutlierEvent> events;
  const auto found = endpoints_.find(endpoint);
  if (found == endpoints_.end()) return events;
  if (found->second.ejected) --ejected_;
  endpoints_.erase(found);
  while (ejected_ > limit()) {
    const auto first =
        std::min_element(endpoints_.begin(), endpoints_.end(), [](const auto& a, const auto& b) {
          return (a.second.ejected ? a.second.back_ms : kNever) <
                 (b.second.ejected ? b.second.back_ms : kNever);
        });
    events.push_back(bring_back(first->first, first->second, now_ms));
  }
  return events;
}

size_t Outlier::limit() const {
  if (endpoints_.size() < 2 || settings_.max_ejected_percent == 0) return 0;
  return std::max<size_t>(1, endpoints_.size() * settings_.max_ejected_percent / 100);
}

bool Outlier::is_ejected(EndpointKey endpoint) const {
  const auto found = endpoints_.find(endpoint);
  return found != endpoints_.end() && found->second.ejected;
}

std::optional<OutlierEvent> Outlier::polled(EndpointKey endpoint, uint64_t succeeded, uint64_t failed,
                                            uint64_t longest_row, uint64_t now_ms) {
  const auto found = endpoints_.find(endpoint);
  if (found == endpoints_.end()) return std::nullopt;
  Endpoint& state = found->second;
  if (succeeded == 0) return failed == 0 ? std::nullopt : add_failures(endpoint, state, failed, now_ms);
  state.failures_in_a_row = 0;
  state.ok += succeeded;
  state.failed += failed;
  if (state.ejected || longest_row < settings_.consecutive) return std::nullopt;
  return eject(endpoint, state, std::to_string(longest_row) + " failures in a row", now_ms);
}

std::optional<OutlierEvent> Outlier::add_failures(EndpointKey key, Endpoint& endpoint, uint64_t count,
                                                  uint64_t now_ms) {
  endpoint.failures_in_a_row += count;
  endpoint.failed += count;
  // Requests that were under way when it was taken out are no news.
  if (endpoint.ejected || endpoint.failures_in_a_row < settings_.consecutive) return std::nullopt;
  return eject(key, endpoint, std::to_string(endpoint.failures_in_a_row) + " failures in a row", now_ms);
}

std::optional<OutlierEvent> Outlier::eject(EndpointKey key, Endpoint& endpoint, std::string reason,
                                           uint64_t now_ms) {
  if (ejected_ >= limit()) return std::nullopt;
  ++ejected_;
  ++endpoint.times;
  endpoint.ejected = true;
  const uint64_t grown_ms = uint64_t{settings_.eject_ms} * endpoint.times;
  endpoint.back_ms =
      now_ms + std::min<uint64_t>(grown_ms, std::max(settings_.max_eject_ms, settings_.eject_ms));
  return OutlierEvent{key, true, std::move(reason), endpoint.back_ms};
}

OutlierEvent Outlier::bring_back(EndpointKey key, Endpoint& endpoint, uint64_t now_ms) {
  assert(endpoint.ejected);
  --ejected_;
  endpoint.ejected = false;
  endpoint.failures_in_a_row = 0;
  endpoint.ok = 0;
  endpoint.failed = 0;
  endpoint.forget_ms = now_ms + settings_.eject_ms;
  return {key, false, "", 0};
}

std::vector<OutlierEvent> Outlier::advance(uint64_t now_ms) {
  std::vector<OutlierEvent> events;
  for (auto& [key, endpoint] : endpoints_) {
    if (endpoint.ejected) {
      if (endpoint.back_ms <= now_ms) events.push_back(bring_back(key, endpoint, now_ms));
    } else if (endpoint.times > 0 && endpoint.forget_ms <= now_ms) {
      --endpoint.times;
      endpoint.forget_ms = now_ms + settings_.eject_ms;
    }
  }
  if (sweep_ms_ <= now_ms) {
    sweep(now_ms, events);
    sweep_ms_ = now_ms + kSweepMs;
  }
  return events;
}

void Outlier::sweep(uint64_t now_ms, std::vector<OutlierEvent>& events) {
  const auto rate_of = [](const Endpoint& endpoint) -> std::optional<double> {
    const uint64_t requests = endpoint.ok + endpoint.failed;
    if (endpoint.ejected || requests < kMinRequests) return std::nullopt;
    return static_cast<double>(endpoint.ok) / static_cast<double>(requests);
  };
  std::vector<double> rates;
  for (const auto& [key, endpoint] : endpoints_) {
    if (const auto rate = rate_of(endpoint)) rates.push_back(*rate);
  }
  const Rates all = summarize(rates);
  for (auto& [key, endpoint] : endpoints_) {
    const auto rate = rate_of(endpoint);
    endpoint.ok = 0;
    endpoint.failed = 0;
    if (!rate || all.endpoints < kMinEndpoints) continue;
    if (*rate > all.mean - kDeviations * all.deviation || *rate > all.mean - kMinGap) continue;
    if (auto event = eject(key, endpoint, rate_reason(*rate, all.mean), now_ms)) events.push_back(*event);
  }
}

uint64_t Outlier::next_wakeup_ms() const {
  uint64_t next_ms = sweep_ms_;
  for (const auto& [key, endpoint] : endpoints_) {
    if (endpoint.ejected)
      next_ms = std::min(next_ms, endpoint.back_ms);
    else if (endpoint.times > 0)
      next_ms = std::min(next_ms, endpoint.forget_ms);
  }
  return next_ms;
}

}  // namespace sluice::health
