// Outlier: takes endpoints out of an upstream that fail in live traffic, for a
// while (passive health checking).
//
//   in ── `consecutive` failures in a row, or a success rate far below ──> out
//   ^     the others'                                                     │
//   └───────────── eject_ms × (how often lately), at most max_eject_ms ───┘
//
// Success rate: every kSweepMs, the endpoints with at least kMinRequests since
// the last sweep are compared, if there are kMinEndpoints of them. One whose
// rate is below mean - kDeviations standard deviations, and kMinGap below the
// mean, is taken out. (kDeviations is Envoy's default. The gap is needed
// because among endpoints that are nearly perfect the deviation is nearly
// nothing. kMinEndpoints follows from it: with n endpoints none can be further
// from the mean than sqrt(n-1) deviations, R. E. Shiffler, "Maximum Z scores and
// outliers", The American Statistician 42, 1988; sqrt(4) > 1.9.)
//
// Growing time: each ejection within memory makes the next one longer; one is
// forgotten for every eject_ms that the endpoint stays in.
//
// Limit: at most max_ejected_percent of the endpoints are out at a time,
// rounded down, but one of two or more always may be unless the setting is 0:
// with two endpoints 30 % would otherwise mean never. The only endpoint is never
// taken out. What goes beyond is not queued: it is judged afresh by what it does
// next. Panic, when too few are left for whatever reason, is the Picker's
// business (balancer/picker.h).
//
// Thread: the control thread. Owner: the upstream's control state, by key (the
// caller's number for an endpoint). Units: milliseconds on the caller's clock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "conf/config.h"

namespace sluice::health {

using EndpointKey = uint64_t;

struct OutlierEvent {
  EndpointKey endpoint = 0;
  bool ejected = false;   // false: it is back
  std::string reason;     // "5 failures in a row"; empty when it is back
  uint64_t until_ms = 0;  // of an ejection
};

class Outlier {
 public:
  static constexpr uint64_t kSweepMs = 10'000;
  static constexpr uint64_t kMinRequests = 100;
  static constexpr size_t kMinEndpoints = 5;
  static constexpr double kDeviations = 1.9;
  static constexpr double kMinGap = 0.05;
  static constexpr uint64_t kNever = UINT64_MAX;

  Outlier(const conf::Outlier& settings, uint64_t now_ms)
      : settings_(settings), sweep_ms_(now_ms + kSweepMs) {}

  void add(EndpointKey endpoint);
  // Fewer endpoints may mean fewer ejections: those that were due back first
  // come back now.
  std::vector<OutlierEvent> remove(EndpointKey endpoint, uint64_t now_ms);

  // Attempts that ended since the last call (EndpointState::tally), over all
  // workers: in an order that nobody knows but for the longest row of failures
  // that any one of them saw. Failures without any success between are a row over
  // all observers; with one they are not.
  std::optional<OutlierEvent> polled(EndpointKey endpoint, uint64_t succeeded, uint64_t failed,
                                     uint64_t longest_row, uint64_t now_ms);

  // Brings back what is due and sweeps; to be called at next_wakeup_ms() or
  // later.
  std::vector<OutlierEvent> advance(uint64_t now_ms);
  uint64_t next_wakeup_ms() const;

  size_t size() const { return endpoints_.size(); }
  size_t ejected() const { return ejected_; }
  // How many may be out at a time.
  size_t limit() const;
  bool is_ejected(EndpointKey endpoint) const;

 private:
  struct Endpoint {
    uint64_t failures_in_a_row = 0;
    uint64_t ok = 0;      // since the last sweep
    uint64_t failed = 0;  // since the last sweep
    bool ejected = false;
    uint64_t back_ms = 0;    // while ejected
    uint32_t times = 0;      // ejections in memory
    uint64_t forget_ms = 0;  // when one of them is forgotten, while not ejected
  };

  std::optional<OutlierEvent> add_failures(EndpointKey key, Endpoint& endpoint, uint64_t count,
                                           uint64_t now_ms);
  std::optional<OutlierEvent> eject(EndpointKey key, Endpoint& endpoint, std::string reason, uint64_t now_ms);
  OutlierEvent bring_back(EndpointKey key, Endpoint& endpoint, uint64_t now_ms);
  void sweep(uint64_t now_ms, std::vector<OutlierEvent>& events);

  const conf::Outlier settings_;
  std::map<EndpointKey, Endpoint> endpoints_;
  size_t ejected_ = 0;
  uint64_t sweep_ms_;
};

}  // namespace sluice::health
