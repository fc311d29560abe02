// What all workers counted about an upstream, summed.
//
// Thread: any; the counters are read while workers go on counting.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "balancer/counters.h"
#include "balancer/plan.h"
#include "proxy/registry.h"

namespace sluice::admin {

struct Totals {
  std::array<uint64_t, balancer::UpstreamCounters::kCodes> responses{};  // by status
  std::array<uint64_t, balancer::kOutcomes> attempts{};
  std::array<uint64_t, balancer::kRefusals> refusals{};
  uint64_t retries = 0;
  uint64_t rescues = 0;
  uint64_t aborted = 0;
  uint64_t bytes_down = 0;
  uint64_t bytes_up = 0;

  uint64_t responses_of_class(uint32_t first_digit) const;
  uint64_t all_responses() const;
  uint64_t all_attempts() const;
  // Attempts that were the upstream's error.
  uint64_t failed_attempts() const;
  uint64_t all_refusals() const;
};

Totals totals_of(const balancer::UpstreamState& upstream);

struct EndpointCounts {
  size_t usable = 0;
  size_t total = 0;
};
EndpointCounts count_endpoints(const proxy::ServiceEntry& entry, conf::Colour colour);

// RFC 3339 in UTC, with milliseconds: "2024-05-01T12:00:00.250Z".
std::string rfc3339(uint64_t wall_us);

}  // namespace sluice::admin
