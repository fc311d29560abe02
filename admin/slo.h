// SloHistory: how well a service kept what it promises, over minutes and hours.
//
// Counts of a second are added up to a minute, and minutes are kept for a day.
// A window is the youngest of the whole minutes and the one under way, so it is
// up to a minute longer than asked for; it says how long it really is.
//
// Pure: time is told. Owner: History. Thread: the control thread's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

namespace sluice::admin {

struct SloCounts {
  uint64_t duration_us = 0;
  uint64_t requests = 0;
  uint64_t errors = 0;   // answered with a 5xx, by the upstream or by the proxy itself
  uint64_t in_time = 0;  // complete within the promised latency

  SloCounts& operator+=(const SloCounts& other);

  // Shares of the requests, 0..1; 1 without any.
  double availability() const;
  double in_time_share() const;
  // How many times faster than allowed the error budget of `promised` was
  // spent: 1 spends it exactly (Beyer et al., The Site Reliability Workbook,
  // chapter 5).
  double burn_rate(double promised) const;
};

class SloHistory {
 public:
  static constexpr size_t kKeptMinutes = 24 * 60;

  void add(const SloCounts& second);
  SloCounts window(size_t minutes) const;

 private:
  SloCounts current_;
  std::deque<SloCounts> minutes_;  // oldest first
};

}  // namespace sluice::admin
