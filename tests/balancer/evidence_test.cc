#include "balancer/evidence.h"

#include <catch2/catch.hpp>

#include "balancer/histogram.h"

namespace sluice::balancer {
namespace {

bool says(const std::string& text, const char* words) {
  return text.find(words) != std::string::npos;
}

Evidence example() {
  Evidence evidence;
  evidence.service = "web";
  evidence.verdict = {Verdict::Kind::trip, Detector::rise, "green's errors rose"};
  evidence.step_began_ms = 10'000;
  evidence.first_error_ms = 20'000;
  evidence.tripped_ms = 20'450;
  evidence.splits = {{10'000, 5000}};
  evidence.counts[0] = {1000, 3, {}};
  evidence.counts[1] = {1000, 42, {}};
  evidence.counts[1].by_outcome[static_cast<size_t>(Outcome::http_5xx)] = 40;
  evidence.counts[1].by_outcome[static_cast<size_t>(Outcome::timeout)] = 2;
  evidence.baseline = wilson(60, 20'000);
  evidence.baseline_attempts = 20'000;
  evidence.green_share = 0.5;
  evidence.last_failed = {{20'400, conf::Colour::green, Outcome::timeout, "id-7", "10.0.0.5:80", "", "/"}};
  evidence.endpoints = {{"10.0.0.5:80", 42, 1.0, 0}};
  for (uint64_t i = 0; i < 50; ++i) {
    evidence.samples.push_back({20'000 + i * 9, 11.0, 10.0, false, 0.5, 7.5, 7.1, 2.0, 9.9});
  }
  return evidence;
}

TEST_CASE("evidence: the report says what happened, how fast, and by what measure") {
  const std::string text = to_text(example());
  CHECK(says(text, "trip by rise: green's errors rose"));
  CHECK(says(text, "0.450 s from green's first error to the trip"));
  CHECK(says(text, "1000 attempts, 42 errors, 4.20 % ("));
  CHECK(says(text, "40 5xx, 2 timeout"));
  CHECK(says(text, "blue 0.30 %"));
  CHECK(says(text, "50.00 % at -10.0 s"));
  CHECK(says(text, "id-7"));
  CHECK(says(text, "10.0.0.5:80"));
  CHECK(says(text, "+0.441 s"));  // the last sample, though not all are shown
  CHECK_FALSE(says(text, "p50"));
}

TEST_CASE("evidence: latencies are shown where they were filled in") {
  Evidence evidence = example();
  evidence.latencies[1] = {1000,       1'500'000,  9'000'000,
                           20'000'000, 31'000'000, {{1 << 21, 900}, {1 << 24, 100}}};
  CHECK(says(to_text(evidence), "p50 1.5 ms, p95 9 ms, p99 20 ms, max 31 ms"));
  CHECK(says(to_text(evidence), "below 2.1 ms: 900 16.8 ms: 100"));
}

TEST_CASE("evidence: a histogram is summed up by powers of two") {
  Histogram histogram;
  for (int i = 0; i < 90; ++i) histogram.record(1'500'000);
  for (int i = 0; i < 10; ++i) histogram.record(9'000'000);
  HistogramSnapshot snapshot;
  histogram.add_to(snapshot);
  const LatencySummary summary = LatencySummary::of(snapshot);
  CHECK(summary.count == 100);
  CHECK(summary.p50_ns == Approx(1'500'000).epsilon(0.01));
  REQUIRE(summary.buckets.size() == 2);
  CHECK(summary.buckets[0].below_ns == 1 << 21);
  CHECK(summary.buckets[0].count == 90);
  CHECK(summary.buckets[1].below_ns == 1 << 24);
}

TEST_CASE("evidence: the wall clock is shown where it is known") {
  Evidence evidence = example();
  CHECK_FALSE(says(to_text(evidence), "at        "));
  evidence.clock_began_unix_ms = 1'714'557'600'123 - 20'450;
  CHECK(says(to_text(evidence), "at        2024-05-01T10:00:00.123Z"));
}

TEST_CASE("evidence: an empty one can be shown, and a long label does no harm") {
  CHECK(says(to_text({}), "verdict   none"));
  Evidence evidence = example();
  evidence.service = std::string(5000, 'x');
  CHECK(to_text(evidence).size() > 500);
}

}  // namespace
}  // namespace sluice::balancer
