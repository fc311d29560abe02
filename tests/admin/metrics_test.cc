#include "admin/metrics.h"

#include <catch2/catch.hpp>
#include <limits>
#include <memory>
#include <sstream>

#include "fixtures.h"

namespace sluice::admin {
namespace {

using Type = MetricFamily::Type;

TEST_CASE("metrics: Prometheus text escapes labels and help") {
  const std::vector<MetricFamily> families{
      {"a_total", "A \\ help\nwith \"quotes\".", Type::counter, {{{{"name", "x\"y\\z\n"}}, 3, {}}}},
      {"b",
       "B.",
       Type::gauge,
       {{{}, std::numeric_limits<double>::infinity(), {}}, {{{"s", "t"}}, 0.25, {}}}}};
  CHECK(to_prometheus(families) ==
        "# HELP a_total A \\\\ help\\nwith \"quotes\".\n"
        "# TYPE a_total counter\n"
        "a_total{name=\"x\\\"y\\\\z\\n\"} 3\n"
        "# HELP b B.\n"
        "# TYPE b gauge\n"
        "b +Inf\n"
        "b{s=\"t\"} 0.25\n");
}

TEST_CASE("metrics: OpenMetrics names counters without _total, escapes quotes in help and has an end") {
  const std::vector<MetricFamily> families{
      {"a_total", "A \"quoted\" help.", Type::counter, {{{{"name", "x"}}, 3, {}}}}};
  CHECK(to_openmetrics(families) ==
        "# HELP a A \\\"quoted\\\" help.\n"
        "# TYPE a counter\n"
        "a_total{name=\"x\"} 3\n"
        "# EOF\n");
}

TEST_CASE("metrics: a histogram's buckets are cumulative and end with +Inf") {
  const auto snapshot = std::make_unique<balancer::HistogramSnapshot>();
  const auto add = [&](uint64_t ns, uint64_t count) {
    snapshot->add(balancer::HistogramBuckets::index_of(ns), count);
  };
  add(400'000, 2);         // 0.4 ms
  add(3'000'000, 3);       // 3 ms
  add(60'000'000'000, 1);  // a minute, over every bound
  const BucketCounts counts = bucket_counts(*snapshot);
  CHECK(counts.at_most[0] == 2);
  CHECK(counts.at_most[2] == 2);
  CHECK(counts.at_most[3] == 5);
  CHECK(counts.at_most.back() == 5);
  CHECK(counts.count == 6);
  CHECK(counts.sum_s == Approx(60.0098).epsilon(0.01));
  for (size_t i = 0; i < counts.at_most.size(); ++i) {
    CHECK(counts.at_most[i] == snapshot->count_at_most(kBucketBoundsNs[i]));
  }
  const std::string text = to_prometheus({{"d_seconds", "D.", Type::histogram, {{{{"s", "t"}}, 0, counts}}}});
  CHECK(text.find("d_seconds_bucket{s=\"t\",le=\"0.0005\"} 2\n") != std::string::npos);
  CHECK(text.find("d_seconds_bucket{s=\"t\",le=\"5e-04\"}") == std::string::npos);
  CHECK(text.find("d_seconds_bucket{s=\"t\",le=\"+Inf\"} 6\n") != std::string::npos);
  CHECK(text.find("d_seconds_count{s=\"t\"} 6\n") != std::string::npos);
}

TEST_CASE("metrics: large counters are written exactly") {
  const std::string text = to_prometheus({{"a_total", "A.", Type::counter, {{{}, 9007199254740991.0, {}}}}});
  CHECK(text.find("a_total 9007199254740991\n") != std::string::npos);
}

TEST_CASE("metrics: OpenMetrics is chosen only by who prefers it") {
  CHECK(prefers_openmetrics("application/openmetrics-text; version=1.0.0"));
  CHECK(
      prefers_openmetrics("application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;"
                          "version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"));
  CHECK(!prefers_openmetrics(""));
  CHECK(!prefers_openmetrics("*/*"));
  CHECK(!prefers_openmetrics("text/plain"));
  CHECK(!prefers_openmetrics("text/plain;q=0.9, application/openmetrics-text;q=0.1"));
  CHECK(!prefers_openmetrics("application/openmetrics-text;q=0"));
}

TEST_CASE("metrics: the contract's names are there") {
  test::TestProxy proxy;
  balancer::UpstreamStats& stats = proxy.control.registry().find("web")->upstreams[1]->stats(0);
  stats.counters.responses[503].add(4);
  stats.counters.attempts[static_cast<size_t>(balancer::Outcome::http_5xx)].add(5);
  stats.counters.refusals[static_cast<size_t>(balancer::Refusal::queue_full)].add(6);
  stats.request_duration.record(2'000'000);
  proxy.ask("set weight web green=12.5");
  const std::string text = to_prometheus(collect(proxy.control));
  for (const char* const line : {
           "sluice_requests_total{service=\"web\",upstream=\"green\",code=\"503\"} 4\n",
           "sluice_attempts_total{service=\"web\",upstream=\"green\",outcome=\"5xx\"} 5\n",
           "sluice_attempts_total{service=\"web\",upstream=\"green\",outcome=\"ok\"} 0\n",
           "sluice_rejected_total{service=\"web\",upstream=\"green\",reason=\"queue_full\"} 6\n",
           "sluice_request_duration_seconds_bucket{service=\"web\",upstream=\"green\",le=\"0.0025\"} 1\n",
           "sluice_upstream_duration_seconds_count{service=\"web\",upstream=\"blue\"} 0\n",
           "sluice_split{service=\"web\"} 12.5\n",
           "sluice_split_generation{service=\"web\"} ",
           "sluice_tripped{service=\"web\"} 0\n",
           "sluice_upstream_connections{service=\"web\",upstream=\"blue\"} 0\n",
           "sluice_upstream_max_connections{service=\"web\",upstream=\"blue\"} 40\n",
           "sluice_upstream_max_connections{service=\"web\",upstream=\"green\"} +Inf\n",
           "sluice_upstream_queue_depth{service=\"web\",upstream=\"blue\"} 0\n",
           "sluice_retries_total{service=\"web\",upstream=\"blue\"} 0\n",
           "sluice_rescues_total{service=\"web\",upstream=\"green\"} 0\n",
           "sluice_endpoint_up{service=\"web\",upstream=\"green\",endpoint=\"127.0.0.1:10\"} 1\n",
           "sluice_cap_utilization{cap=\"database\"} 0\n",
           "sluice_build_info{version=\"1.2.3\"} 1\n",
       }) {
    INFO(line);
    CHECK(text.find(line) != std::string::npos);
  }
  CHECK(text.find("service=\"plain\",upstream=\"green\"") == std::string::npos);
  const auto json = nlohmann::json::parse("{" + json_members(collect(proxy.control)) + "}");
  CHECK(json["metrics"].size() == collect(proxy.control).size());
}

TEST_CASE("metrics: each family is told once and all its samples stand together") {
  test::TestProxy proxy;
  std::istringstream lines(to_openmetrics(collect(proxy.control)));
  std::string line;
  std::string last;
  std::string family;
  std::set<std::string> families;
  for (; std::getline(lines, line); last = line) {
    if (line.starts_with("# TYPE ")) {
      family = line.substr(7, line.rfind(' ') - 7);
      CHECK(families.insert(family).second);
    } else if (!line.starts_with("#")) {
      INFO(line);
      CHECK(line.starts_with(family));
    }
  }
  CHECK(last == "# EOF");
}

}  // namespace
}  // namespace sluice::admin
