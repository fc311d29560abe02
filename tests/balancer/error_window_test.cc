#include "balancer/error_window.h"

#include <catch2/catch.hpp>

namespace sluice::balancer {
namespace {

TEST_CASE("error_window: counts the last window and no more") {
  ErrorWindow window(10'000);
  window.add(90, 10, 5'000);
  CHECK(window.counts(5'000).attempts == 100);
  CHECK(window.counts(5'000).errors == 10);
  CHECK(window.counts(13'999).attempts == 100);
  CHECK(window.counts(15'000).attempts == 0);
}

TEST_CASE("error_window: slides, and survives long silences") {
  ErrorWindow window(10'000);
  for (uint64_t second = 0; second < 100; ++second) window.add(9, 1, second * 1000);
  CHECK(window.counts(99'000).attempts == 100);
  window.add(1, 0, 10'000'000);
  CHECK(window.counts(10'000'000).attempts == 1);
  window.clear();
  CHECK(window.counts(10'000'000).attempts == 0);
}

TEST_CASE("error_window: a window shorter than its slots works") {
  ErrorWindow window(1);
  window.add(1, 1, 7);
  CHECK(window.counts(7).attempts == 2);
}

}  // namespace
}  // namespace sluice::balancer
