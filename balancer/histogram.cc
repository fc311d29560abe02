#include "balancer/histogram.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace sluice::balancer {

static_assert(HistogramBuckets::index_of(0) == 0);
static_assert(HistogramBuckets::index_of(1023) + 1 == HistogramBuckets::index_of(1024));
static_assert(HistogramBuckets::index_of(2047) + 1 == HistogramBuckets::index_of(2048));
static_assert(HistogramBuckets::index_of(UINT64_MAX) == HistogramBuckets::kCount - 1);
static_assert(HistogramBuckets::lower_ns(HistogramBuckets::index_of(uint64_t{1} << 39)) == uint64_t{1} << 39);
static_assert(sizeof(Histogram) == 15872);

HistogramSnapshot& HistogramSnapshot::operator+=(const HistogramSnapshot& other) {
  for (size_t index = 0; index < buckets_.size(); ++index) buckets_[index] += other.buckets_[index];
  count_ += other.count_;
  return *this;
}

HistogramSnapshot HistogramSnapshot::since(const HistogramSnapshot& earlier) const {
  HistogramSnapshot window;
  for (size_t index = 0; index < buckets_.size(); ++index) {
    assert(buckets_[index] >= earlier.buckets_[index]);
    const uint64_t amount = buckets_[index] - earlier.buckets_[index];
    if (amount != 0) window.add(index, amount);
  }
  return window;
}

uint64_t HistogramSnapshot::quantile_ns(double fraction) const {
  if (count_ == 0) return 0;
  const double wanted = std::ceil(std::clamp(fraction, 0.0, 1.0) * static_cast<double>(count_));
  const uint64_t rank = std::clamp<uint64_t>(static_cast<uint64_t>(wanted), 1, count_);
  uint64_t seen = 0;
  for (size_t index = 0; index < buckets_.size(); ++index) {
    seen += buckets_[index];
    if (seen >= rank) return HistogramBuckets::middle_ns(index);
  }
  return HistogramBuckets::middle_ns(buckets_.size() - 1);
}

double HistogramSnapshot::sum_ns() const {
  double sum = 0;
  for (size_t index = 0; index < buckets_.size(); ++index) {
    if (buckets_[index] == 0) continue;
    sum += static_cast<double>(buckets_[index]) * static_cast<double>(HistogramBuckets::middle_ns(index));
  }
  return sum;
}

uint64_t HistogramSnapshot::count_at_most(uint64_t bound_ns) const {
  uint64_t count = 0;
  for (size_t index = 0; index < buckets_.size(); ++index) {
    if (HistogramBuckets::middle_ns(index) > bound_ns) break;
    count += buckets_[index];
  }
  return count;
}

}  // namespace sluice::balancer
