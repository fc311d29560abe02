#include "proxy/wall_clock.h"

#include <catch2/catch.hpp>

namespace sluice::proxy {
namespace {

TEST_CASE("wall clock: a reading serves what follows, and is made again after a while") {
  WallClock clock;
  constexpr uint64_t kNowUs = 5'000'000;
  // Says what the clock did between two readings by the test.
  const auto is_asked = [&](uint64_t now_us) {
    const uint64_t before = Loop::wall_clock_us();
    const uint64_t told = clock.at(now_us);
    return told >= before && told <= Loop::wall_clock_us();
  };
  CHECK(is_asked(kNowUs));
  const uint64_t first = clock.at(kNowUs);
  CHECK(clock.at(kNowUs + 1) == first + 1);
  CHECK(clock.at(kNowUs + WallClock::kAskEveryUs - 1) == first + WallClock::kAskEveryUs - 1);
  // The loop's time leaps, the wall clock does not: only a new reading knows.
  CHECK(is_asked(kNowUs + 3'600'000'000));
}

}  // namespace
}  // namespace sluice::proxy
