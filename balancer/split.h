// Split: green's share of a service's requests, and how many times it changed.
//
// One atomic word holds both, so that a request reads a consistent pair with
// one load and a change is in force for every request that any thread starts
// after set() has returned. Only the control thread calls set().
#pragma once

#include <atomic>
#include <cstdint>

#include "conf/config.h"

namespace sluice::balancer {

class Split {
 public:
  struct Value {
    conf::BasisPoints green = 0;
    uint64_t generation = 0;  // below 2^48
  };

  explicit Split(Value value) : word_(pack(value)) {}

  Value get() const { return unpack(word_.load(std::memory_order_relaxed)); }
  void set(Value value) { word_.store(pack(value), std::memory_order_seq_cst); }

 private:
  static uint64_t pack(Value value) { return value.generation << 16 | value.green; }
  static Value unpack(uint64_t word) { return {static_cast<conf::BasisPoints>(word & 0xffff), word >> 16}; }

  std::atomic<uint64_t> word_;
};

// Does a request whose random or sticky number is `number`, uniform in 64 bits,
// belong to green? Monotone in the split: a number that is green at one split
// is green at every higher one. Exact to 2^-50.
inline bool falls_on_green(uint64_t number, conf::BasisPoints green) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>((static_cast<Wide>(number) * conf::kFullSplit) >> 64) < green;
}

}  // namespace sluice::balancer
