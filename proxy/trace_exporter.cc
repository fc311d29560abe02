#include "proxy/trace_exporter.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "proxy/access_line.h"
#include "proxy/tls_context.h"

namespace sluice::proxy {
namespace {

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
      method(record.method.substr(0, kMostLineTextBytes)),
      target(record.target.substr(0, kMostLineTargetBytes)),
      authority(record.authority.substr(0, kMostLineTextBytes)),
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
  const size_t taken = room_taken_.fetch_add(weight, std::memory_order_relaxed) + weight;
  if (taken > kMostSpans) {
    room_taken_.fetch_sub(weight, std::memory_order_relaxed);
    overflowed_.fetch_add(weight, std::memory_order_relaxed);
    return;
  }
  const bool crosses = taken >= kHurrySpans && taken - weight < kHurrySpans;
  const auto when = crosses ? Mailbox::When::soon : Mailbox::When::at_look;
  mailbox_.post([this, span = std::move(span)]() mutable { take(std::move(span)); }, when);
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
    send_if_due();
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
