// What the proxy says to clients itself, and what it adds to the requests that
// it passes on.
#include <fmt/format.h>

#include <algorithm>

#include "proxy/exchange.h"
#include "proxy/h1_writer.h"
#include "proxy/request_id.h"
#include "proxy/worker.h"

namespace sluice::proxy {
namespace {

// Is it of those that say what we alone know of, or, from a peer that is not
// trusted, what it wants to be taken for?
bool speaks_for_us(FieldId id, bool trusted) {
  switch (id) {
    case FieldId::x_client_cert_san:
    case FieldId::x_client_cert_subject:
      return true;
    case FieldId::x_forwarded_for:
    case FieldId::x_forwarded_host:
    case FieldId::x_forwarded_proto:
    case FieldId::x_request_id:
      return !trusted;
    default:
      return false;
  }
}

}  // namespace

// Decides once which of the client's forwarding fields go on: all of a trusted
// peer's, none of anybody else's.
void Exchange::prepare_head() {
  const bool trusted = downstream_->trusted();
  Fields& fields = head_.fields;
  forwarded_for_.clear();
  has_request_id_ = false;
  traced_attempts_.clear();
  traced_ = !plan_->plan->trace.endpoint.empty();
  std::string_view traceparent;
  size_t traceparents = 0;
  for (Field& field : fields.all()) {
    if (field.dropped) continue;
    switch (field.id) {
      case FieldId::x_forwarded_for:
        field.dropped = true;
        if (trusted) {
          if (!forwarded_for_.empty()) forwarded_for_ += ", ";
          forwarded_for_ += fields.value(field);
        }
        break;
      case FieldId::x_forwarded_host:
      case FieldId::x_forwarded_proto:
      case FieldId::forwarded:
        if (!trusted) field.dropped = true;
        break;
      // Only what we have verified ourselves is told, whoever asks.
      case FieldId::x_client_cert_san:
      case FieldId::x_client_cert_subject:
        field.dropped = true;
        break;
      case FieldId::x_request_id:
        if (has_request_id_ || !is_sane_request_id(fields.value(field))) {
          field.dropped = true;
        } else {
          has_request_id_ = true;
        }
        break;
      case FieldId::traceparent:
        field.dropped = traced_;
        traceparent = fields.value(field);
        ++traceparents;
        break;
      case FieldId::other:
        if (speaks_for_us(underscored_id(fields.name(field)), trusted) ||
            (!trusted && is_kin_of_forwarding(fields.name(field)))) {
          field.dropped = true;
        }
        break;
      default:
        break;
    }
  }
  if (const std::string_view ip = downstream_->client_ip(); !ip.empty()) {
    if (!forwarded_for_.empty()) forwarded_for_ += ", ";
    forwarded_for_ += ip;
  }
  // More than one are none.
  if (traced_) join_trace(traceparents == 1 ? traceparent : std::string_view{});
  if (has_request_id_) return;
  make_request_id(context_.loop.random(), made_request_id_);
}

// Goes on with the caller's trace, or begins one where that is none; what
// tracestate says belongs to the caller's (W3C Trace Context, 3.3 and 4.3).
void Exchange::join_trace(std::string_view traceparent) {
  balancer::Random& random = context_.loop.random();
  if (const auto caller = TraceContext::parse(traceparent); caller.has_value()) {
    trace_ = caller->child(random);
    return;
  }
  trace_ = TraceContext::begin(random, plan_->plan->trace.sample);
  for (Field& field : head_.fields.all()) {
    if (field.id == FieldId::tracestate) field.dropped = true;
  }
}

// Each attempt is a span below the request's, and what its endpoint does is below that.
void Exchange::trace_attempt() {
  const TraceContext attempt = trace_.child(context_.loop.random());
  attempt.write_traceparent(traceparent_);
  if (!trace_.sampled) return;
  AttemptRecord& record = traced_attempts_.emplace_back();
  record.span = attempt.span;
  record.began_us = record.ended_us = attempt_us_;
  record.colour = colour_;
  record.rescue = is_rescue_;
  record.endpoint = endpoint_name_;
}

std::string_view Exchange::request_id() const {
  if (!has_request_id_) return {made_request_id_, sizeof(made_request_id_)};
  const Field* const field = head_.fields.find(FieldId::x_request_id);
  return field == nullptr ? std::string_view{} : head_.fields.value(*field);
}

void Exchange::add_forwarding_fields(AddedFields& added) {
  const Fields& fields = head_.fields;
  if (!forwarded_for_.empty()) added.add("X-Forwarded-For", forwarded_for_);
  if (fields.find(FieldId::x_forwarded_proto) == nullptr) {
    added.add("X-Forwarded-Proto", downstream_->secure() ? "https" : "http");
  }
  if (!head_.authority.empty() && fields.find(FieldId::x_forwarded_host) == nullptr) {
    added.add("X-Forwarded-Host", head_.authority);
  }
  if (const PeerCertificate* const client = downstream_->client_certificate(); client != nullptr) {
    if (!client->subject.empty()) added.add("X-Client-Cert-Subject", client->subject);
    if (!client->san.empty()) added.add("X-Client-Cert-San", client->san);
  }
  added.add("Via", head_.minor_version == 0 ? "1.0 sluice" : "1.1 sluice");
  if (!has_request_id_) added.add("X-Request-Id", request_id());
  if (traced_) added.add("traceparent", {traceparent_, sizeof(traceparent_)});
}

void Exchange::refuse(balancer::Refusal refusal, uint16_t status, const char* error, const char* detail) {
  stats().counters.refusals[static_cast<size_t>(refusal)].add();
  reply(status, error, detail);
}

// A short answer of our own, with the reason for machines (RFC 9209).
void Exchange::reply(uint16_t status, const char* error, const char* detail, Then then,
                     const char* retry_after_s) {
  DownstreamCodec& codec = downstream_->codec();
  const bool last = then == Then::close || !codec.keeps_alive() || request_outstanding() || context_.draining;
  status_ = status;
  error_ = error;
  error_detail_ = detail;
  const std::string proxy_status = fmt::format("sluice; error={}; details=\"{}\"", error, detail);
  const std::string body = fmt::format("{} {}: {}.\n", status, reason_phrase(status), detail);
  AddedFields added;
  added.add("Proxy-Status", proxy_status);
  if (status == 503) added.add("Retry-After", retry_after_s);
  if (status == 405) added.add("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
  added.add("X-Request-Id", request_id());
  codec.write_reply(downstream_->out(), stream_, status, added, "text/plain; charset=utf-8", body,
                    head_.method == Method::head, last);
  downstream_->out().flush();  // the texts live only here
  finish(last);
}

void Exchange::reply_maintenance() {
  const std::string& page = service_->plan->maintenance_page;
  stats().counters.refusals[static_cast<size_t>(balancer::Refusal::maintenance)].add();
  if (page.empty()) {
    reply(503, "destination_unavailable", "the service is under maintenance", Then::serve, kRetryLater);
    return;
  }
  DownstreamCodec& codec = downstream_->codec();
  const bool last = !codec.keeps_alive() || request_outstanding() || context_.draining;
  status_ = 503;
  error_ = "destination_unavailable";
  AddedFields added;
  added.add("Proxy-Status", "sluice; error=destination_unavailable; details=\"maintenance\"");
  added.add("Retry-After", kRetryLater);
  added.add("X-Request-Id", request_id());
  codec.write_reply(downstream_->out(), stream_, 503, added, "text/html; charset=utf-8", page,
                    head_.method == Method::head, last);
  finish(last);
}

// OPTIONS that may go no further is answered here (RFC 9110, 7.6.2).
void Exchange::reply_options() {
  DownstreamCodec& codec = downstream_->codec();
  const bool last = !codec.keeps_alive() || request_outstanding() || context_.draining;
  status_ = 200;
  AddedFields added;
  added.add("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
  codec.write_reply(downstream_->out(), stream_, 200, added, "", "", false, last);
  finish(last);
}

void Exchange::describe(SessionInfo& info, uint64_t now_us) const {
  constexpr const char* kStates[] = {"free", "starting", "queued", "connecting", "streaming", "tunnel"};
  info.state = kStates[static_cast<size_t>(phase_)];
  info.request_age_us = now_us - started_us_;
  info.request = std::string(head_.method_text) + " " + std::string(head_.target);
  if (service_ == nullptr) return;
  info.service = service_->plan->conf.name;
  info.upstream = conf::to_string(colour_);
  info.endpoint = endpoint_name_;
}

void Exchange::log() const {
  AccessRecord record;
  std::string attempts;
  if (attempts_ == 1) {
    record.attempts = to_string(outcomes_[0]);
  } else {
    for (uint32_t i = 0; i < attempts_ && i < kMostAttempts; ++i) {
      if (i > 0) attempts += ',';
      attempts += to_string(outcomes_[i]);
    }
    record.attempts = attempts;
  }
  record.request_id = request_id();
  record.client = downstream_->client_ip();
  record.method = head_.method_text;
  record.authority = head_.authority;
  record.target = head_.target;
  if (service_ != nullptr) {
    record.service = service_->plan->conf.name;
    record.upstream = conf::to_string(colour_);
  }
  record.endpoint = endpoint_name_;
  record.error = error_;
  record.error_detail = error_detail_;
  record.status = status_;
  record.minor_version = head_.minor_version;
  record.generation = generation_;
  record.bytes_up = body_bytes_;
  record.bytes_down = response_bytes_;
  record.duration_us = context_.loop.now_us() - started_us_;
  record.queue_us = queue_us_;
  record.connect_us = connect_us_;
  record.first_byte_us = first_byte_us_;
  record.retried = retries_ > 0;
  record.rescued = is_rescue_;
  record.aborted = aborted_;
  record.trace = traced_ ? &trace_ : nullptr;
  record.traced_attempts = traced_attempts_;
  record.now_us = context_.loop.now_us();
  context_.reporter.request_finished(record);
}

}  // namespace sluice::proxy
