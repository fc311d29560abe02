#include "admin/latency.h"

#include <algorithm>

#include "admin/totals.h"

namespace sluice::admin {
namespace {

using balancer::HistogramBuckets;
using balancer::HistogramSnapshot;

constexpr size_t kSeconds = 10;
constexpr size_t kTens = 6;
constexpr size_t kMinutes = 5;

void push(std::deque<LatencySlice>& slices, LatencySlice slice, size_t most) {
  slices.push_back(std::move(slice));
  if (slices.size() > most) slices.pop_front();
}

void add_last(LatencyWindow& window, const std::deque<LatencySlice>& slices, size_t count) {
  for (size_t i = slices.size() - std::min(count, slices.size()); i < slices.size(); ++i)
    window.add(slices[i]);
}

void sum_requests(const balancer::UpstreamState& upstream, HistogramSnapshot& sum) {
  for (uint32_t worker = 0; worker < upstream.workers(); ++worker) {
    upstream.stats(worker).request_duration.add_to(sum);
  }
}

}  // namespace

void LatencyWindow::add(const LatencySlice& slice) {
  duration_us += slice.duration_us;
  attempts += slice.attempts;
  failed += slice.failed;
  errors += slice.errors;
  for (const auto& [index, count] : slice.buckets) requests.add(index, count);
}

LatencySlice LatencyHistory::join(const std::deque<LatencySlice>& slices, size_t count) {
  const auto window = std::make_unique<LatencyWindow>();
  add_last(*window, slices, count);
  LatencySlice joined{window->duration_us, window->attempts, window->failed, window->errors, {}};
  for (size_t i = 0; i < HistogramBuckets::kCount; ++i) {
    if (const uint64_t hits = window->requests.bucket(i); hits != 0) {
      joined.buckets.emplace_back(static_cast<uint16_t>(i), static_cast<uint32_t>(hits));
    }
  }
  return joined;
}

void LatencyHistory::add(LatencySlice slice) {
  push(seconds_, std::move(slice), kSeconds);
  if (++new_seconds_ < kSeconds) return;
  new_seconds_ = 0;
  push(tens_, join(seconds_, kSeconds), kTens);
  if (++new_tens_ < kTens) return;
  new_tens_ = 0;
  push(minutes_, join(tens_, kTens), kMinutes);
}

std::unique_ptr<LatencyWindow> LatencyHistory::window(Span span) const {
  auto window = std::make_unique<LatencyWindow>();
  switch (span) {
    case Span::second:
      add_last(*window, seconds_, 1);
      break;
    case Span::ten_seconds:
      add_last(*window, seconds_, kSeconds);
      break;
    case Span::minute:
      add_last(*window, tens_, kTens);
      add_last(*window, seconds_, new_seconds_);
      break;
    case Span::five_minutes:
      add_last(*window, minutes_, kMinutes);
      add_last(*window, tens_, new_tens_);
      add_last(*window, seconds_, new_seconds_);
      break;
  }
  return window;
}

Latencies::Latencies(proxy::Control& control) : control_(control) {}

Latencies::~Latencies() = default;

template <typename State>
Latencies::Course& Latencies::keep(Watch<State>& before, Watch<State>& kept,
                                   const std::shared_ptr<State>& state) {
  std::unique_ptr<Watched<State>>& known = before[state.get()];
  if (known == nullptr) known = std::make_unique<Watched<State>>(Watched<State>{state, {}});
  return kept.emplace(state.get(), std::move(known)).first->second->course;
}

void Latencies::tick() {
  const uint64_t now_us = control_.loop().now_us();
  Watch<balancer::UpstreamState> upstreams;
  Watch<balancer::EndpointState> endpoints;
  const auto sum = std::make_unique<HistogramSnapshot>();
  for (const auto& [name, entry] : control_.registry().services()) {
    for (const conf::Colour colour : conf::kColours) {
      const auto side = static_cast<size_t>(colour);
      const std::shared_ptr<balancer::UpstreamState>& state = entry.upstreams[side];
      *sum = {};
      sum_requests(*state, *sum);
      const Totals totals = totals_of(*state);
      keep(upstreams_, upstreams, state)
          .take(*sum, totals.all_attempts(), totals.failed_attempts(), totals.responses_of_class(5), now_us);
      for (const balancer::EndpointPlan& endpoint : entry.endpoints[side]) {
        const bool wanted = entry.measures_endpoints[side] && endpoints.size() < kMostEndpoints;
        if (wanted != endpoint.state->measured()) endpoint.state->measure(wanted);
        if (!wanted) continue;
        *sum = {};
        endpoint.state->add_durations_to(*sum);
        const balancer::EndpointState::Tally tally = endpoint.state->tally();
        keep(endpoints_, endpoints, endpoint.state)
            .take(*sum, tally.succeeded + tally.failed, tally.failed, tally.failed, now_us);
      }
    }
  }
  upstreams_ = std::move(upstreams);
  endpoints_ = std::move(endpoints);
}

void Latencies::Course::take(const HistogramSnapshot& sum, uint64_t attempts, uint64_t failed,
                             uint64_t errors, uint64_t now_us) {
  LatencySlice slice{
      now_us - at_us, attempts - attempts_before, failed - failed_before, errors - errors_before, {}};
  for (size_t i = 0; i < HistogramBuckets::kCount; ++i) {
    const uint64_t hits = sum.bucket(i) - before.bucket(i);
    if (hits != 0) slice.buckets.emplace_back(static_cast<uint16_t>(i), static_cast<uint32_t>(hits));
  }
  // The first look has no second before it.
  if (at_us != 0) history.add(std::move(slice));
  before = sum;
  attempts_before = attempts;
  failed_before = failed;
  errors_before = errors;
  at_us = now_us;
}

std::unique_ptr<LatencyWindow> Latencies::window(const balancer::UpstreamState& upstream, Span span) const {
  const auto found = upstreams_.find(&upstream);
  return found == upstreams_.end() ? std::make_unique<LatencyWindow>()
                                   : found->second->course.history.window(span);
}

std::unique_ptr<LatencyWindow> Latencies::window(const balancer::EndpointState& endpoint, Span span) const {
  const auto found = endpoints_.find(&endpoint);
  return found == endpoints_.end() ? nullptr : found->second->course.history.window(span);
}

std::unique_ptr<LatencyWindow> Latencies::since_start(const balancer::UpstreamState& upstream) const {
  auto window = std::make_unique<LatencyWindow>();
  const Totals totals = totals_of(upstream);
  window->duration_us = proxy::Loop::wall_clock_us() - control_.started_wall_us();
  window->attempts = totals.all_attempts();
  window->failed = totals.failed_attempts();
  window->errors = totals.responses_of_class(5);
  sum_requests(upstream, window->requests);
  return window;
}

}  // namespace sluice::admin
