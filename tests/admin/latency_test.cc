#include "admin/latency.h"

#include <catch2/catch.hpp>

#include "fixtures.h"

namespace sluice::admin {
namespace {

constexpr uint64_t kSecondUs = 1'000'000;

// A second with `count` requests in the bucket `index`.
LatencySlice second_of(uint32_t count, uint16_t index) {
  LatencySlice slice{kSecondUs, count, count / 10, {}};
  if (count > 0) slice.buckets.emplace_back(index, count);
  return slice;
}

TEST_CASE("latency: the last second is the last slice alone") {
  LatencyHistory history;
  CHECK(history.window(Span::second)->requests.count() == 0);
  history.add(second_of(10, 5));
  history.add(second_of(20, 6));
  const auto window = history.window(Span::second);
  CHECK(window->requests.count() == 20);
  CHECK(window->requests.bucket(6) == 20);
  CHECK(window->failed == 2);
  CHECK(window->duration_us == kSecondUs);
}

TEST_CASE("latency: each window holds its span and never much more") {
  LatencyHistory history;
  for (uint32_t second = 1; second <= 1000; ++second) {
    history.add(second_of(1, 7));
    const auto covers = [&](Span span, uint64_t least, uint64_t most) {
      const auto window = history.window(span);
      const uint64_t seconds = window->duration_us / kSecondUs;
      CHECK(window->requests.count() == seconds);
      CHECK(window->attempts == seconds);
      REQUIRE(seconds >= std::min<uint64_t>(least, second));
      REQUIRE(seconds <= most);
    };
    covers(Span::second, 1, 1);
    covers(Span::ten_seconds, 10, 10);
    covers(Span::minute, 60, 69);
    covers(Span::five_minutes, 300, 359);
  }
}

TEST_CASE("latency: what is over leaves the windows") {
  LatencyHistory history;
  history.add(second_of(1000, 9));
  for (int second = 0; second < 10; ++second) history.add(second_of(0, 0));
  CHECK(history.window(Span::ten_seconds)->requests.count() == 0);
  CHECK(history.window(Span::minute)->requests.count() == 1000);
  for (int second = 0; second < 70; ++second) history.add(second_of(0, 0));
  CHECK(history.window(Span::minute)->requests.count() == 0);
  CHECK(history.window(Span::five_minutes)->requests.bucket(9) == 1000);
  for (int second = 0; second < 400; ++second) history.add(second_of(0, 0));
  CHECK(history.window(Span::five_minutes)->requests.count() == 0);
}

TEST_CASE("latency: show latency sets green beside blue with the ratio") {
  test::TestProxy proxy;
  auto& upstreams = proxy.control.registry().find("web")->upstreams;
  for (int i = 0; i < 100; ++i) {
    upstreams[0]->stats(0).request_duration.record(10'000'000);
    upstreams[1]->stats(0).request_duration.record(30'000'000);
  }
  const auto rows = proxy.ask_json("show latency web")["latency"];
  REQUIRE(rows.size() == 10);
  CHECK(rows[0]["window"] == "1s");
  CHECK(rows[0]["p99_s"].is_null());
  const auto& green = rows[9];
  CHECK(green["window"] == "start");
  CHECK(green["upstream"] == "green");
  CHECK(green["requests"] == 100);
  CHECK(green["p99_s"].get<double>() == Approx(0.03).epsilon(0.01));
  CHECK(green["p99_to_blue"].get<double>() == Approx(3).epsilon(0.02));
  CHECK(proxy.ask_json("show latency web/green")["latency"].size() == 5);
  CHECK(proxy.ask_json("show latency plain")["latency"].size() == 5);
}

TEST_CASE("latency: show histogram draws the distribution") {
  test::TestProxy proxy;
  balancer::UpstreamStats& stats = proxy.control.registry().find("web")->upstreams[0]->stats(0);
  for (int i = 0; i < 30; ++i) stats.request_duration.record(1'500'000);
  for (int i = 0; i < 10; ++i) stats.request_duration.record(70'000'000);
  const auto reply = proxy.ask_json("show histogram web/blue");
  CHECK(reply["count"] == 40);
  CHECK(reply["histogram"].front()["count"] == 30);
  CHECK(reply["histogram"].front()["from_s"] == 0.001);
  CHECK(reply["histogram"].front()["to_s"] == 0.002);
  CHECK(reply["histogram"].back()["count"] == 10);
  const std::string text = proxy.ask("show histogram web/blue");
  CHECK(text.find(std::string(50, '#')) != std::string::npos);
  CHECK(text.find("100.00%") != std::string::npos);
  CHECK(proxy.ask_json("show histogram web/blue queue")["histogram"].empty());
  CHECK(proxy.ask_json("show histogram web/blue wrong")["error"]["code"] == "usage");
}

}  // namespace
}  // namespace sluice::admin
