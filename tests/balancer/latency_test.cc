#include "balancer/latency.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "balancer/random.h"

namespace sluice::balancer {
namespace {

// Log-normal around `median_ms`, by Box and Muller.
HistogramSnapshot sample(Random& random, size_t count, double median_ms, double sigma) {
  HistogramSnapshot histogram;
  for (size_t i = 0; i < count; ++i) {
    const double radius = std::sqrt(-2 * std::log(1 - random.unit()));
    const double normal = radius * std::cos(2 * M_PI * random.unit());
    const auto value_ns = static_cast<uint64_t>(median_ms * 1e6 * std::exp(sigma * normal));
    histogram.add(HistogramBuckets::index_of(value_ns), 1);
  }
  return histogram;
}

int passes(size_t blue_count, size_t green_count, double green_median_ms, double sigma, double ratio,
           uint64_t seed) {
  Random random(seed);
  int passed = 0;
  for (int run = 0; run < 200; ++run) {
    const HistogramSnapshot blue = sample(random, blue_count, 20, sigma);
    passed +=
        compare_latency(blue, sample(random, green_count, green_median_ms, sigma), ratio).within ? 1 : 0;
  }
  return passed;
}

TEST_CASE("latency: nothing passes for want of data") {
  Random random(1);
  const HistogramSnapshot blue = sample(random, 10000, 20, 0.5);
  CHECK(!compare_latency({}, blue, 1.5).within);
  CHECK(!compare_latency(blue, {}, 1.5).within);
  for (const size_t count : {1, 10, 100}) {
    const LatencyComparison few = compare_latency(blue, sample(random, count, 20, 0.5), 1.5);
    CHECK(!few.within);
    CHECK(!few.slower);
  }
}

TEST_CASE("latency: few requests are asked only what they can show, and a slower tail still counts") {
  Random random(11);
  const HistogramSnapshot blue = sample(random, 5000, 20, 0.2);
  const HistogramSnapshot green = sample(random, 60, 20, 0.2);
  CHECK(compare_latency(blue, green, 1.5, 60).within);
  CHECK(!compare_latency(blue, green, 1.5, 600).within);
  HistogramSnapshot tail = green;
  tail.add(HistogramBuckets::index_of(2'000'000'000), 5);  // 8 % of them
  CHECK(!compare_latency(blue, tail, 1.5, 60).within);
}

TEST_CASE("latency: equal distributions pass within the requests that the header promises") {
  CHECK(passes(5400, 600, 20, 0.3, 1.5, 2) == 200);
  CHECK(passes(5400, 600, 20, 0.5, 1.5, 3) >= 180);
  CHECK(passes(4000, 2000, 20, 1.0, 1.5, 4) >= 160);
}

TEST_CASE("latency: a green at or past the ratio hardly ever passes") {
  CHECK(passes(5400, 600, 30, 0.5, 1.5, 5) <= 10);
  CHECK(passes(2000, 2000, 30, 1.0, 1.5, 6) <= 10);
  CHECK(passes(2000, 2000, 40, 0.5, 1.5, 7) == 0);
}

TEST_CASE("latency: a slow tail of 3 % is seen although the median is the same") {
  Random random(8);
  const HistogramSnapshot blue = sample(random, 5000, 20, 0.3);
  HistogramSnapshot green = sample(random, 1940, 20, 0.3);
  green.add(HistogramBuckets::index_of(500'000'000), 60);
  const LatencyComparison comparison = compare_latency(blue, green, 1.5);
  CHECK(!comparison.within);
  CHECK(comparison.slower);
  CHECK(comparison.quantile == 0.99);
}

TEST_CASE("latency: microseconds of difference are no reason to hold") {
  Random random(9);
  const HistogramSnapshot blue = sample(random, 2000, 0.1, 0.2);
  CHECK(compare_latency(blue, sample(random, 2000, 0.3, 0.2), 1.5).within);
  CHECK(!compare_latency(blue, sample(random, 2000, 2.0, 0.2), 1.5).within);
}

}  // namespace
}  // namespace sluice::balancer
