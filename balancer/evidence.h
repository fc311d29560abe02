// Evidence: everything that led to a verdict, as plain values to be kept,
// rendered and read a month later.
//
// TripBreaker fills it (balancer/trip_breaker.h); the proxy adds the latencies
// from its histograms. All times are milliseconds on the one clock that the
// TripBreaker is told, 0 meaning "never". Every list has a limit.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "balancer/counters.h"
#include "balancer/wilson.h"
#include "conf/config.h"

namespace sluice::balancer {

class HistogramSnapshot;

// Who raised a verdict.
enum class Detector : uint8_t {
  none,
  rise,         // A: green's rate rose against blue's frozen baseline
  comparison,   // B: green is worse than blue at the same moment
  ceiling,      // max_error_rate
  no_endpoint,  // green has no endpoint left
  by_hand,      // an operator
};
inline constexpr Detector kReasonsToTrip[] = {Detector::rise, Detector::comparison, Detector::ceiling,
                                              Detector::no_endpoint, Detector::by_hand};
constexpr const char* to_string(Detector detector) {
  constexpr const char* names[] = {"none", "rise", "comparison", "max-error-rate", "no-endpoint", "by-hand"};
  return names[static_cast<size_t>(detector)];
}

struct Verdict {
  enum class Kind : uint8_t {
    none,
    hold,  // something is wrong, but it cannot be said to be green's fault
    trip,  // back to blue
  };
  Kind kind = Kind::none;
  Detector detector = Detector::none;
  std::string reason;  // a sentence for people; empty with none

  bool tripped() const { return kind == Kind::trip; }
};
constexpr const char* to_string(Verdict::Kind kind) {
  constexpr const char* names[] = {"none", "hold", "trip"};
  return names[static_cast<size_t>(kind)];
}

// One colour's attempts since the step began.
struct ColourCounts {
  uint64_t attempts = 0;
  uint64_t errors = 0;
  std::array<uint64_t, kOutcomes> by_outcome{};  // of the errors

  RateBounds bounds() const { return wilson(static_cast<double>(errors), static_cast<double>(attempts)); }
};

struct SplitChange {
  uint64_t at_ms = 0;
  conf::BasisPoints split = 0;
};

// The detectors at one moment. `recent` and `comparison` are EProcesses, shown
// by their natural logarithms.
struct DetectorSample {
  uint64_t at_ms = 0;
  double green_rise = 0;      // A of green
  double rise_threshold = 0;  // at which it counts
  bool rise_alone = false;    // it needs neither of `recent` and `only_green`: blue cannot be asked
  double blue_rise = 0;       // A of blue; holds A of green at Cusum::kThreshold
  double recent = 0;          // green against blue since green's rise began
  double recent_threshold = 0;
  double only_green = 0;  // green alone against both alike since then, a logarithm
  double only_green_threshold = 0;
  double comparison = 0;  // B
  double comparison_threshold = 0;
};

struct FailedRequest {
  uint64_t at_ms = 0;
  conf::Colour colour = conf::Colour::green;
  Outcome outcome = Outcome::ok;
  std::string request_id;
  std::string endpoint;
  std::string client;
  std::string path;
};

// A client, a path or an endpoint, and its part in green's errors.
struct Involved {
  std::string label;
  uint64_t errors = 0;
  double share_of_errors = 0;   // 0..1
  double share_of_traffic = 0;  // 0..1; below 0: not known
};

// Filled in by whoever has the histograms; count 0 means absent.
struct LatencySummary {
  struct Bucket {
    uint64_t below_ns = 0;  // a power of two; the bucket begins at half of it
    uint64_t count = 0;
  };
  uint64_t count = 0;
  uint64_t p50_ns = 0;
  uint64_t p95_ns = 0;
  uint64_t p99_ns = 0;
  uint64_t max_ns = 0;
  std::vector<Bucket> buckets;  // ascending, without the empty ones

  static LatencySummary of(const HistogramSnapshot& histogram);
};

struct Evidence {
  static constexpr size_t kFailedRequests = 10;
  static constexpr size_t kSplitChanges = 16;
  static constexpr size_t kInvolved = 5;  // of each kind

  std::string service;
  Verdict verdict;
  int64_t clock_began_unix_ms = 0;  // the wall clock when the clock of the times below was 0; 0: not known
  uint64_t step_began_ms = 0;
  uint64_t first_error_ms = 0;  // of green, in this step
  uint64_t tripped_ms = 0;
  std::vector<SplitChange> splits;          // the last ones, oldest first
  std::array<ColourCounts, 2> counts;       // by conf::Colour
  std::array<LatencySummary, 2> latencies;  // by conf::Colour, since the step began
  RateBounds baseline;                      // blue's, frozen
  uint64_t baseline_attempts = 0;           // 0: there was none yet; `upper` below 1 passed for it
  double green_share = 0;                   // θ, as last seen
  std::vector<DetectorSample> samples;      // since the step began, oldest first, the older the fewer
  std::vector<FailedRequest> last_failed;   // of green, oldest first
  std::vector<Involved> endpoints;          // by errors, most first
  std::vector<Involved> clients;
  std::vector<Involved> paths;
  uint64_t held_back = 0;  // errors that the cap on one client's or path's influence left out

  // On the wall clock; 0 where at_ms is, and where that clock is not known.
  int64_t unix_ms(uint64_t at_ms) const {
    return at_ms == 0 || clock_began_unix_ms == 0 ? 0 : clock_began_unix_ms + static_cast<int64_t>(at_ms);
  }
};

// The report for people, many lines. Times are shown relative to the first
// error, which is what one wants to know.
std::string to_text(const Evidence& evidence);

}  // namespace sluice::balancer
