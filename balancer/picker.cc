#include "balancer/picker.h"

#include <algorithm>
#include <utility>

namespace sluice::balancer {
namespace {

bool was_tried(const EndpointLoad* load, const EndpointLoad* const* tried, size_t tried_count) {
  return std::find(tried, tried + tried_count, load) != tried + tried_count;
}

}  // namespace

Picker::Picker(std::vector<Entry> entries, conf::Balance balance, Panic panic)
    : entries_(std::move(entries)), balance_(balance), panic_(panic) {}

void Picker::refresh(uint64_t epoch) {
  seen_epoch_ = epoch;
  eligible_.clear();
  size_t usable = 0;
  size_t in_panic = 0;  // that would be usable then
  for (const Entry& entry : entries_) {
    const EndpointCondition condition = entry.load->state->condition();
    usable += condition.usable() ? 1 : 0;
    in_panic += condition.usable_in_panic() ? 1 : 0;
  }
  in_panic_ = panic_.applies(usable, in_panic);
  uint64_t sum = 0;
  bool awaited = false;
  for (const Entry& entry : entries_) {
    const EndpointCondition condition = entry.load->state->condition();
    awaited = awaited || condition.worth_waiting();
    if (!may_use(condition)) continue;
    const uint32_t ramp = std::max<uint32_t>(1, condition.ramp_percent);
    const uint32_t weight = entry.weight * ramp;
    sum += weight;
    eligible_.push_back({entry.load, weight, sum, 0});
  }
  awaits_first_check_ = awaited && eligible_.empty();
  equal_weights_ = std::all_of(eligible_.begin(), eligible_.end(),
                               [this](const Eligible& one) { return one.weight == eligible_[0].weight; });
  // Each begins half a period in, so that weights 3 and 1 give a b a a rather
  // than a burst of the heavy one.
  virtual_time_ = 0;
  for (Eligible& one : eligible_) one.deadline = 0.5 / one.weight;
  const auto later = [](const Eligible& a, const Eligible& b) { return a.deadline > b.deadline; };
  if (balance_ == conf::Balance::round_robin) std::make_heap(eligible_.begin(), eligible_.end(), later);
}

size_t Picker::eligible_count(uint64_t epoch) {
  if (epoch != seen_epoch_) refresh(epoch);
  return eligible_.size();
}

bool Picker::may_use(const EndpointState& endpoint, uint64_t epoch) {
  if (epoch != seen_epoch_) refresh(epoch);
  return may_use(endpoint.condition());
}

bool Picker::awaits_first_check(uint64_t epoch) {
  if (epoch != seen_epoch_) refresh(epoch);
  return awaits_first_check_;
}

Picker::Eligible& Picker::draw(Random& random) {
  if (equal_weights_) return eligible_[random.below(eligible_.size())];
  const uint64_t point = random.below(eligible_.back().weight_end);
  return *std::upper_bound(eligible_.begin(), eligible_.end(), point,
                           [](uint64_t value, const Eligible& one) { return value < one.weight_end; });
}

// A second draw that differs from the first: surely with equal weights, where
// it costs nothing, else likely.
Picker::Eligible& Picker::draw_another(Random& random, const Eligible* first) {
  if (!equal_weights_) return draw(random);
  const auto index = static_cast<size_t>(first - eligible_.data());
  return eligible_[(index + 1 + random.below(eligible_.size() - 1)) % eligible_.size()];
}

EndpointLoad* Picker::pick(Random& random, uint64_t epoch, const EndpointLoad* const* tried,
                           size_t tried_count) {
  if (epoch != seen_epoch_) refresh(epoch);
  if (eligible_.empty()) return nullptr;
  if (eligible_.size() == 1) return eligible_[0].load;
  switch (balance_) {
    case conf::Balance::p2c:
      return pick_two_choices(random, tried, tried_count)->load;
    case conf::Balance::round_robin:
      return pick_round_robin(random, tried, tried_count);
    case conf::Balance::random: {
      Eligible& drawn = draw(random);
      if (was_tried(drawn.load, tried, tried_count)) return any_untried(random, tried, tried_count)->load;
      return drawn.load;
    }
  }
  return nullptr;
}

Picker::Eligible* Picker::pick_two_choices(Random& random, const EndpointLoad* const* tried,
                                           size_t tried_count) {
  Eligible* first = &draw(random);
  Eligible* second = &draw_another(random, first);
  if (tried_count > 0) {
    if (was_tried(first->load, tried, tried_count)) std::swap(first, second);
    if (was_tried(first->load, tried, tried_count)) return any_untried(random, tried, tried_count);
    if (was_tried(second->load, tried, tried_count)) return first;
  }
  // Compare active / weight without dividing. The draw has gone by weight, so of
  // two with the same load the first keeps the shares as the weights say.
  const uint64_t first_load = uint64_t{first->load->active} * second->weight;
  const uint64_t second_load = uint64_t{second->load->active} * first->weight;
  return second_load < first_load ? second : first;
}

EndpointLoad* Picker::pick_round_robin(Random& random, const EndpointLoad* const* tried, size_t tried_count) {
  const auto later = [](const Eligible& a, const Eligible& b) { return a.deadline > b.deadline; };
  for (size_t attempt = 0;; ++attempt) {
    std::pop_heap(eligible_.begin(), eligible_.end(), later);
    Eligible& due = eligible_.back();
    EndpointLoad* load = due.load;
    virtual_time_ = std::max(virtual_time_, due.deadline);
    due.deadline = virtual_time_ + 1.0 / due.weight;
    std::push_heap(eligible_.begin(), eligible_.end(), later);
    if (!was_tried(load, tried, tried_count)) return load;
    // A heavy one may be due again and again.
    if (attempt == tried_count) return any_untried(random, tried, tried_count)->load;
  }
}

// Only retries come here, so a walk over all is no matter.
Picker::Eligible* Picker::any_untried(Random& random, const EndpointLoad* const* tried, size_t tried_count) {
  const size_t start = random.below(eligible_.size());
  for (size_t step = 0; step < eligible_.size(); ++step) {
    Eligible& one = eligible_[(start + step) % eligible_.size()];
    if (!was_tried(one.load, tried, tried_count)) return &one;
  }
  // All were: another than the last at least.
  const bool again = eligible_[start].load == tried[tried_count - 1];
  return &eligible_[(start + (again ? 1 : 0)) % eligible_.size()];
}

}  // namespace sluice::balancer
