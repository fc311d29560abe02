// Timeline: what a service did over the last minutes and hours, as points of a
// chart.
//
//   seconds   ten minutes of points, one a second
//   tens      two hours of points, one each ten seconds
//
// Latencies are kept as a heat map has them, in bands whose bounds are 1, 2 and
// 5 times the powers of ten: band 0 is below kBandBoundsS[0], the last is from
// the last bound on.
//
// Pure: time is told. Owner: History. Thread: the control thread's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>

#include "admin/latency.h"
#include "conf/config.h"

namespace sluice::admin {

inline constexpr double kBandBoundsS[] = {0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05,
                                          0.1,    0.2,    0.5,    1,     2,     5,     10,   20,   50};
inline constexpr size_t kBands = std::size(kBandBoundsS) + 1;

struct TimelinePoint {
  struct Side {
    double rate_per_s = 0;    // requests answered
    double failed_per_s = 0;  // attempts that failed
    double p50_s = 0;         // 0: nothing was answered
    double p99_s = 0;
    std::array<uint32_t, kBands> bands{};  // requests

    explicit Side(const LatencyWindow& window);
    Side() = default;
  };

  uint64_t at_us = 0;  // its end, wall clock
  conf::BasisPoints green = 0;
  Side sides[2];  // by conf::Colour
};

class Timeline {
 public:
  static constexpr size_t kSeconds = 600;
  static constexpr size_t kTens = 720;

  void add_second(const TimelinePoint& point);
  void add_ten(const TimelinePoint& point);
  const std::deque<TimelinePoint>& seconds() const { return seconds_; }
  const std::deque<TimelinePoint>& tens() const { return tens_; }

 private:
  std::deque<TimelinePoint> seconds_;
  std::deque<TimelinePoint> tens_;
};

}  // namespace sluice::admin
