#include "admin/totals.h"

#include <algorithm>
#include <numeric>

#include "balancer/rollout_text.h"

namespace sluice::admin {

using balancer::Outcome;

uint64_t Totals::responses_of_class(uint32_t first_digit) const {
  const auto begin = responses.begin() + first_digit * 100;
  return std::accumulate(begin, begin + 100, uint64_t{0});
}

uint64_t Totals::all_responses() const {
  return std::accumulate(responses.begin(), responses.end(), uint64_t{0});
}

uint64_t Totals::all_attempts() const {
  return std::accumulate(attempts.begin(), attempts.end(), uint64_t{0});
}

uint64_t Totals::failed_attempts() const {
  return all_attempts() - attempts[static_cast<size_t>(Outcome::ok)] -
         attempts[static_cast<size_t>(Outcome::cancelled)];
}

uint64_t Totals::all_refusals() const {
  return std::accumulate(refusals.begin(), refusals.end(), uint64_t{0});
}

Totals totals_of(const balancer::UpstreamState& upstream) {
  Totals sum;
  const auto add = [](auto& to, const auto& from) {
    for (size_t i = 0; i < to.size(); ++i) to[i] += from[i].get();
  };
  for (uint32_t worker = 0; worker < upstream.workers(); ++worker) {
    const balancer::UpstreamCounters& mine = upstream.stats(worker).counters;
    add(sum.responses, mine.responses);
    add(sum.attempts, mine.attempts);
    add(sum.refusals, mine.refusals);
    sum.retries += mine.retries.get();
    sum.rescues += mine.rescues.get();
    sum.aborted += mine.aborted.get();
    sum.bytes_down += mine.bytes_down.get();
    sum.bytes_up += mine.bytes_up.get();
  }
  return sum;
}

EndpointCounts count_endpoints(const proxy::ServiceEntry& entry, conf::Colour colour) {
  const auto& all = entry.endpoints[static_cast<size_t>(colour)];
  const auto usable =
      std::count_if(all.begin(), all.end(), [](const auto& one) { return one.state->condition().usable(); });
  return {static_cast<size_t>(usable), all.size()};
}

std::string rfc3339(uint64_t wall_us) {
  return balancer::rfc3339(static_cast<int64_t>(wall_us / 1000));
}

}  // namespace sluice::admin
