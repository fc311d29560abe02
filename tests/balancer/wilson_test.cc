#include "balancer/wilson.h"

#include <catch2/catch.hpp>

namespace sluice::balancer {
namespace {

TEST_CASE("wilson: nothing seen means nothing known") {
  const RateBounds bounds = wilson(0, 0);
  CHECK(bounds.lower == 0);
  CHECK(bounds.upper == 1);
}

TEST_CASE("wilson: matches published values") {
  // R. G. Newcombe, "Two-sided confidence intervals for the single proportion",
  // Statistics in Medicine 17, 1998, table I, method 3.
  const RateBounds large = wilson(81, 263, 1.959964);
  CHECK(large.lower == Approx(0.2553).margin(5e-5));
  CHECK(large.upper == Approx(0.3662).margin(5e-5));
  const RateBounds none = wilson(0, 20, 1.959964);
  CHECK(none.lower == Approx(0).margin(1e-12));
  CHECK(none.upper == Approx(0.1611).margin(5e-5));
  const RateBounds one = wilson(1, 29, 1.959964);
  CHECK(one.lower == Approx(0.0061).margin(5e-5));
  CHECK(one.upper == Approx(0.1718).margin(5e-5));
}

TEST_CASE("wilson: mirrors around one half and narrows with the count") {
  const RateBounds low = wilson(30, 100);
  const RateBounds high = wilson(70, 100);
  CHECK(low.upper == Approx(1 - high.lower));
  CHECK(low.lower == Approx(1 - high.upper));
  const RateBounds more = wilson(3000, 10000);
  CHECK(more.upper - more.lower < low.upper - low.lower);
  CHECK(more.lower < 0.3);
  CHECK(more.upper > 0.3);
}

}  // namespace
}  // namespace sluice::balancer
