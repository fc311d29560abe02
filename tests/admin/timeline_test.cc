#include "admin/timeline.h"

#include <catch2/catch.hpp>
#include <memory>
#include <numeric>

namespace sluice::admin {
namespace {

TEST_CASE("timeline: a side has rates, quantiles and every request in its band") {
  const auto window = std::make_unique<LatencyWindow>();
  window->duration_us = 2'000'000;
  window->attempts = 12;
  window->failed = 3;
  window->requests.add(balancer::HistogramBuckets::index_of(50'000), 1);           // 50 µs
  window->requests.add(balancer::HistogramBuckets::index_of(1'500'000), 8);        // 1.5 ms
  window->requests.add(balancer::HistogramBuckets::index_of(300'000'000'000), 1);  // 5 min
  const TimelinePoint::Side side(*window);
  CHECK(side.rate_per_s == 5.0);
  CHECK(side.failed_per_s == 1.5);
  CHECK(side.p50_s == Approx(0.0015).epsilon(0.01));
  CHECK(side.p99_s == Approx(300).epsilon(0.01));
  CHECK(side.bands.front() == 1);
  CHECK(side.bands[4] == 8);  // from 1 ms, below 2 ms
  CHECK(side.bands.back() == 1);
  CHECK(std::accumulate(side.bands.begin(), side.bands.end(), 0U) == 10);
}

TEST_CASE("timeline: without a second behind it a side is all zeros") {
  const TimelinePoint::Side side{LatencyWindow()};
  CHECK(side.rate_per_s == 0);
  CHECK(side.p99_s == 0);
}

TEST_CASE("timeline: ten minutes of seconds and two hours of tens are kept") {
  Timeline timeline;
  TimelinePoint point;
  for (point.at_us = 1; point.at_us <= 2000; ++point.at_us) {
    timeline.add_second(point);
    timeline.add_ten(point);
  }
  CHECK(timeline.seconds().size() == 600);
  CHECK(timeline.tens().size() == 720);
  CHECK(timeline.seconds().back().at_us == 2000);
  CHECK(timeline.tens().front().at_us == 1281);
}

}  // namespace
}  // namespace sluice::admin
