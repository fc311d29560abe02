#include "balancer/heavy_hitters.h"

#include <algorithm>

namespace sluice::balancer {

void HeavyHitters::add(uint64_t key, std::string_view label, uint64_t weight) {
  total_ += weight;
  for (Entry& entry : entries_) {
    if (entry.key != key) continue;
    entry.estimate += weight;
    return;
  }
  label = label.substr(0, kLabelBytes);
  if (entries_.size() < places_) {
    entries_.push_back({key, weight, 0, std::string(label)});
    return;
  }
  const auto rarest = std::min_element(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
    return a.estimate < b.estimate;
  });
  rarest->key = key;
  rarest->overestimate = rarest->estimate;
  rarest->estimate += weight;
  rarest->label.assign(label);
}

void HeavyHitters::halve() {
  total_ /= 2;
  for (Entry& entry : entries_) {
    entry.estimate /= 2;
    entry.overestimate /= 2;
  }
  std::erase_if(entries_, [](const Entry& entry) { return entry.estimate == 0; });
}

void HeavyHitters::clear() {
  total_ = 0;
  entries_.clear();
}

const HeavyHitters::Entry* HeavyHitters::find(uint64_t key) const {
  for (const Entry& entry : entries_) {
    if (entry.key == key) return &entry;
  }
  return nullptr;
}

std::vector<HeavyHitters::Entry> HeavyHitters::ranking() const {
  std::vector<Entry> sorted = entries_;
  std::sort(sorted.begin(), sorted.end(), [](const Entry& a, const Entry& b) {
    return a.estimate != b.estimate ? a.estimate > b.estimate : a.key < b.key;
  });
  return sorted;
}

}  // namespace sluice::balancer
