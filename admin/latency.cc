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

void Latencies::tick() {
  const uint64_t now_us = control_.loop().now_us();
  std::map<const balancer::UpstreamState*, std::unique_ptr<Upstream>> kept;
  for (const auto& [name, entry] : control_.registry().services()) {
    for (const auto& state : entry.upstreams) {
      std::unique_ptr<Upstream>& known = upstreams_[state.get()];
      if (known == nullptr) {
        known = std::make_unique<Upstream>();
        known->state = state;
      }
      take(*known, now_us);
      kept.emplace(state.get(), std::move(known));
    }
  }
  upstreams_ = std::move(kept);
}

void Latencies::take(Upstream& upstream, uint64_t now_us) {
  const auto sum = std::make_unique<HistogramSnapshot>();
  sum_requests(*upstream.state, *sum);
  const Totals totals = totals_of(*upstream.state);
  const uint64_t errors = totals.responses_of_class(5);
  LatencySlice slice{now_us - upstream.at_us,
                     totals.all_attempts() - upstream.attempts_before,
                     totals.failed_attempts() - upstream.failed_before,
                     errors - upstream.errors_before,
                     {}};
  for (size_t i = 0; i < HistogramBuckets::kCount; ++i) {
    const uint64_t hits = sum->bucket(i) - upstream.before.bucket(i);
    if (hits != 0) slice.buckets.emplace_back(static_cast<uint16_t>(i), static_cast<uint32_t>(hits));
  }
  // The first look has no second before it.
  if (upstream.at_us != 0) upstream.history.add(std::move(slice));
  upstream.before = *sum;
  upstream.attempts_before = totals.all_attempts();
  upstream.failed_before = totals.failed_attempts();
  upstream.errors_before = errors;
  upstream.at_us = now_us;
}

std::unique_ptr<LatencyWindow> Latencies::window(const balancer::UpstreamState& upstream, Span span) const {
  const auto found = upstreams_.find(&upstream);
  return found == upstreams_.end() ? std::make_unique<LatencyWindow>() : found->second->history.window(span);
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
