#include "proxy/trace_exporter.h"

#include <catch2/catch.hpp>
#include <map>
#include <nlohmann/json.hpp>

// What happens on the wire is in tests/wire/trace_test.py.
namespace sluice::proxy {
namespace {

using Json = nlohmann::json;

Span example() {
  const auto caller = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
  balancer::Random random(1);
  static TraceContext trace;
  trace = caller->child(random);
  AccessRecord record;
  record.trace = &trace;
  record.method = "GET";
  record.target = "/cart?id=7";
  record.authority = "shop.example";
  record.service = "web";
  record.upstream = "green";
  record.endpoint = "10.0.0.5:80";
  record.attempts = "reset,ok";
  record.status = 200;
  record.duration_us = 1500;
  record.generation = 12;
  return {record, 1'772'366'400'123'456};
}

std::map<std::string, Json> attributes_of(const Json& span) {
  std::map<std::string, Json> all;
  for (const Json& one : span["attributes"]) all[one["key"]] = one["value"];
  return all;
}

Json spans_of(const std::vector<Span>& spans) {
  return Json::parse(to_otlp(spans, "1.2.3"))["resourceSpans"][0]["scopeSpans"][0]["spans"];
}

TEST_CASE("trace exporter: a span is written as OTLP wants it") {
  const Json body = Json::parse(to_otlp({example()}, "1.2.3"));
  CHECK(body["resourceSpans"][0]["resource"]["attributes"][0] ==
        Json{{"key", "service.name"}, {"value", {{"stringValue", "sluice"}}}});
  const Json span = body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
  CHECK(span["traceId"] == "4bf92f3577b34da6a3ce929d0e0e4736");
  CHECK(span["parentSpanId"] == "00f067aa0ba902b7");
  CHECK(span["spanId"].get<std::string>().size() == 16);
  CHECK(span["kind"] == 2);
  CHECK(span["name"] == "GET web");
  CHECK(span["startTimeUnixNano"] == "1772366400121956000");
  CHECK(span["endTimeUnixNano"] == "1772366400123456000");
  CHECK(!span.contains("status"));
  auto attributes = attributes_of(span);
  CHECK(attributes["url.path"]["stringValue"] == "/cart");
  CHECK(attributes["url.query"]["stringValue"] == "id=7");
  CHECK(attributes["http.response.status_code"]["intValue"] == "200");
  CHECK(attributes["sluice.upstream"]["stringValue"] == "green");
  CHECK(attributes["sluice.attempts"]["stringValue"] == "reset,ok");
  CHECK(attributes["sluice.split_generation"]["intValue"] == "12");
}

TEST_CASE("trace exporter: what failed has an error as its status, and no status code where there was none") {
  Span broken = example();
  broken.status = 503;
  broken.error = "connection_limit_reached";
  Span left = example();
  left.status = 0;
  left.aborted = true;
  left.context.parent = 0;
  const Json spans = spans_of({broken, left});
  CHECK(spans[0]["status"]["code"] == 2);
  CHECK(attributes_of(spans[0])["error.type"]["stringValue"] == "connection_limit_reached");
  CHECK(spans[1]["status"]["code"] == 2);
  CHECK(spans[1]["parentSpanId"] == "");
  CHECK(attributes_of(spans[1]).count("http.response.status_code") == 0);
}

Span::Attempt attempt(uint64_t id, const char* outcome, uint16_t status, bool failed) {
  Span::Attempt one;
  one.id = id;
  one.began_us = 1'772'366'400'122'000 + id;
  one.ended_us = one.began_us + 500;
  one.upstream = "green";
  one.outcome = outcome;
  one.endpoint = "[::1]:8080";
  one.status = status;
  one.failed = failed;
  return one;
}

TEST_CASE("trace exporter: any octets are valid JSON, and so is no span at all") {
  CHECK(spans_of({}) == Json::array());
  Span span = example();
  span.target = "/";
  for (int octet = 0; octet < 0x80; ++octet) span.target += static_cast<char>(octet == '?' ? '!' : octet);
  span.authority = "\xc3\xa9 \xff";
  span.service = "a\"b\\";
  Span other = example();
  const Json spans = spans_of({span, other});
  REQUIRE(spans.size() == 2);
  auto attributes = attributes_of(spans[0]);
  CHECK(attributes["url.path"]["stringValue"] == span.target);
  CHECK(attributes["server.address"]["stringValue"] == "\xc3\xa9 \xef\xbf\xbd");
  CHECK(spans[0]["name"] == "GET a\"b\\");
  CHECK(spans[1]["name"] == "GET web");
}

TEST_CASE("trace exporter: each attempt is a span of a client below the request's") {
  Span span = example();
  span.tries = {attempt(1, "reset", 0, true), attempt(2, "ok", 200, false)};
  span.tries[0].error = "connection_terminated";
  span.tries[1].upstream = "blue";
  span.tries[1].rescue = true;
  CHECK(span.weight() == 3);
  const Json spans = spans_of({span});
  REQUIRE(spans.size() == 3);
  for (const size_t i : {1, 2}) {
    CHECK(spans[i]["traceId"] == spans[0]["traceId"]);
    CHECK(spans[i]["parentSpanId"] == spans[0]["spanId"]);
    CHECK(spans[i]["spanId"] == "000000000000000" + std::to_string(i));
    CHECK(spans[i]["kind"] == 3);
    CHECK(attributes_of(spans[i])["server.address"]["stringValue"] == "::1");
    CHECK(attributes_of(spans[i])["sluice.endpoint"]["stringValue"] == "[::1]:8080");
  }
  CHECK(spans[1]["name"] == "GET web/green");
  CHECK(spans[1]["startTimeUnixNano"] == "1772366400122001000");
  CHECK(spans[1]["endTimeUnixNano"] == "1772366400122501000");
  CHECK(spans[1]["status"]["code"] == 2);
  CHECK(!spans[2].contains("status"));
  auto first = attributes_of(spans[1]), second = attributes_of(spans[2]);
  CHECK(first["error.type"]["stringValue"] == "connection_terminated");
  CHECK(first.count("http.response.status_code") == 0);
  CHECK(first.count("http.request.resend_count") == 0);
  CHECK(second["http.request.resend_count"]["intValue"] == "1");
  CHECK(second["http.response.status_code"]["intValue"] == "200");
  CHECK(second["sluice.rescue"]["boolValue"] == true);
  CHECK(second.count("error.type") == 0);
}

TEST_CASE("trace exporter: an attempt's error is its status, or how it ended, where nothing else is known") {
  Span span = example();
  span.tries = {attempt(1, "5xx", 503, true), attempt(2, "timeout", 0, true), attempt(3, "slow", 200, true)};
  span.tries[2].endpoint = "unix:/run/app.sock";
  const Json spans = spans_of({span});
  CHECK(attributes_of(spans[1])["error.type"]["stringValue"] == "503");
  CHECK(attributes_of(spans[2])["error.type"]["stringValue"] == "timeout");
  CHECK(attributes_of(spans[3])["error.type"]["stringValue"] == "slow");
  CHECK(attributes_of(spans[3])["server.address"]["stringValue"] == "/run/app.sock");
}

TEST_CASE("trace exporter: an attempt's times are told by the clock of the wall") {
  AttemptRecord tried;
  tried.span = 7;
  tried.began_us = 1000;
  tried.ended_us = 1400;
  tried.endpoint = "10.0.0.5:80";
  tried.outcome = balancer::Outcome::ok;
  const TraceContext trace;
  AccessRecord record;
  record.trace = &trace;
  record.traced_attempts = {&tried, 1};
  record.now_us = 1500;
  record.duration_us = 600;
  const Span span(record, 1'000'000);
  CHECK((span.began_us == 999'400 && span.ended_us == 1'000'000));
  REQUIRE(span.tries.size() == 1);
  CHECK((span.tries[0].began_us == 999'500 && span.tries[0].ended_us == 999'900));
  CHECK(!span.tries[0].failed);
}

TEST_CASE("trace exporter: octets that are no UTF-8 do no harm") {
  Span odd = example();
  odd.target = "/\xff\xfe\x01";
  CHECK(spans_of({odd}).size() == 1);
}

}  // namespace
}  // namespace sluice::proxy
