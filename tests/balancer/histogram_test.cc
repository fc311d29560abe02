#include "balancer/histogram.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <vector>

#include "balancer/random.h"

namespace sluice::balancer {
namespace {

constexpr double kMaxError = 0.01;
constexpr uint64_t kMicrosecond = 1000;
constexpr uint64_t kTenMinutes = 600'000'000'000;

double relative_error(uint64_t answer, uint64_t truth) {
  return std::abs(static_cast<double>(answer) - static_cast<double>(truth)) / static_cast<double>(truth);
}

// Log-uniform from 1 µs to 10 min: every group gets its share.
uint64_t random_duration_ns(Random& random) {
  const double span = std::log(static_cast<double>(kTenMinutes) / static_cast<double>(kMicrosecond));
  return static_cast<uint64_t>(static_cast<double>(kMicrosecond) * std::exp(span * random.unit()));
}

void check_quantiles_against_sort(size_t samples, uint64_t seed) {
  INFO("seed " << seed);
  Random random(seed);
  const auto histogram = std::make_unique<Histogram>();
  std::vector<uint64_t> values(samples);
  double sum = 0;
  for (uint64_t& value : values) {
    value = random_duration_ns(random);
    sum += static_cast<double>(value);
    histogram->record(value);
  }
  std::sort(values.begin(), values.end());
  const auto snapshot = std::make_unique<HistogramSnapshot>();
  histogram->add_to(*snapshot);
  REQUIRE(snapshot->count() == samples);
  for (int permille = 0; permille <= 1000; ++permille) {
    const double fraction = permille / 1000.0;
    const auto wanted = static_cast<uint64_t>(std::ceil(fraction * static_cast<double>(samples)));
    const uint64_t rank = std::clamp<uint64_t>(wanted, 1, samples);
    INFO("quantile " << fraction);
    REQUIRE(relative_error(snapshot->quantile_ns(fraction), values[rank - 1]) <= kMaxError);
  }
  CHECK(relative_error(snapshot->max_ns(), values.back()) <= kMaxError);
  CHECK(std::abs(snapshot->mean_ns() * static_cast<double>(samples) / sum - 1) <= kMaxError);
}

TEST_CASE("histogram: quantiles are within 1 % of an exact sort of 1 M samples") {
  check_quantiles_against_sort(1'000'000, 20240117);
}

TEST_CASE("histogram: quantiles are within 1 % of an exact sort of 10 M samples") {
  check_quantiles_against_sort(10'000'000, 20240118);
}

TEST_CASE("histogram: every bucket answers its edges within 1 % from 1 µs to 10 min") {
  for (size_t index = HistogramBuckets::index_of(kMicrosecond);
       index <= HistogramBuckets::index_of(kTenMinutes); ++index) {
    const uint64_t lower = HistogramBuckets::lower_ns(index);
    const uint64_t upper = lower + HistogramBuckets::width_ns(index) - 1;
    REQUIRE(HistogramBuckets::index_of(lower) == index);
    REQUIRE(HistogramBuckets::index_of(upper) == index);
    REQUIRE(relative_error(HistogramBuckets::middle_ns(index), lower) <= kMaxError);
    REQUIRE(relative_error(HistogramBuckets::middle_ns(index), upper) <= kMaxError);
  }
}

TEST_CASE("histogram: an empty one answers zero, an endless duration the last bucket") {
  const auto snapshot = std::make_unique<HistogramSnapshot>();
  CHECK(snapshot->quantile_ns(0.5) == 0);
  CHECK(snapshot->max_ns() == 0);
  CHECK(snapshot->mean_ns() == 0);

  const auto histogram = std::make_unique<Histogram>();
  histogram->record(UINT64_MAX);
  histogram->add_to(*snapshot);
  CHECK(snapshot->bucket(HistogramBuckets::kCount - 1) == 1);
}

TEST_CASE("histogram: a window is the difference of two snapshots") {
  const auto histogram = std::make_unique<Histogram>();
  for (int i = 0; i < 100; ++i) histogram->record(1'000'000);
  const auto before = std::make_unique<HistogramSnapshot>();
  histogram->add_to(*before);
  for (int i = 0; i < 10; ++i) histogram->record(50'000'000);
  const auto after = std::make_unique<HistogramSnapshot>();
  histogram->add_to(*after);

  const auto window = std::make_unique<HistogramSnapshot>(after->since(*before));
  CHECK(window->count() == 10);
  CHECK(relative_error(window->quantile_ns(0.5), 50'000'000) <= kMaxError);
  CHECK(relative_error(after->quantile_ns(0.5), 1'000'000) <= kMaxError);
}

TEST_CASE("histogram: the blocks of several workers merge into the histogram of all") {
  constexpr size_t kWorkers = 4;
  Random random(7);
  std::vector<std::unique_ptr<Histogram>> workers;
  for (size_t i = 0; i < kWorkers; ++i) workers.push_back(std::make_unique<Histogram>());
  const auto all = std::make_unique<Histogram>();
  for (int i = 0; i < 10'000; ++i) {
    const uint64_t value = random_duration_ns(random);
    workers[random.below(kWorkers)]->record(value);
    all->record(value);
  }
  const auto merged = std::make_unique<HistogramSnapshot>();
  for (const auto& worker : workers) {
    const auto one = std::make_unique<HistogramSnapshot>();
    worker->add_to(*one);
    *merged += *one;
  }
  const auto expected = std::make_unique<HistogramSnapshot>();
  all->add_to(*expected);
  REQUIRE(merged->count() == expected->count());
  for (size_t index = 0; index < HistogramBuckets::kCount; ++index) {
    REQUIRE(merged->bucket(index) == expected->bucket(index));
  }
}

TEST_CASE("histogram: cumulative counts grow with the bound") {
  const auto histogram = std::make_unique<Histogram>();
  for (const uint64_t value_ms : {1, 5, 20, 100}) histogram->record(value_ms * 1'000'000);
  const auto snapshot = std::make_unique<HistogramSnapshot>();
  histogram->add_to(*snapshot);
  CHECK(snapshot->count_at_most(500'000) == 0);
  CHECK(snapshot->count_at_most(10'000'000) == 2);
  CHECK(snapshot->count_at_most(UINT64_MAX) == 4);
}

}  // namespace
}  // namespace sluice::balancer
