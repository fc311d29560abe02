// How rollouts write splits, times and durations for people.
#pragma once

#include <cstdint>
#include <string>

#include "conf/config.h"

namespace sluice::balancer {

// "25 %", "0.5 %", "12.34 %".
std::string percent(conf::BasisPoints split);
// The same of a rate 0..1, with two decimals: "0.42 %".
std::string percent_of(double rate);
// "2024-05-01T10:00:00.123Z" (RFC 3339).
std::string rfc3339(int64_t unix_ms);
// "850 ms", "12.5 s", "5 m 3 s", "2 h 10 m".
std::string duration_text(uint64_t duration_ms);

}  // namespace sluice::balancer
