#include "balancer/hash.h"

#include <bit>
#include <catch2/catch.hpp>
#include <set>
#include <string>

using namespace sluice::balancer;

TEST_CASE("hash: its parts agree with what their authors published") {
  // FNV-1a, 64 bits: test vectors of draft-eastlake-fnv, appendix C.
  CHECK(hash_append(kFnvOffset, "") == 0xcbf29ce484222325U);
  CHECK(hash_append(kFnvOffset, "a") == 0xaf63dc4c8601ec8cU);
  CHECK(hash_append(kFnvOffset, "foobar") == 0x85944171f73967e8U);
  // fmix64 of MurmurHash3.
  CHECK(hash_finish(0) == 0);
  CHECK(hash_finish(1) == 0xb456bcfc34c2cb2cU);
}

TEST_CASE("hash: a sticky key has the same value in every release") {
  CHECK(sticky_hash("", "web") == 0x9466c5c6323e3e63U);
  CHECK(sticky_hash("192.0.2.1", "web") == 0x14d77f16981bb46eU);
  CHECK(sticky_hash("192.0.2.1", "api") == 0x6ff35411235b0302U);
  CHECK(sticky_hash("client-1", "web") == 0x0105a5999a1ff4caU);
  CHECK(sticky_hash("\xff", "api") == 0xf0ed2961da91c8dfU);
}

TEST_CASE("hash: key and service do not run into each other") {
  CHECK(sticky_hash("ab", "c") != sticky_hash("a", "bc"));
  CHECK(sticky_hash("", "abc") != sticky_hash("abc", ""));
}

TEST_CASE("hash: keys that differ in one octet differ in about half of the bits") {
  int bits = 0;
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t one = sticky_hash("user" + std::to_string(i), "web");
    const uint64_t next = sticky_hash("user" + std::to_string(i + 1), "web");
    bits += std::popcount(one ^ next);
    seen.insert(one);
  }
  CHECK(seen.size() == 1000);
  CHECK(bits > 31'000);
  CHECK(bits < 33'000);
}
