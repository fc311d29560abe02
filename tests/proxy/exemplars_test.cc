#include "proxy/exemplars.h"

#include <catch2/catch.hpp>

namespace sluice::proxy {
namespace {

constexpr uint64_t kMs = 1'000'000;  // in nanoseconds

TEST_CASE("exemplars: the quick do not crowd out the slow, and each group has its pace") {
  ExemplarPace pace;
  CHECK(pace.due(1 * kMs, 100));
  CHECK(!pace.due(1 * kMs, 101));
  CHECK(pace.due(900 * kMs, 101));
  CHECK(!pace.due(900 * kMs, 100 + ExemplarPace::kEveryUs));
  CHECK(pace.due(1 * kMs, 100 + ExemplarPace::kEveryUs));
}

TEST_CASE("exemplars: the latest within the bounds is found, the upper bound belonging to them") {
  Exemplars known;
  CHECK(known.latest(0, ~uint64_t{0}) == nullptr);
  known.note({"first", 3'000, 10});
  known.note({"second", 5'000, 20});  // another power of two
  REQUIRE(known.latest(0, 10'000) != nullptr);
  CHECK(known.latest(0, 10'000)->request_id == "second");
  CHECK(known.latest(0, 4'000)->request_id == "first");
  CHECK(known.latest(2'999, 3'000)->request_id == "first");
  CHECK(known.latest(3'000, 4'000) == nullptr);
  known.note({"third", 3'100, 30});
  CHECK(known.latest(0, 4'000)->request_id == "third");
}

}  // namespace
}  // namespace sluice::proxy
