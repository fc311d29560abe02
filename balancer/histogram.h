// Histogram: how long things took, in fixed memory, at the price of one
// increment.
//
// The buckets are log-linear, as in HdrHistogram (G. Tene): every power of two
// is cut into 64 equal buckets, and what lies below the first power into 64 as
// well.
//
//   group     0            1             2           ...   30
//   covers    0..1023 ns   1024..2047    2048..4095        2^39..2^40-1 ns
//   width     16 ns        16 ns         32 ns             2^33 ns
//
// A value is answered by the middle of its bucket, so it is wrong by at most
// 1/128 (0.8 %) from 1 µs up to 2^40 ns (18 minutes). Anything longer falls
// into the last bucket. There are 1984 buckets of 8 octets: a block is 15,872
// octets. The counters are 64 bits wide because a busy bucket would overrun 32
// bits within days, and the totals of a metric must not go back.
//
// Sum, mean and maximum are derived from the buckets, within the same 0.8 %,
// so that record() touches one cache line and no more.
//
// Thread: one writer for each Histogram, any number of readers. A reader sees
// every bucket as it was at some moment of its reading. Units: nanoseconds.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace sluice::balancer {

// The layout that Histogram and HistogramSnapshot share.
struct HistogramBuckets {
  static constexpr unsigned kSubBits = 6;  // 64 buckets in a group
  static constexpr unsigned kLinearBits = 10;
  static constexpr unsigned kMaxBits = 40;
  static constexpr size_t kPerGroup = size_t{1} << kSubBits;
  static constexpr size_t kCount = (kMaxBits - kLinearBits + 1) * kPerGroup;

  static constexpr size_t index_of(uint64_t value_ns) {
    if (value_ns < (uint64_t{1} << kLinearBits)) return value_ns >> (kLinearBits - kSubBits);
    if (value_ns >> kMaxBits != 0) return kCount - 1;
    const auto exponent = static_cast<unsigned>(std::bit_width(value_ns)) - 1;
    const uint64_t sub = (value_ns >> (exponent - kSubBits)) & (kPerGroup - 1);
    return (exponent - kLinearBits + 1) * kPerGroup + sub;
  }
  // The bucket covers [lower_ns, lower_ns + width_ns).
  static constexpr uint64_t width_ns(size_t index) {
    const size_t group = index >> kSubBits;
    return uint64_t{1} << (kLinearBits - kSubBits + (group == 0 ? 0 : group - 1));
  }
  static constexpr uint64_t lower_ns(size_t index) {
    const size_t group = index >> kSubBits;
    const uint64_t sub = index & (kPerGroup - 1);
    return (group == 0 ? sub : kPerGroup + sub) * width_ns(index);
  }
  static constexpr uint64_t middle_ns(size_t index) { return lower_ns(index) + width_ns(index) / 2; }
};

// A plain copy of one or several histograms: copied, merged, subtracted. It
// weighs as much as a block, so long-lived ones belong on the heap.
class HistogramSnapshot {
 public:
  uint64_t count() const { return count_; }
  uint64_t bucket(size_t index) const { return buckets_[index]; }

  void add(size_t index, uint64_t amount) {
    buckets_[index] += amount;
    count_ += amount;
  }
  HistogramSnapshot& operator+=(const HistogramSnapshot& other);

  // What was recorded after `earlier` was taken. `earlier` must be an older
  // snapshot of the same histograms.
  HistogramSnapshot since(const HistogramSnapshot& earlier) const;

  // The nearest-rank quantile: the smallest recorded value that at least
  // `fraction` (0..1) of all do not exceed. 0 without any value.
  uint64_t quantile_ns(double fraction) const;
  uint64_t max_ns() const { return quantile_ns(1.0); }
  double mean_ns() const { return count_ == 0 ? 0.0 : sum_ns() / static_cast<double>(count_); }
  double sum_ns() const;

  // How many are at most `bound_ns`, a bucket belonging where its middle does:
  // the cumulative buckets of a Prometheus histogram.
  uint64_t count_at_most(uint64_t bound_ns) const;

 private:
  std::array<uint64_t, HistogramBuckets::kCount> buckets_{};
  uint64_t count_ = 0;
};

class Histogram {
 public:
  // The owning thread only.
  void record(uint64_t value_ns) {
    std::atomic<uint64_t>& bucket = buckets_[HistogramBuckets::index_of(value_ns)];
    bucket.store(bucket.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  // Any thread. Adds what this histogram holds to `sum`, so that the blocks of
  // all workers merge without a copy between.
  void add_to(HistogramSnapshot& sum) const {
    for (size_t index = 0; index < buckets_.size(); ++index) {
      const uint64_t amount = buckets_[index].load(std::memory_order_relaxed);
      if (amount != 0) sum.add(index, amount);
    }
  }

 private:
  std::array<std::atomic<uint64_t>, HistogramBuckets::kCount> buckets_{};
};

}  // namespace sluice::balancer
