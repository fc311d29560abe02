// SampleHistory: the detectors' values since a step began, in bounded memory. The
// last kRecent samples are as they came; of the older ones every n-th is kept, and
// whenever these are kOlder, n doubles and every second one of them goes.
//
// Thread: its owner's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "balancer/evidence.h"

namespace sluice::balancer {

class SampleHistory {
 public:
  static constexpr size_t kRecent = 64;
  static constexpr size_t kOlder = 64;

  // One of the same time takes the last one's place; time never goes back.
  void add(const DetectorSample& sample);
  void clear() { *this = {}; }
  // Oldest first.
  const std::vector<DetectorSample>& all() const { return samples_; }

 private:
  void thin_older();

  std::vector<DetectorSample> samples_;
  size_t older_ = 0;    // so many of them, the first ones, are the older ones
  uint64_t every_ = 1;  // n
  uint64_t aged_ = 0;   // have become older, kept or not
};

}  // namespace sluice::balancer
