#include "admin/slo.h"

#include <algorithm>
#include <limits>

namespace sluice::admin {
namespace {

constexpr uint64_t kMinuteUs = 60'000'000;

double share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 1.0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

SloCounts& SloCounts::operator+=(const SloCounts& other) {
  duration_us += other.duration_us;
  requests += other.requests;
  errors += other.errors;
  in_time += other.in_time;
  return *this;
}

double SloCounts::availability() const {
  // The two counters are not read at the same moment.
  return share(requests - std::min(errors, requests), requests);
}

double SloCounts::in_time_share() const {
  return share(in_time, requests);
}

double SloCounts::burn_rate(double promised) const {
  const double spent = 1 - availability();
  if (spent == 0) return 0;
  return promised < 1 ? spent / (1 - promised) : std::numeric_limits<double>::infinity();
}

void SloHistory::add(const SloCounts& second) {
  current_ += second;
  if (current_.duration_us < kMinuteUs) return;
  minutes_.push_back(current_);
  if (minutes_.size() > kKeptMinutes) minutes_.pop_front();
  current_ = {};
}

SloCounts SloHistory::window(size_t minutes) const {
  SloCounts sum = current_;
  for (size_t i = minutes_.size() - std::min(minutes, minutes_.size()); i < minutes_.size(); ++i) {
    sum += minutes_[i];
  }
  return sum;
}

}  // namespace sluice::admin
