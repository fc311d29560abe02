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

TEST_CASE("trace exporter: octets that are no UTF-8 do no harm") {
  Span odd = example();
  odd.target = "/\xff\xfe\x01";
  CHECK(spans_of({odd}).size() == 1);
}

}  // namespace
}  // namespace sluice::proxy
