// Exemplars: for each order of magnitude of latency one recent request that
// took so long, so that a bucket of a histogram leads to a line of the access
// log.
//
//   worker: ExemplarPace::due? ──now and then──> mailbox ──> Exemplars::note
//
// The groups are the powers of two of balancer/histogram.h. A worker offers at
// most one request of each group in kEveryUs, so that what is rare and slow is
// never crowded out by what is quick, and the price for a request is one
// comparison.
//
// Owners: an ExemplarPace is its UpstreamPool's and lives on the worker; an
// Exemplars is its ServiceEntry's and lives on the control thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "balancer/histogram.h"

namespace sluice::proxy {

inline constexpr size_t kExemplarGroups =
    balancer::HistogramBuckets::kCount / balancer::HistogramBuckets::kPerGroup;
constexpr size_t exemplar_group(uint64_t duration_ns) {
  return balancer::HistogramBuckets::index_of(duration_ns) / balancer::HistogramBuckets::kPerGroup;
}

class ExemplarPace {
 public:
  static constexpr uint64_t kEveryUs = 10'000'000;

  bool due(uint64_t duration_ns, uint64_t now_us) {
    uint64_t& next_us = next_us_[exemplar_group(duration_ns)];
    if (now_us < next_us) return false;
    next_us = now_us + kEveryUs;
    return true;
  }

 private:
  std::array<uint64_t, kExemplarGroups> next_us_{};
};

struct Exemplar {
  std::string request_id;
  uint64_t duration_us = 0;
  uint64_t at_us = 0;  // its end, wall clock; 0: there is none
};

class Exemplars {
 public:
  void note(Exemplar exemplar) {
    const size_t group = exemplar_group(exemplar.duration_us * 1000);
    by_group_[group] = std::move(exemplar);
  }
  // The latest of those above `low_us`, up to `high_us`; null: there is none.
  const Exemplar* latest(uint64_t low_us, uint64_t high_us) const {
    const Exemplar* best = nullptr;
    for (const Exemplar& one : by_group_) {
      if (one.at_us == 0 || one.duration_us <= low_us || one.duration_us > high_us) continue;
      if (best == nullptr || one.at_us > best->at_us) best = &one;
    }
    return best;
  }

 private:
  std::array<Exemplar, kExemplarGroups> by_group_;
};

}  // namespace sluice::proxy
