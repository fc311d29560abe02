#include "proxy/trace_exporter.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "proxy/access_line.h"
#include "proxy/hex.h"
#include "proxy/tls_context.h"

namespace sluice::proxy {
namespace {

using Json = nlohmann::ordered_json;

// In OTLP's JSON, 64-bit numbers are texts (protobuf's JSON mapping).
Json attribute(const char* key, const std::string& text) {
  return {{"key", key}, {"value", {{"stringValue", text}}}};
}
Json attribute(const char* key, uint64_t number) {
  return {{"key", key}, {"value", {{"intValue", std::to_string(number)}}}};
}

std::string nanoseconds(uint64_t us) {
  return std::to_string(us * 1000);
}

// Names by OpenTelemetry's semantic conventions for HTTP where there are any.
Json attributes_of(const Span& span) {
  const size_t mark = span.target.find('?');
  Json list = Json::array(
      {attribute("http.request.method", span.method), attribute("url.path", span.target.substr(0, mark)),
       attribute("server.address", span.authority), attribute("client.address", span.client),
       attribute("sluice.request_id", span.request_id), attribute("sluice.service", span.service),
       attribute("sluice.upstream", span.upstream), attribute("sluice.endpoint", span.endpoint),
       attribute("sluice.attempts", span.attempts), attribute("sluice.split_generation", span.generation),
       attribute("sluice.queue_us", span.queue_us)});
  if (mark != std::string::npos) list.push_back(attribute("url.query", span.target.substr(mark + 1)));
  if (span.status != 0) list.push_back(attribute("http.response.status_code", span.status));
  if (!span.error.empty()) list.push_back(attribute("error.type", span.error));
  return list;
}

// The host, or the path of a socket.
std::string server_address(const std::string& endpoint) {
  constexpr std::string_view kUnix = "unix:";
  return endpoint.starts_with(kUnix) ? endpoint.substr(kUnix.size()) : host_of_authority(endpoint);
}

// `number`: of the attempt, from 0.
Json attributes_of(const Span& span, const Span::Attempt& attempt, size_t number) {
  Json list = Json::array(
      {attribute("http.request.method", span.method),
       attribute("server.address", server_address(attempt.endpoint)),
       attribute("sluice.service", span.service), attribute("sluice.upstream", attempt.upstream),
       attribute("sluice.endpoint", attempt.endpoint), attribute("sluice.outcome", attempt.outcome)});
  if (number > 0) list.push_back(attribute("http.request.resend_count", number));
  if (attempt.rescue) list.push_back({{"key", "sluice.rescue"}, {"value", {{"boolValue", true}}}});
  if (attempt.status != 0) list.push_back(attribute("http.response.status_code", attempt.status));
  if (!attempt.failed) return list;
  const std::string status = attempt.status >= 500 ? std::to_string(attempt.status) : attempt.outcome;
  list.push_back(attribute("error.type", attempt.error.empty() ? status : attempt.error));
  return list;
}

std::string span_id(uint64_t span) {
  std::string digits(kHexDigits, '0');
  write_hex(digits.data(), span);
  return digits;
}

// What spans of every kind have; a parent of 0 is none.
Json begun(const TraceContext& context, uint64_t span, uint64_t parent, int kind, const std::string& name) {
  std::string trace(TraceContext::kTraceIdBytes, '0');
  context.write_trace_id(trace.data());
  return {{"traceId", trace},
          {"spanId", span_id(span)},
          {"parentSpanId", parent == 0 ? "" : span_id(parent)},
          {"name", name},
          {"kind", kind}};
}

void end(Json& object, uint64_t began_us, uint64_t ended_us, Json attributes, bool failed) {
  constexpr int kError = 2;
  object["startTimeUnixNano"] = nanoseconds(began_us);
  object["endTimeUnixNano"] = nanoseconds(ended_us);
  object["attributes"] = std::move(attributes);
  if (failed) object["status"] = {{"code", kError}};
}

void append(Json& list, const Span& span) {
  constexpr int kServer = 2, kClient = 3;
  const std::string name = span.method + " " + span.service;
  Json whole = begun(span.context, span.context.span, span.context.parent, kServer, name);
  end(whole, span.began_us, span.ended_us, attributes_of(span), span.status >= 500 || span.aborted);
  list.push_back(std::move(whole));
  for (size_t i = 0; i < span.tries.size(); ++i) {
    const Span::Attempt& attempt = span.tries[i];
    Json part = begun(span.context, attempt.id, span.context.span, kClient, name + "/" + attempt.upstream);
    end(part, attempt.began_us, attempt.ended_us, attributes_of(span, attempt, i), attempt.failed);
    list.push_back(std::move(part));
  }
}

size_t weight_of(const std::vector<Span>& spans) {
  size_t weight = 0;
  for (const Span& span : spans) weight += span.weight();
  return weight;
}

}  // namespace

Span::Span(const AccessRecord& record, uint64_t ended)
    : context(*record.trace),
      began_us(ended - record.duration_us),
      ended_us(ended),
      queue_us(record.queue_us),
      generation(record.generation),
      status(record.status),
      aborted(record.aborted),
      method(record.method),
      target(record.target.substr(0, kMostLineTargetBytes)),
      authority(record.authority),
      client(record.client),
      request_id(record.request_id),
      service(record.service),
      upstream(record.upstream),
      endpoint(record.endpoint),
      attempts(record.attempts),
      error(record.error) {
  for (const AttemptRecord& one : record.traced_attempts) {
    const bool failed = one.outcome != balancer::Outcome::ok && one.outcome != balancer::Outcome::cancelled;
    tries.push_back({one.span, ended - (record.now_us - one.began_us), ended - (record.now_us - one.ended_us),
                     conf::to_string(one.colour), to_string(one.outcome), one.endpoint, one.status, failed,
                     one.rescue, one.error});
  }
}

std::string to_otlp(const std::vector<Span>& spans, const std::string& version) {
  Json list = Json::array();
  for (const Span& span : spans) append(list, span);
  Json scope;
  scope["scope"] = {{"name", "sluice"}, {"version", version}};
  scope["spans"] = std::move(list);
  Json resource;
  resource["resource"]["attributes"] =
      Json::array({attribute("service.name", "sluice"), attribute("service.version", version)});
  resource["scopeSpans"] = Json::array({std::move(scope)});
  Json body;
  body["resourceSpans"] = Json::array({std::move(resource)});
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

TraceExporter::TraceExporter(Loop& loop, Mailbox& mailbox, HttpClient& client, std::string version,
                             Secure tls, Changed changed)
    : loop_(loop),
      mailbox_(mailbox),
      client_(client),
      version_(std::move(version)),
      tls_(std::move(tls)),
      changed_(std::move(changed)) {}

void TraceExporter::configure(const conf::Trace& settings) {
  const conf::Result<HttpUrl> url = HttpUrl::parse(settings.endpoint);
  enabled_ = url.ok();
  if (enabled_) {
    url_ = *url;
    return;
  }
  if (!settings.endpoint.empty()) say(true, url.error().detail);
  lose(weight_of(waiting_));
  waiting_.clear();
}

void TraceExporter::offer(Span span) {
  const size_t weight = span.weight();
  if (room_taken_.fetch_add(weight, std::memory_order_relaxed) + weight > kMostSpans) {
    room_taken_.fetch_sub(weight, std::memory_order_relaxed);
    overflowed_.fetch_add(weight, std::memory_order_relaxed);
    return;
  }
  mailbox_.post([this, span = std::move(span)]() mutable { take(std::move(span)); });
}

void TraceExporter::take(Span span) {
  if (!enabled_) {
    lose(span.weight());
    return;
  }
  if (waiting_.empty()) oldest_ms_ = loop_.now_ms();
  waiting_.push_back(std::move(span));
  if (waiting_.size() >= kBatch) send_if_due();
}

void TraceExporter::send_if_due() {
  const uint64_t now_ms = loop_.now_ms();
  if (sending_ || waiting_.empty() || now_ms < not_before_ms_) return;
  if (waiting_.size() < kBatch && now_ms < oldest_ms_ + kMostAgeMs) return;
  const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(std::min(waiting_.size(), kBatch));
  const std::vector<Span> batch(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(end));
  waiting_.erase(waiting_.begin(), end);
  oldest_ms_ = now_ms;
  HttpCall call;
  call.authority = url_.authority;
  call.target = url_.target;
  call.fields = {{"Content-Type", "application/json"}};
  call.body = to_otlp(batch, version_);
  call.tls = tls_();
  sending_ = true;
  client_.send(url_, std::move(call),
               [this, count = weight_of(batch)](const HttpAnswer& answer) { on_answer(count, answer); });
}

void TraceExporter::on_answer(size_t count, const HttpAnswer& answer) {
  sending_ = false;
  if (answer.success()) {
    sent_ += count;
    room_taken_.fetch_sub(count, std::memory_order_relaxed);
    say(false, "the collector of traces takes spans again");
    return;
  }
  lose(count);
  not_before_ms_ = loop_.now_ms() + kPauseMs;
  say(true, "spans are lost: " + url_.authority + ": " +
                (answer.status == 0 ? answer.problem : "it answered " + std::to_string(answer.status)));
}

void TraceExporter::lose(size_t count) {
  dropped_ += count;
  room_taken_.fetch_sub(count, std::memory_order_relaxed);
}

// Only what is news.
void TraceExporter::say(bool failing, const std::string& what) {
  if (std::exchange(failing_, failing) != failing) changed_(failing, what);
}

}  // namespace sluice::proxy
