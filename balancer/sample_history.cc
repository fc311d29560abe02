#include "balancer/sample_history.h"

namespace sluice::balancer {

void SampleHistory::add(const DetectorSample& sample) {
  if (!samples_.empty() && samples_.back().at_ms == sample.at_ms) {
    samples_.back() = sample;
    return;
  }
  samples_.push_back(sample);
  if (samples_.size() - older_ <= kRecent) return;
  if (aged_++ % every_ == 0) {
    ++older_;
  } else {
    samples_.erase(samples_.begin() + static_cast<std::ptrdiff_t>(older_));
  }
  if (older_ == kOlder) thin_older();
}

// The first one stays.
void SampleHistory::thin_older() {
  size_t kept = 0;
  for (size_t i = 0; i < older_; i += 2) samples_[kept++] = samples_[i];
  samples_.erase(samples_.begin() + static_cast<std::ptrdiff_t>(kept),
                 samples_.begin() + static_cast<std::ptrdiff_t>(older_));
  older_ = kept;
  every_ *= 2;
}

}  // namespace sluice::balancer
