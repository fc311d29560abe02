#include "proxy/trace_context.h"

#include <cstring>

#include "proxy/hex.h"

namespace sluice::proxy {
namespace {

// A version, a trace, a span and flags, with dashes between.
constexpr size_t kTraceAt = 3, kSpanAt = 36, kFlagsAt = 53;
constexpr uint64_t kSampled = 1;
constexpr uint64_t kForbiddenVersion = 0xff;

// Lower-case digits only.
std::optional<uint64_t> parse_hex(std::string_view digits) {
  uint64_t value = 0;
  for (const char c : digits) {
    const bool letter = c >= 'a' && c <= 'f';
    if (!letter && (c < '0' || c > '9')) return std::nullopt;
    value = value << 4 | static_cast<uint64_t>(letter ? c - 'a' + 10 : c - '0');
  }
  return value;
}

// All zeros mean that there is none.
inline uint64_t new_id(balancer::Random& random) {
  uint64_t id = random.next();
  while (id == 0) id = random.next();
  return id;
}

}  // namespace

std::optional<TraceContext> TraceContext::parse(std::string_view text) {
  if (text.size() < kTextBytes) return std::nullopt;
  const bool dashes = text[kTraceAt - 1] == '-' && text[kSpanAt - 1] == '-' && text[kFlagsAt - 1] == '-';
  const auto version = parse_hex(text.substr(0, 2));
  const auto high = parse_hex(text.substr(kTraceAt, 16));
  const auto low = parse_hex(text.substr(kTraceAt + 16, 16));
  const auto span = parse_hex(text.substr(kSpanAt, 16));
  const auto flags = parse_hex(text.substr(kFlagsAt, 2));
  if (!dashes || !version || !high || !low || !span || !flags) return std::nullopt;
  if (*version == kForbiddenVersion || (*high == 0 && *low == 0) || *span == 0) return std::nullopt;
  const bool longer = text.size() > kTextBytes;
  if (longer && (*version == 0 || text[kTextBytes] != '-')) return std::nullopt;
  return TraceContext{*high, *low, *span, 0, (*flags & kSampled) != 0};
}

TraceContext TraceContext::begin(balancer::Random& random, double sample) {
  return {new_id(random), random.next(), new_id(random), 0, random.unit() < sample};
}

TraceContext TraceContext::child(balancer::Random& random) const {
  return {trace_high, trace_low, new_id(random), span, sampled};
}

void TraceContext::write_trace_id(char* to) const {
  write_hex(to, trace_high);
  write_hex(to + kHexDigits, trace_low);
}

void TraceContext::write_traceparent(char (&to)[kTextBytes]) const {
  std::memcpy(to, "00-00000000000000000000000000000000-0000000000000000-00", kTextBytes);
  write_trace_id(to + kTraceAt);
  write_hex(to + kSpanAt, span);
  if (sampled) to[kFlagsAt + 1] = '1';
}

}  // namespace sluice::proxy
