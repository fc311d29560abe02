// Request ids: what a request is found by in the logs of all that it passed.
//
// A client's is passed on when it is something to search logs for; else one of
// 128 random bits is made. Pure functions.
#pragma once

#include <cstddef>
#include <string_view>

#include "balancer/random.h"
#include "proxy/hex.h"

namespace sluice::proxy {

inline constexpr size_t kRequestIdBytes = 2 * kHexDigits;

inline bool is_sane_request_id(std::string_view id) {
  constexpr size_t kLongest = 128;
  if (id.empty() || id.size() > kLongest) return false;
  for (const char c : id) {
    if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\') return false;
  }
  return true;
}

inline void make_request_id(balancer::Random& random, char (&id)[kRequestIdBytes]) {
  write_hex(id, random.next());
  write_hex(id + kHexDigits, random.next());
}

}  // namespace sluice::proxy
