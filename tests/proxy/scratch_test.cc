#include "proxy/scratch.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <vector>

using sluice::proxy::Scratch;

TEST_CASE("scratch: allocations do not overlap, whatever their size") {
  Scratch scratch;
  const size_t sizes[] = {1, 100, Scratch::kBlockBytes - 200, 300, 5 * Scratch::kBlockBytes, 1, 0, 7};
  std::vector<char*> all;
  for (size_t i = 0; i < std::size(sizes); ++i) {
    all.push_back(scratch.allocate(sizes[i]));
    REQUIRE(all.back() != nullptr);
    std::memset(all.back(), static_cast<int>('a' + i), sizes[i]);
  }
  for (size_t i = 0; i < std::size(sizes); ++i) {
    for (size_t at = 0; at < sizes[i]; ++at) REQUIRE(all[i][at] == static_cast<char>('a' + i));
  }
}

TEST_CASE("scratch: the end of the latest allocation can be given back") {
  Scratch scratch;
  char* const first = scratch.allocate(1000);
  scratch.shrink(first + 10);
  CHECK(scratch.allocate(1) == first + 10);
  char* const large = scratch.allocate(2 * Scratch::kBlockBytes);
  scratch.shrink(large + 3);
  CHECK(scratch.allocate(Scratch::kBlockBytes) == large + 3);
}

TEST_CASE("scratch: a reset begins again in the first block") {
  Scratch scratch;
  char* const first = scratch.allocate(10);
  scratch.allocate(3 * Scratch::kBlockBytes);
  scratch.reset();
  CHECK(scratch.allocate(Scratch::kBlockBytes) == first);
}

#if defined(__SANITIZE_ADDRESS__)
TEST_CASE("scratch: under AddressSanitizer what is not allocated may not be touched") {
  Scratch scratch;
  char* const first = scratch.allocate(13);
  CHECK_FALSE(__asan_address_is_poisoned(first + 12));
  CHECK(__asan_address_is_poisoned(first + 13));
  scratch.shrink(first + 5);
  CHECK_FALSE(__asan_address_is_poisoned(first + 4));
  CHECK(__asan_address_is_poisoned(first + 5));
  char* const large = scratch.allocate(Scratch::kBlockBytes + 1);
  CHECK(__asan_address_is_poisoned(large + Scratch::kBlockBytes + 1));
  scratch.reset();
  CHECK(__asan_address_is_poisoned(first));
}
#endif
