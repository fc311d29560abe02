// Spans as the body of an OTLP request (OpenTelemetry Protocol 1.x, JSON).
//
// It is written piece by piece: a tree of objects for the same text took 160,000
// instructions a span, which at 1 % sampled is more than a line of the access log.
#include <string>
#include <string_view>
#include <utility>

#include "proxy/hex.h"
#include "proxy/json_text.h"
#include "proxy/tls_context.h"
#include "proxy/trace_exporter.h"

namespace sluice::proxy {
namespace {

// What the body's text is put together with.
class Body {
 public:
  Body& raw(std::string_view json) {
    text_ += json;
    return *this;
  }
  Body& text(std::string_view value) {
    const size_t at = text_.size();
    text_.resize(at + kMostJsonPerOctet * value.size());
    text_.resize(static_cast<size_t>(write_json(text_.data() + at, value) - text_.data()));
    return *this;
  }
  Body& number(uint64_t value) {
    char digits[kMostDigits];
    return raw({digits, static_cast<size_t>(write_unsigned(digits, value) - digits)});
  }
  Body& span_id(uint64_t id) {
    char digits[kHexDigits];
    write_hex(digits, id);
    return raw({digits, sizeof(digits)});
  }
  Body& trace_id(const TraceContext& context) {
    char digits[TraceContext::kTraceIdBytes];
    context.write_trace_id(digits);
    return raw({digits, sizeof(digits)});
  }

  // Members of a list of attributes, each with a comma behind it but the last.
  // Keys are literals. 64-bit numbers are texts (protobuf's JSON mapping).
  Body& begin_attributes() { return raw(R"("attributes":[)"); }
  Body& attribute(std::string_view key, std::string_view value) {
    return raw(R"({"key":")").raw(key).raw(R"(","value":{"stringValue":")").text(value).raw(R"("}},)");
  }
  Body& attribute(std::string_view key, uint64_t value) {
    return raw(R"({"key":")").raw(key).raw(R"(","value":{"intValue":")").number(value).raw(R"("}},)");
  }
  Body& flag(std::string_view key) {
    return raw(R"({"key":")").raw(key).raw(R"(","value":{"boolValue":true}},)");
  }
  Body& end_list() {
    if (text_.back() == ',') text_.pop_back();
    return raw("]");
  }

  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

// Names by OpenTelemetry's semantic conventions for HTTP where there are any.
void put_attributes(Body& body, const Span& span) {
  const std::string_view target = span.target;
  const size_t mark = target.find('?');
  body.begin_attributes();
  body.attribute("http.request.method", span.method).attribute("url.path", target.substr(0, mark));
  body.attribute("server.address", span.authority).attribute("client.address", span.client);
  body.attribute("sluice.request_id", span.request_id).attribute("sluice.service", span.service);
  body.attribute("sluice.upstream", span.upstream).attribute("sluice.endpoint", span.endpoint);
  body.attribute("sluice.attempts", span.attempts);
  body.attribute("sluice.split_generation", span.generation).attribute("sluice.queue_us", span.queue_us);
  if (mark != target.npos) body.attribute("url.query", target.substr(mark + 1));
  if (span.status != 0) body.attribute("http.response.status_code", uint64_t{span.status});
  if (!span.error.empty()) body.attribute("error.type", span.error);
  body.end_list();
}

// The host, or the path of a socket.
std::string server_address(const std::string& endpoint) {
  constexpr std::string_view kUnix = "unix:";
  return endpoint.starts_with(kUnix) ? endpoint.substr(kUnix.size()) : host_of_authority(endpoint);
}

// `number`: of the attempt, from 0.
void put_attributes(Body& body, const Span& span, const Span::Attempt& attempt, size_t number) {
  body.begin_attributes();
  body.attribute("http.request.method", span.method);
  body.attribute("server.address", server_address(attempt.endpoint));
  body.attribute("sluice.service", span.service).attribute("sluice.upstream", attempt.upstream);
  body.attribute("sluice.endpoint", attempt.endpoint).attribute("sluice.outcome", attempt.outcome);
  if (number > 0) body.attribute("http.request.resend_count", uint64_t{number});
  if (attempt.rescue) body.flag("sluice.rescue");
  if (attempt.status != 0) body.attribute("http.response.status_code", uint64_t{attempt.status});
  if (attempt.failed) {
    const std::string status = attempt.status >= 500 ? std::to_string(attempt.status) : attempt.outcome;
    body.attribute("error.type", attempt.error.empty() ? status : attempt.error);
  }
  body.end_list();
}

enum class Kind : uint8_t { server = 2, client = 3 };

// What spans of every kind begin with; a parent of 0 is none.
void begin(Body& body, const TraceContext& context, uint64_t id, uint64_t parent) {
  body.raw(R"({"traceId":")").trace_id(context).raw(R"(","spanId":")").span_id(id);
  body.raw(R"(","parentSpanId":")");
  if (parent != 0) body.span_id(parent);
  body.raw(R"(","name":")");
}

// The name is written; the attributes follow.
void go_on(Body& body, Kind kind, uint64_t began_us, uint64_t ended_us) {
  body.raw(R"(","kind":)").number(static_cast<uint64_t>(kind));
  body.raw(R"(,"startTimeUnixNano":")").number(began_us * 1000);
  body.raw(R"(","endTimeUnixNano":")").number(ended_us * 1000).raw(R"(",)");
}

// With a comma behind it.
void end(Body& body, bool failed) {
  body.raw(failed ? R"(,"status":{"code":2}},)" : "},");
}

void put(Body& body, const Span& span) {
  begin(body, span.context, span.context.span, span.context.parent);
  body.text(span.method).raw(" ").text(span.service);
  go_on(body, Kind::server, span.began_us, span.ended_us);
  put_attributes(body, span);
  end(body, span.status >= 500 || span.aborted);
  for (size_t i = 0; i < span.tries.size(); ++i) {
    const Span::Attempt& attempt = span.tries[i];
    begin(body, span.context, attempt.id, span.context.span);
    body.text(span.method).raw(" ").text(span.service).raw("/").text(attempt.upstream);
    go_on(body, Kind::client, attempt.began_us, attempt.ended_us);
    put_attributes(body, span, attempt, i);
    end(body, attempt.failed);
  }
}

}  // namespace

std::string to_otlp(const std::vector<Span>& spans, const std::string& version) {
  Body body;
  body.raw(R"({"resourceSpans":[{"resource":{)").begin_attributes();
  body.attribute("service.name", "sluice").attribute("service.version", version).end_list();
  body.raw(R"(},"scopeSpans":[{"scope":{"name":"sluice","version":")").text(version).raw(R"("},"spans":[)");
  for (const Span& span : spans) put(body, span);
  body.end_list().raw("}]}]}");
  return body.take();
}

}  // namespace sluice::proxy
