// The forecast: how many connections green, and the budgets it shares, will
// need at the next split, from what is seen at this one.
//
// By Little's law (J. D. C. Little, "A proof for the queuing formula L = λW",
// Operations Research 9, 1961) the connections in use are the arrival rate
// times the time each is held. That says nothing of idle ones in the pools: the
// fewest that were there at any time are added as they are, the others are what
// the next requests use. A colour's arrival rate is in proportion to its share,
// so from share s to share t
//
//   mean(t)  = mean(s) · t/s
//   upper(t) = mean(t) · (1 + 2·sqrt(2/requests)) + (peak(s) - mean(s)) · sqrt(t/s)
//
// The first factor allows two standard errors for the little that was seen (the
// sum of `requests` holding times, taken as exponential). The second term lets
// the swings around the mean grow with the root of the load, as the sum of
// independent arrivals does. Blue's connections fall by the same rule.
//
// An example, the reason for this file: green at 50 % held 40 and blue 58 of a
// database that takes 100. At 100 % green needs 80: over the warning at 70,
// long before the database is full.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "conf/config.h"

namespace sluice::balancer {

// Samples of the connections of one upstream that are in use, all at one split.
class ConnectionSeries {
 public:
  ConnectionSeries() = default;
  ConnectionSeries(uint64_t samples, uint64_t sum, uint32_t peak, uint32_t least_idle = 0)
      : samples_(samples), sum_(sum), peak_(peak), least_idle_(least_idle) {}

  void add(uint32_t in_use, uint32_t idle = 0) {
    if (samples_ == 0 || idle < least_idle_) least_idle_ = idle;
    ++samples_;
    sum_ += in_use;
    if (in_use > peak_) peak_ = in_use;
  }
  uint64_t samples() const { return samples_; }
  uint64_t sum() const { return sum_; }
  uint32_t peak() const { return peak_; }
  uint32_t least_idle() const { return least_idle_; }
  double mean() const {
    return samples_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(samples_);
  }

 private:
  uint64_t samples_ = 0;
  uint64_t sum_ = 0;
  uint32_t peak_ = 0;
  uint32_t least_idle_ = 0;
};

// One budget of [cap.NAME] as it stands now.
struct SharedCap {
  std::string name;
  uint32_t max = 0;
  uint32_t used = 0;  // by all members, without idle connections
  double warn_at = 0.7;
  bool counts[2] = {false, false};  // this service's colours
  double granted = 0;               // to steps of other rollouts, and not in use yet
};

struct ColourLoad {
  ConnectionSeries connections;  // at this split
  uint64_t requests = 0;         // at this split
  uint32_t now = 0;              // connections in use at this moment
  uint32_t max = 0;              // max_connections; 0: no limit
};

// What is foreseen of one cap that counts green.
struct CapForecast {
  std::string cap;  // "green" for its own max_connections, or the shared cap's name
  uint32_t now = 0;
  double expected = 0;  // upper bound
  double limit = 0;     // what `expected` must not exceed
  double ours = 0;      // this service's part of `expected`
  bool own = false;     // green's own, no shared cap
  bool fits() const { return expected <= limit; }
};

// An upstream's own max_connections warns here; shared caps say where they do.
inline constexpr double kOwnWarnAt = 0.7;

// The upper bound above. Nothing without a share, a sample or a request.
std::optional<double> forecast_connections(const ColourLoad& load, double share_now, double share_next);

// All caps that count green, at the next split, each against its warning.
// Nothing when green has not been seen enough to say.
std::optional<std::vector<CapForecast>> forecast_split(const ColourLoad (&loads)[2],
                                                       const std::vector<SharedCap>& caps,
                                                       conf::BasisPoints now, conf::BasisPoints next);

struct FullForecast {
  std::vector<CapForecast> caps;
  std::vector<CapForecast> unknown;  // of which nothing can be said yet
};

// Before the first step: green is expected to need what blue needs for all of
// the traffic, and both at once (a rollback under way) must fit each cap whole.
// Where their own limits keep both within a cap nothing needs to be seen. What
// is said of the others is only as good as the loads: without `seen`, nothing.
FullForecast forecast_both_full(const ColourLoad (&loads)[2], const std::vector<SharedCap>& caps,
                                conf::BasisPoints now, bool seen);

// What of the caps the service is about to need at the first step, before green
// was seen: as much as blue for that share. Empty where blue was not seen.
std::vector<CapForecast> forecast_first(const ColourLoad (&loads)[2], const std::vector<SharedCap>& caps,
                                        conf::BasisPoints now, conf::BasisPoints first);

}  // namespace sluice::balancer
