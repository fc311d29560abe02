#include "proxy/trace_context.h"

#include <catch2/catch.hpp>

namespace sluice::proxy {
namespace {

constexpr const char* kExample = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

std::string text_of(const TraceContext& context) {
  char text[TraceContext::kTextBytes];
  context.write_traceparent(text);
  return {text, sizeof(text)};
}

TEST_CASE("trace context: a traceparent is read and written the same") {
  const auto context = TraceContext::parse(kExample);
  REQUIRE(context.has_value());
  CHECK(context->span == 0x00f067aa0ba902b7);
  CHECK(context->sampled);
  CHECK(text_of(*context) == kExample);
}

TEST_CASE("trace context: a child keeps the trace and the choice, and has a span of its own") {
  balancer::Random random(1);
  const std::pair<const char*, bool> kFlags[] = {{"00", false}, {"01", true}, {"03", true}, {"fe", false}};
  for (const auto& [flags, sampled] : kFlags) {
    const auto caller = TraceContext::parse(std::string(kExample).substr(0, 53) + flags);
    REQUIRE(caller.has_value());
    const TraceContext child = caller->child(random);
    CHECK(child.trace_high == caller->trace_high);
    CHECK(child.trace_low == caller->trace_low);
    CHECK(child.parent == caller->span);
    CHECK(child.span != caller->span);
    CHECK(child.span != 0);
    CHECK(child.sampled == sampled);
  }
}

TEST_CASE("trace context: what breaks the grammar is none") {
  for (const char* const wrong : {
           "",
           "00",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
           "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
           "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
           "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
           "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
           "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
           "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
           " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
       }) {
    INFO(wrong);
    CHECK(!TraceContext::parse(wrong).has_value());
  }
}

TEST_CASE("trace context: of a later version the known parts are understood") {
  const auto context =
      TraceContext::parse("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes");
  REQUIRE(context.has_value());
  CHECK(text_of(*context) == kExample);
}

TEST_CASE("trace context: traces that begin here are sampled as often as was asked for") {
  balancer::Random random(7);
  int sampled = 0;
  for (int i = 0; i < 10'000; ++i) {
    const TraceContext context = TraceContext::begin(random, 0.25);
    CHECK(context.parent == 0);
    CHECK(TraceContext::parse(text_of(context)).has_value());
    sampled += context.sampled ? 1 : 0;
  }
  CHECK(sampled > 2200);
  CHECK(sampled < 2800);
  CHECK(!TraceContext::begin(random, 0).sampled);
  CHECK(TraceContext::begin(random, 1).sampled);
}

}  // namespace
}  // namespace sluice::proxy
