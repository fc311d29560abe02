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
// The endpoints of an upstream that measures them (`measure`) have the same, of
// what their attempts took; of the others nothing is kept. There are
// kMostEndpoints of them at most: each takes some 50 KiB.
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
  static constexpr size_t kMostEndpoints = 256;

  explicit Latencies(proxy::Control& control);
  Latencies(const Latencies&) = delete;
  Latencies& operator=(const Latencies&) = delete;
  ~Latencies();

  // Takes what was added since the last call.
  void tick();
  // Empty for an upstream that has not been seen for a second.
  std::unique_ptr<LatencyWindow> window(const balancer::UpstreamState& upstream, Span span) const;
  // Of attempts at an endpoint; null where it is not measured, or is only since
  // less than a second.
  std::unique_ptr<LatencyWindow> window(const balancer::EndpointState& endpoint, Span span) const;
  // Since the start of the process.
  std::unique_ptr<LatencyWindow> since_start(const balancer::UpstreamState& upstream) const;

 private:
  // What is compared with what it was a second ago.
  struct Course {
    balancer::HistogramSnapshot before;
    uint64_t attempts_before = 0;
    uint64_t failed_before = 0;
    uint64_t errors_before = 0;
    uint64_t at_us = 0;
    LatencyHistory history;

    void take(const balancer::HistogramSnapshot& sum, uint64_t attempts, uint64_t failed, uint64_t errors,
              uint64_t now_us);
  };
  template <typename State>
  struct Watched {
    std::shared_ptr<State> state;  // so that its address is no other's
    Course course;
  };
  template <typename State>
  using Watch = std::map<const State*, std::unique_ptr<Watched<State>>>;

  // The course of `state` in `kept`, taken over from `before` where it is there.
  template <typename State>
  static Course& keep(Watch<State>& before, Watch<State>& kept, const std::shared_ptr<State>& state);

  proxy::Control& control_;
  Watch<balancer::UpstreamState> upstreams_;
  Watch<balancer::EndpointState> endpoints_;
};

}  // namespace sluice::admin
