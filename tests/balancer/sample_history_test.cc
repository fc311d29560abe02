#include "balancer/sample_history.h"

#include <catch2/catch.hpp>

namespace sluice::balancer {
namespace {

DetectorSample at(uint64_t ms) {
  DetectorSample sample;
  sample.at_ms = ms;
  return sample;
}

TEST_CASE("sample_history: keeps all of the recent ones, and the older ones at even distances") {
  SampleHistory history;
  constexpr uint64_t kCount = 50'000;
  for (uint64_t ms = 1; ms <= kCount; ++ms) {
    history.add(at(ms));
    const auto& all = history.all();
    REQUIRE(all.size() <= SampleHistory::kRecent + SampleHistory::kOlder);
    REQUIRE(all.front().at_ms == 1);
    REQUIRE(all.back().at_ms == ms);
    if (ms < SampleHistory::kRecent + SampleHistory::kOlder) REQUIRE(all.size() == ms);
  }
  const auto& all = history.all();
  const size_t older = all.size() - SampleHistory::kRecent;
  REQUIRE(older >= SampleHistory::kOlder / 2);
  const uint64_t distance = all[1].at_ms - all[0].at_ms;
  CHECK(distance <= 2 * kCount / SampleHistory::kOlder);
  for (size_t i = 1; i < older; ++i) CHECK(all[i].at_ms - all[i - 1].at_ms == distance);
  CHECK(all[older].at_ms - all[older - 1].at_ms <= distance);
  for (size_t i = older + 1; i < all.size(); ++i) CHECK(all[i].at_ms - all[i - 1].at_ms == 1);
}

TEST_CASE("sample_history: a sample of the same time takes the last one's place") {
  SampleHistory history;
  history.add(at(5));
  DetectorSample later = at(5);
  later.green_rise = 3;
  history.add(later);
  REQUIRE(history.all().size() == 1);
  CHECK(history.all().back().green_rise == 3);
  history.clear();
  CHECK(history.all().empty());
}

}  // namespace
}  // namespace sluice::balancer
