// TraceContext: which trace a request belongs to, as it travels in the field
// traceparent (W3C Trace Context, 3.2).
//
//   00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//   version, trace, the caller's span, flags (1: sampled)
//
// A field that breaks the grammar, or whose trace or span is all zeros, is as
// good as none. Of a later version the first four parts are understood.
//
// Plain values; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "balancer/random.h"

namespace sluice::proxy {

struct TraceContext {
  static constexpr size_t kTextBytes = 55;
  static constexpr size_t kTraceIdBytes = 32;

  uint64_t trace_high = 0;
  uint64_t trace_low = 0;
  uint64_t span = 0;
  uint64_t parent = 0;  // the caller's span; 0: the trace begins here
  bool sampled = false;

  static std::optional<TraceContext> parse(std::string_view traceparent);
  // A trace of its own, sampled with the probability `sample`.
  static TraceContext begin(balancer::Random& random, double sample);
  // The same trace with a span of our own below the caller's.
  TraceContext child(balancer::Random& random) const;

  // What the field says where the span is the caller.
  void write_traceparent(char (&to)[kTextBytes]) const;
  // kTraceIdBytes lower-case hex digits.
  void write_trace_id(char* to) const;
};

}  // namespace sluice::proxy
