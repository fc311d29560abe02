// Latencies: what the requests of the last second, ten seconds, minute and five
// minutes took, for each upstream.
//
// The workers' histograms only ever grow. Once a second this takes what was
// added since the second before, as a slice that holds the buckets that were
// hit; ten of those are joined to a slice of ten seconds, six of these to one
// of a minute:
//
//   seconds   s s s s s s s s s s     the last ten
//   tens      t t t t t t             the last six
//   minutes   m m m m m               the last five
//
// A window is the sum of the slices that it needs, and of the younger ones that
// have not been joined yet; it says how long it really is, so that rates are
// right.
//
// Owner: History, which calls tick(). Thread: the control thread's.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "balancer/histogram.h"
#include "balancer/plan.h"
#include "proxy/control.h"

namespace sluice::admin {

enum class Span : uint8_t { second, ten_seconds, minute, five_minutes };
inline constexpr Span kSpans[] = {Span::second, Span::ten_seconds, Span::minute, Span::five_minutes};

// What happened in a span of time.
struct LatencySlice {
  uint64_t duration_us = 0;
  uint64_t attempts = 0;
  uint64_t failed = 0;                                      // of the attempts
  uint64_t errors = 0;                                      // answers to clients with a 5xx
  std::vector<std::pair<uint16_t, uint32_t>> buckets = {};  // index and count, ascending
};

struct LatencyWindow {
  uint64_t duration_us = 0;
  uint64_t attempts = 0;
  uint64_t failed = 0;
  uint64_t errors = 0;
  balancer::HistogramSnapshot requests;

  void add(const LatencySlice& slice);
};

// The slices of one upstream; pure, time is told.
class LatencyHistory {
 public:
  void add(LatencySlice slice);
  std::unique_ptr<LatencyWindow> window(Span span) const;

 private:
  static LatencySlice join(const std::deque<LatencySlice>& slices, size_t count);

  std::deque<LatencySlice> seconds_;
  std::deque<LatencySlice> tens_;
  std::deque<LatencySlice> minutes_;
  size_t new_seconds_ = 0;  // not yet in a slice of tens_
  size_t new_tens_ = 0;     // not yet in one of minutes_
};

class Latencies {
 public:
  explicit Latencies(proxy::Control& control);
  Latencies(const Latencies&) = delete;
  Latencies& operator=(const Latencies&) = delete;
  ~Latencies();

  // Takes what was added since the last call.
  void tick();
  // Empty for an upstream that has not been seen for a second.
  std::unique_ptr<LatencyWindow> window(const balancer::UpstreamState& upstream, Span span) const;
  // Since the start of the process.
  std::unique_ptr<LatencyWindow> since_start(const balancer::UpstreamState& upstream) const;

 private:
  struct Upstream {
    std::shared_ptr<balancer::UpstreamState> state;
    balancer::HistogramSnapshot before;
    uint64_t attempts_before = 0;
    uint64_t failed_before = 0;
    uint64_t errors_before = 0;
    uint64_t at_us = 0;
    LatencyHistory history;
  };

  void take(Upstream& upstream, uint64_t now_us);

  proxy::Control& control_;
  std::map<const balancer::UpstreamState*, std::unique_ptr<Upstream>> upstreams_;
};

}  // namespace sluice::admin
