// Lower-case hexadecimal digits, two for an octet. Pure functions; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sluice::proxy {

inline constexpr size_t kHexDigits = 16;  // of 64 bits

inline constexpr std::array<char, 512> kHexPairs = [] {
  constexpr char kDigits[] = "0123456789abcdef";
  std::array<char, 512> pairs{};
  for (size_t octet = 0; octet < 256; ++octet) {
    pairs[2 * octet] = kDigits[octet >> 4];
    pairs[2 * octet + 1] = kDigits[octet & 15];
  }
  return pairs;
}();

inline void write_hex_pair(char* to, uint8_t octet) {
  std::memcpy(to, &kHexPairs[size_t{2} * octet], 2);
}

// kHexDigits of them. Not a loop, since compilers keep one, at twice the cost.
inline void write_hex(char* to, uint64_t value) {
  const auto pair = [&](size_t at, int shift) {
    write_hex_pair(to + at, static_cast<uint8_t>(value >> shift));
  };
  pair(0, 56);
  pair(2, 48);
  pair(4, 40);
  pair(6, 32);
  pair(8, 24);
  pair(10, 16);
  pair(12, 8);
  pair(14, 0);
}

}  // namespace sluice::proxy
