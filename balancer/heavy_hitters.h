// HeavyHitters: the most frequent keys of a stream in a fixed number of places,
// by the space-saving algorithm (A. Metwally, D. Agrawal, A. El Abbadi,
// "Efficient computation of frequent and top-k elements in data streams", ICDT
// 2005).
//
// A key without a place takes the place of the rarest and inherits its count as
// possible overestimate. So for each key: guaranteed <= true <= estimate, and
// any key with more than 1/places of the stream has a place.
//
// Keys are 64-bit hashes; the label is for people and is cut at kLabelBytes.
//
// Thread: none of its own. Cost: a scan of the places.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::balancer {

class HeavyHitters {
 public:
  static constexpr size_t kLabelBytes = 64;

  struct Entry {
    uint64_t key = 0;
    uint64_t estimate = 0;
    uint64_t overestimate = 0;  // at most this much of it belongs to other keys
    std::string label;

    uint64_t guaranteed() const { return estimate - overestimate; }
  };

  explicit HeavyHitters(size_t places) : places_(places) { entries_.reserve(places); }

  // `weight`: of how many it is one; at least 1.
  void add(uint64_t key, std::string_view label = {}, uint64_t weight = 1);
  // Forgets half of the past, so that the shares follow the present.
  void halve();
  void clear();

  uint64_t total() const { return total_; }
  // The key's entry, or nullptr.
  const Entry* find(uint64_t key) const;
  // By falling estimate.
  std::vector<Entry> ranking() const;

 private:
  size_t places_;
  uint64_t total_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace sluice::balancer
