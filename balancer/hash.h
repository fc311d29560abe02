// A 64-bit hash of text that is the same in every process and release, for
// sticky splits: FNV-1a (Fowler, Noll, Vo; draft-eastlake-fnv) finished with
// the mixer of MurmurHash3 (Appleby), since FNV alone leaves the upper bits of
// short keys poorly mixed. Not for hash tables that an enemy fills.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::balancer {

inline constexpr uint64_t kFnvOffset = 0xcbf29ce484222325U;

inline uint64_t hash_append(uint64_t state, std::string_view text) {
  for (const char c : text) {
    state ^= static_cast<unsigned char>(c);
    state *= 0x100000001b3U;
  }
  return state;
}

inline uint64_t hash_finish(uint64_t state) {
  state ^= state >> 33;
  state *= 0xff51afd7ed558ccdU;
  state ^= state >> 33;
  state *= 0xc4ceb9fe1a85ec53U;
  state ^= state >> 33;
  return state;
}

// hash(key, service): the same client falls differently in different services.
inline uint64_t sticky_hash(std::string_view key, std::string_view service) {
  uint64_t state = hash_append(kFnvOffset, key);
  state = hash_append(state, std::string_view("\0", 1));
  return hash_finish(hash_append(state, service));
}

}  // namespace sluice::balancer
