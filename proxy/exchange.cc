#include "proxy/exchange.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "balancer/influence.h"

namespace sluice::proxy {

using balancer::Outcome;
using balancer::Refusal;
using conf::Colour;

Exchange::Exchange(WorkerContext& context)
    : context_(context), deadline_([](void* self) { static_cast<Exchange*>(self)->on_deadline(); }, this) {}

void Exchange::begin(Downstream& downstream, StreamId stream) {
  assert(phase_ == Phase::free);
  downstream_ = &downstream;
  stream_ = stream;
  plan_ = context_.plan;
  ++plan_->exchanges;
  std::swap(head_, downstream.codec().request());
  head_.own();

  service_ = nullptr;
  pool_ = nullptr;
  upstream_ = nullptr;
  endpoint_ = nullptr;
  endpoint_name_.clear();
  phase_ = Phase::starting;
  colour_ = Colour::blue;
  request_complete_ = response_started_ = false;
  attempt_settled_ = true;
  fresh_only_ = stale_retried_ = is_retry_ = is_rescue_ = by_lot_ = tells_who_ = interim_sent_ = false;
  answered_us_ = 0;
  counted_ = in_queue_ = aborted_ = downstream_gone_ = false;
  last_ = by_close_ = tunnel_half_ended_ = false;
  status_ = 0;
  error_ = "";
  error_detail_ = "";
  attempts_ = retries_ = 0;
  started_us_ = context_.loop.now_us();
  attempt_us_ = complete_us_ = waiting_since_us_ = queued_us_ = waited_us_ = queue_us_ = connect_us_ =
      first_byte_us_ = 0;
  body_bytes_ = response_bytes_ = generation_ = 0;
  replay_.clear();
  replay_lost_ = has_trailers_ = false;
  prepare_head();
  route();
}

void Exchange::route() {
  if (head_.max_forwards == 0) {
    reply_options();
    return;
  }
  std::string_view host = head_.authority;
  if (const size_t port = host.rfind(':');
      port != std::string_view::npos && host.find(']', port) == host.npos) {
    host = host.substr(0, port);
  }
  const uint32_t index = plan_->plan->routes.find(host, head_.path());
  if (index == balancer::RouteTable::kNone) {
    reply(404, "destination_not_found", "no route leads this host and path to a service");
    return;
  }
  service_ = &plan_->services[index];
  pool_ = service_->pools[static_cast<size_t>(Colour::blue)];
  const conf::Limits& limits = conf().limits;
  if (head_.target.size() > limits.uri_bytes) {
    reply(414, "http_request_error", "the target is longer than the limit allows", Then::close);
  } else if (head_.fields.block_size() > limits.header_bytes || head_.fields.all().size() > limits.headers) {
    reply(431, "http_request_error", "the head is larger than the limit allows", Then::close);
  } else if (limits.body_bytes > 0 && head_.content_length > limits.body_bytes) {
    reply(413, "http_request_error", "the body is larger than the limit allows");
  } else if (service_->plan->state->maintenance()) {
    reply_maintenance();
  } else {
    replay_lost_ = head_.content_length > kReplayBytes || !is_idempotent(head_.method);
    colour_ = choose_colour();
    pool_ = service_->pools[static_cast<size_t>(colour_)];
    sample();
    pool_->count_request();
    arm_deadline();
    attempt();
  }
}

// By chance, since clients may take turns; the first of a service more often, so
// that who is who is known soon.
void Exchange::sample() {
  const uint64_t every = std::min<uint64_t>(1 + service_->routed++ / balancer::Traffic::kLeastKnown,
                                            balancer::Traffic::kSampleEvery);
  if (context_.loop.random().below(every) != 0) return;
  context_.reporter.attempt_sampled(*service_->plan->state, downstream_->client_ip(), head_.path(), every);
}

void Exchange::attempt() {
  mind_the_latch();
  PooledEndpoint* const endpoint = pool_->pick(*this);
  if (endpoint == nullptr) {
    // The last of green's endpoints went away a moment ago: its share is blue's.
    if (colour_ == Colour::green) {
      restart(Colour::blue);
      return;
    }
    if (pool_->awaits_first_check()) {
      enqueue(nullptr);
      return;
    }
    refuse(Refusal::no_endpoint, 503, "destination_unavailable", "no endpoint of the upstream may be used");
    return;
  }
  balancer::Cap* blocking = nullptr;
  UpstreamConnection* const connection = pool_->acquire(*endpoint, *this, blocking);
  if (connection == nullptr) {
    enqueue(blocking);
    return;
  }
  use(*connection);
}

std::span<const PooledEndpoint* const> Exchange::tried() const {
  return {tried_, std::min(attempts_, kMostAttempts)};
}

bool Exchange::has_tried(const PooledEndpoint& endpoint) const {
  return std::ranges::find(tried(), &endpoint) != tried().end();
}

void Exchange::use(UpstreamConnection& connection) {
  upstream_ = &connection;
  endpoint_ = &connection.endpoint();
  endpoint_name_ = endpoint_->state->name();
  ++endpoint_->active;
  ++pool_->active;
  counted_ = true;
  if (attempts_ < kMostAttempts) tried_[attempts_] = endpoint_;
  ++attempts_;
  attempt_settled_ = false;
  attempt_us_ = context_.loop.now_us();
  connect_us_ = first_byte_us_ = 0;
  if (traced_) trace_attempt();
  if (conf().trip.slow_ms > 0) arm_deadline();
  if (connection.connected()) {
    send_request();
  } else {
    phase_ = Phase::connecting;
  }
}

void Exchange::on_connected() {
  // Nothing has gone to green yet, and nothing does any more.
  if (is_latched()) {
    settle_attempt(Outcome::cancelled, 0);
    restart(colour_);
    return;
  }
  connect_us_ = context_.loop.now_us() - attempt_us_;
  stats().connect_duration.record(connect_us_ * 1000);
  send_request();
}

void Exchange::send_request() {
  phase_ = Phase::streaming;
  AddedFields added;
  add_forwarding_fields(added);
  upstream_->codec().write_request(upstream_->out(), 0, head_, added, endpoint_->state->authority());
  if (!replay_.empty()) write_body(replay_.data(), replay_.size());
  awaits_continue_ = head_.expects_continue && body_bytes_ == 0 && request_outstanding();
  if (awaits_continue_) upstream_->expect_within(conf().timeouts.first_byte_ms, "http_response_timeout");
  if (request_complete_) {
    end_body(has_trailers_ ? &trailers_ : nullptr);
  } else if (expects_more_body()) {
    downstream_->resume_body();
  }
}

bool Exchange::expects_more_body() const {
  return head_.body == BodyKind::open_ended ||
         (head_.body == BodyKind::length && body_bytes_ < head_.content_length);
}

bool Exchange::accepts_input() const {
  const bool writable =
      upstream_ != nullptr && upstream_->pending() <= (context_.loop.crowded() ? 0 : Stream::kHighWatermark);
  if (phase_ == Phase::tunnel) return writable;
  if (request_complete_) return false;    // what comes is the next request
  if (!expects_more_body()) return true;  // nothing but its end can come
  return phase_ == Phase::streaming && writable;
}

void Exchange::on_request_data(const char* data, size_t size) {
  body_bytes_ += size;
  end_continue();
  if (phase_ == Phase::tunnel) {
    upstream_->codec().write_data(upstream_->out(), 0, data, size);
    upstream_->expect_within(conf().timeouts.idle_ms, "connection_read_timeout");
    return;
  }
  if (const uint64_t limit = conf().limits.body_bytes; limit > 0 && body_bytes_ > limit) {
    on_bad_request({413, "http_request_error", "the body is larger than the limit allows"});
    return;
  }
  if (!replay_lost_) {
    replay_lost_ = replay_.size() + size > kReplayBytes;
    if (!replay_lost_) replay_.insert(replay_.end(), data, data + size);
  }
  write_body(data, size);
}

// The upstream has answered, or the client did not wait for it.
void Exchange::end_continue() {
  if (!std::exchange(awaits_continue_, false)) return;
  upstream_->expect_nothing();
  downstream_->resume_body();
}

void Exchange::write_body(const char* data, size_t size) {
  upstream_->codec().write_data(upstream_->out(), 0, data, size);
}

void Exchange::watch_upstream() {
  upstream_->expect_within(conf().timeouts.idle_ms, "connection_write_timeout");
}

void Exchange::on_request_end(Fields* trailers) {
  request_complete_ = true;
  complete_us_ = context_.loop.now_us();
  if (trailers != nullptr && !trailers->all().empty() && !replay_lost_) {
    trailers_ = *trailers;
    trailers_.own();
    has_trailers_ = true;
  }
  if (phase_ == Phase::streaming && upstream_ != nullptr) end_body(trailers);
  if (phase_ != Phase::free && conf().trip.slow_ms > 0) arm_deadline();
}

void Exchange::end_body(const Fields* trailers) {
  upstream_->codec().write_end(upstream_->out(), 0, trailers);
  if (!response_started_) upstream_->expect_within(conf().timeouts.first_byte_ms, "http_response_timeout");
}

void Exchange::on_upstream_drained() {
  if (!request_complete_ && !response_started_) upstream_->expect_nothing();
  if (!request_complete_ || phase_ == Phase::tunnel) downstream_->resume_body();
}

void Exchange::on_response() {
  const ResponseHead& head = upstream_->codec().response();
  end_continue();
  if (head.interim()) {
    if (downstream_->codec().speaks_interim()) {
      downstream_->codec().write_response(downstream_->out(), stream_, head, {}, false);
      interim_sent_ = true;
    }
    return;
  }
  if (head.status == 408 && answers_the_silence_before()) {
    if (!traced_attempts_.empty()) traced_attempts_.back().status = head.status;
    settle_attempt(Outcome::cancelled, head.status);
    begin_on_fresh();
    return;
  }
  first_byte_us_ = context_.loop.now_us() - attempt_us_;
  stats().first_byte_duration.record(first_byte_us_ * 1000);
  if (!traced_attempts_.empty()) traced_attempts_.back().status = head.status;
  if (head.status >= 400) {
    const uint16_t status = head.status;
    if (status >= 500) settle_attempt(Outcome::http_5xx, status);
    if (try_again({Outcome::http_5xx, "", "", status, false}, status)) return;
  }
  if (is_late()) settle_attempt(Outcome::slow, head.status);
  forward_response(head);
}

void Exchange::forward_response(const ResponseHead& head) {
  DownstreamCodec& codec = downstream_->codec();
  status_ = head.status;
  response_started_ = true;
  last_ = !codec.keeps_alive() || request_outstanding() || context_.draining || codec.ends_by_close(head);
  by_close_ = codec.ends_by_close(head);
  if (head.status == 101) last_ = false;  // says nothing about a tunnel
  AddedFields added;
  // Whoever forwards a response without a date dates it (RFC 9110, 6.6.1).
  if (head.status != 101 && head.fields.find(FieldId::date) == nullptr) {
    added.add("Date", context_.loop.http_date());
  }
  if (tells_who_) added.add(conf().override_header, pool_->state().name());
  codec.write_response(downstream_->out(), stream_, head, added, last_);
  if (head.status == 101) {
    last_ = true;
    phase_ = Phase::tunnel;
    answered_us_ = context_.loop.now_us();
    settle_attempt(Outcome::ok, head.status);
    upstream_->codec().become_tunnel(0);
    codec.become_tunnel(stream_);
    downstream_->begin_tunnel(stream_);
  }
  upstream_->expect_within(conf().timeouts.idle_ms, "connection_read_timeout");
}

void Exchange::on_response_data(const char* data, size_t size) {
  response_bytes_ += size;
  downstream_->codec().write_data(downstream_->out(), stream_, data, size);
  upstream_->expect_within(conf().timeouts.idle_ms, "connection_read_timeout");
}

void Exchange::on_response_end(Fields* trailers) {
  if (phase_ == Phase::tunnel) {
    downstream_->end_tunnel_output();
    end_tunnel_direction();
    return;
  }
  downstream_->codec().write_end(downstream_->out(), stream_, trailers);
  settle_attempt(Outcome::ok, status_);
  leave_upstream(true);
  finish(last_ || request_outstanding());
}

void Exchange::on_downstream_drained() {
  if (upstream_ == nullptr || phase_ == Phase::connecting) return;
  if (response_started_) upstream_->expect_within(conf().timeouts.idle_ms, "connection_read_timeout");
  upstream_->resume_reading();
}

void Exchange::settle_attempt(Outcome outcome, uint16_t status) {
  if (attempt_settled_) return;
  attempt_settled_ = true;
  if (attempts_ <= kMostAttempts) outcomes_[attempts_ - 1] = outcome;
  if (!traced_attempts_.empty()) traced_attempts_.back().outcome = outcome;
  balancer::UpstreamStats& mine = stats();
  const bool compared =
      by_lot_ && !is_retry_ && !is_rescue_ && generation_ == service_->plan->state->split().get().generation;
  if (outcome == Outcome::ok && !compared) mine.counters.ok_not_by_lot.add();
  mine.counters.attempts[static_cast<size_t>(outcome)].add();
  const uint64_t duration_ns = (context_.loop.now_us() - attempt_us_) * 1000;
  mine.upstream_duration.record(duration_ns);
  if (outcome == Outcome::cancelled) {
    endpoint_->shared->count_given_up(context_.number, duration_ns);
    return;
  }
  endpoint_->shared->count(context_.number, outcome != Outcome::ok, duration_ns);
  if (outcome == Outcome::ok) return;
  context_.reporter.attempt_failed({service_->plan->state.get(), &pool_->state(), endpoint_->state, outcome,
                                    status, request_id(), downstream_->client_ip(), head_.path(), compared,
                                    attempt_us_, context_.loop.now_us()});
}

// Gives the upstream connection back; `complete`: nothing of it is outstanding.
void Exchange::leave_upstream(bool complete) {
  awaits_continue_ = false;
  UpstreamConnection* const connection = std::exchange(upstream_, nullptr);
  if (counted_) {
    counted_ = false;
    --endpoint_->active;
    --pool_->active;  // NOLINT(clang-analyzer-core.NullDereference): what is counted has a pool
    if (!traced_attempts_.empty()) traced_attempts_.back().ended_us = context_.loop.now_us();
  }
  endpoint_ = nullptr;
  if (connection == nullptr) return;
  if (complete) {
    connection->release();
  } else {
    connection->abandon();
  }
}

void Exchange::on_bad_request(const Problem& problem) {
  if (response_started_) {
    settle_attempt(Outcome::cancelled, 0);
    abort();
    return;
  }
  settle_attempt(Outcome::cancelled, 0);
  leave_upstream(false);
  pool_->leave_queue(*this);
  if (phase_ == Phase::queued) left_queue();
  reply(problem.status, problem.error, problem.detail);
}

void Exchange::on_downstream_gone() {
  if (phase_ == Phase::queued) {
    pool_->leave_queue(*this);
    left_queue();
    stats().counters.refusals[static_cast<size_t>(Refusal::client_gone)].add();
  }
  settle_attempt(phase_ == Phase::tunnel ? Outcome::ok : Outcome::cancelled, 0);
  if (pool_ != nullptr && phase_ != Phase::tunnel) stats().counters.aborted.add();
  aborted_ = phase_ != Phase::tunnel;
  leave_upstream(false);
  downstream_gone_ = true;
  finish(true);
}

void Exchange::on_downstream_timeout() {
  on_bad_request({408, "http_request_error", "the rest of the request did not arrive in time"});
}

// One after the other, in any order: what is still said the other way arrives.
void Exchange::end_tunnel_direction() {
  if (!std::exchange(tunnel_half_ended_, true)) return;
  leave_upstream(false);
  finish(true);
}

bool Exchange::on_downstream_half_closed() {
  if (phase_ == Phase::tunnel) {
    upstream_->end_output();
    end_tunnel_direction();
    return true;
  }
  // Who still waits for a place and says nothing more has most likely given up:
  // nobody else is to wait behind it.
  return request_complete_ && phase_ != Phase::queued;
}

// The response has begun and can't be completed.
void Exchange::abort() {
  aborted_ = true;
  leave_upstream(false);
  downstream_->exchange_aborted(stream_, by_close_);
  downstream_gone_ = true;
  finish(true);
}

void Exchange::finish(bool last) {
  assert(phase_ != Phase::free && upstream_ == nullptr && !in_queue_);
  deadline_.disarm();
  if (is_rescue_) --pool_->rescuing;
  if (pool_ != nullptr && status_ != 0) {
    balancer::UpstreamStats& mine = stats();
    mine.counters.responses[status_].add();
    // A tunnel was answered when it began.
    const uint64_t ended_us = answered_us_ != 0 ? answered_us_ : context_.loop.now_us();
    const uint64_t duration_us = ended_us - started_us_;
    mine.request_duration.record(duration_us * 1000);
    if (pool_->exemplar_due(duration_us * 1000))
      context_.reporter.exemplar(pool_->state(), request_id(), duration_us);
    mine.counters.bytes_up.add(body_bytes_);
    mine.counters.bytes_down.add(response_bytes_);
  } else if (pool_ == nullptr && status_ != 0) {
    context_.unrouted[status_].add();
  }
  if (context_.reporter.wants_access() || (traced_ && trace_.sampled)) log();
  Downstream* const downstream = std::exchange(downstream_, nullptr);
  const bool gone = std::exchange(downstream_gone_, false);
  const uint32_t idle_ms = service_ == nullptr ? 0 : conf().timeouts.client_idle_ms;
  phase_ = Phase::free;
  context_.release_plan(std::exchange(plan_, nullptr));
  service_ = nullptr;
  if (replay_.capacity() > kKeptReplayBytes) std::vector<char>().swap(replay_);
  context_.recycle(this);
  if (!gone) downstream->exchange_finished(stream_, last, idle_ms);
}

}  // namespace sluice::proxy
