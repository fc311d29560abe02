#include "proxy/trip_report.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace sluice::proxy {
namespace {

using balancer::Outcome;
using Json = nlohmann::json;

balancer::Evidence example() {
  balancer::Evidence evidence;
  evidence.service = "web";
  evidence.verdict = {balancer::Verdict::Kind::trip, balancer::Detector::rise, "green's errors rose"};
  evidence.clock_began_unix_ms = 1'714'557'600'000;  // 2024-05-01T10:00:00Z
  evidence.step_began_ms = 1000;
  evidence.first_error_ms = 2000;
  evidence.tripped_ms = 2450;
  evidence.splits = {{1000, 1250}};
  evidence.counts[1] = {100, 42, {}};
  evidence.counts[1].by_outcome[static_cast<size_t>(Outcome::http_5xx)] = 40;
  evidence.counts[1].by_outcome[static_cast<size_t>(Outcome::slow)] = 2;
  evidence.latencies[1].count = 100;
  evidence.latencies[1].p99_ns = 20'000'000;
  evidence.latencies[1].buckets = {{1 << 25, 100}};
  evidence.last_failed = {{2400, conf::Colour::green, Outcome::slow, "id-7", "10.0.0.5:80", "", "/"}};
  evidence.endpoints = {{"10.0.0.5:80", 42, 1.0, 0}};
  evidence.samples = {{2450, 19.0, 10.0, false, 0.5, 7.5, 7.2, 2.0, 9.4}};
  evidence.held_back = 3;
  return evidence;
}

TEST_CASE("trip_report: says everything, with times on the wall clock and units in the keys") {
  const Json json = Json::parse(to_json(example()));
  CHECK(json["service"] == "web");
  CHECK(json["detector"] == "rise");
  CHECK(json["tripped"] == "2024-05-01T10:00:02.450Z");
  CHECK(json["first_error_to_trip_s"] == 0.45);
  CHECK(json["splits"] == Json::parse(R"([{"at":"2024-05-01T10:00:01.000Z","green":12.5}])"));
  CHECK(json["green"]["by_outcome"] ==
        Json::parse(R"({"5xx":40,"connect":0,"reset":0,"timeout":0,"slow":2,"cancelled":0})"));
  CHECK(json["green"]["rate"] == 0.42);
  CHECK(json["green"]["latency"]["p99_s"] == 0.02);
  CHECK(json["green"]["latency"]["buckets"].size() == 1);
  CHECK(json["blue"]["attempts"] == 0);
  CHECK(json["last_failed"][0]["request_id"] == "id-7");
  CHECK(json["last_failed"][0]["outcome"] == "slow");
  CHECK(json["endpoints"][0]["endpoint"] == "10.0.0.5:80");
  CHECK(json["detectors"][0]["recent_log_threshold"] == 7.2);
  CHECK(json["held_back"] == 3);
}

TEST_CASE("trip_report: what never happened is null, and what is no UTF-8 is repaired") {
  balancer::Evidence evidence;
  evidence.paths = {{"/caf\xe9\"\n", 1, 1.0, 0}};
  const Json json = Json::parse(to_json(evidence));
  CHECK(json["tripped"].is_null());
  CHECK(json["first_error_to_trip_s"].is_null());
  CHECK(json["paths"][0]["path"] == "/caf\xef\xbf\xbd\"\n");
}

}  // namespace
}  // namespace sluice::proxy
