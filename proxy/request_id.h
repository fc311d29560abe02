// Request ids: what a request is found by in the logs of all that it passed.
//
// A client's is passed on when it is something to search logs for; else one of
// 128 random bits is made. Pure functions.
#pragma once

#include <cstddef>
#include <string_view>

#include "balancer/random.h"

namespace sluice::proxy {

inline constexpr size_t kRequestIdBytes = 32;

inline bool is_sane_request_id(std::string_view id) {
  constexpr size_t kLongest = 128;
  if (id.empty() || id.size() > kLongest) return false;
  for (const char c : id) {
    if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\') return false;
  }
  return true;
}

inline void make_request_id(balancer::Random& random, char (&id)[kRequestIdBytes]) {
  constexpr char kDigits[] = "0123456789abcdef";
  for (size_t half = 0; half < 2; ++half) {
    uint64_t number = random.next();
    for (size_t i = 0; i < 16; ++i, number >>= 4) id[half * 16 + i] = kDigits[number & 15];
  }
}

}  // namespace sluice::proxy
