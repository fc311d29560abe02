#include "proxy/downstream_connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <utility>

namespace sluice::proxy {

ConnectionSet::~ConnectionSet() {
  assert(first_ == nullptr);
}

void ConnectionSet::drain() {
  for_each([](DownstreamConnection& one) { one.drain(); });
}

void ConnectionSet::close_all() {
  for_each([](DownstreamConnection& one) { one.gone(); });
}

DownstreamConnection& DownstreamConnection::start(WorkerContext& context, ConnectionSet& set,
                                                  std::shared_ptr<const ListenerTraits> traits,
                                                  std::unique_ptr<Stream> stream, std::string client_ip,
                                                  bool trusted, balancer::Permit place) {
  auto* const self = new DownstreamConnection(context, set, std::move(traits), std::move(stream),
                                              std::move(client_ip), trusted, std::move(place));
  self->stream_->start_reading();
  // A handshake has a deadline of its own, until on_connected().
  if (self->shed_ || !self->stream_->is_reached()) self->expect_first_head();
  return *self;
}

void DownstreamConnection::set_client(const ClientAddress& client) {
  client_ip_ = client.text();
  trusted_ = client.is_in(traits_->trusted);
}

DownstreamConnection::DownstreamConnection(WorkerContext& context, ConnectionSet& set,
                                           std::shared_ptr<const ListenerTraits> traits,
                                           std::unique_ptr<Stream> stream, std::string client_ip,
                                           bool trusted, balancer::Permit place)
    : context_(context),
      set_(set),
      traits_(std::move(traits)),
      place_(std::move(place)),
      stream_(std::move(stream)),
      codec_(context.workspace),
      out_(context.loop),
      timer_([](void* self) { static_cast<DownstreamConnection*>(self)->on_deadline(); }, this),
      resume_([](void* self) { static_cast<DownstreamConnection*>(self)->resume(); }, this),
      client_ip_(std::move(client_ip)),
      since_us_(context.loop.now_us()),
      trusted_(trusted) {
  stream_->set_handler(this);
  out_.set_stream(stream_.get());
  next_ = set_.first_;
  if (next_ != nullptr) next_->previous_ = this;
  set_.first_ = this;
  ++set_.size_;
  shed_ = context_.clients->fetch_add(1, std::memory_order_relaxed) >= context_.max_clients;
  if (shed_) context_.shed_connections.add();
}

DownstreamConnection::~DownstreamConnection() {
  (previous_ != nullptr ? previous_->next_ : set_.first_) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
  --set_.size_;
  context_.clients->fetch_sub(1, std::memory_order_relaxed);
}

void DownstreamConnection::on_connected(int) {
  client_certificate_ = stream_->peer_certificate();
  expect_first_head();
}

void DownstreamConnection::expect_first_head() {
  const uint64_t wait_ms = context_.plan->plan->client_timeouts.client_header_ms;
  expect(Waiting::head, shed_ ? std::min(wait_ms, kShedMs) : wait_ms);
}

void DownstreamConnection::on_read(char* data, size_t size) {
  if (lingering_) return;
  const bool from_stash = !stash_.empty();
  if (from_stash) stash_.append(data, size);
  Input input = from_stash ? stash_.view() : Input{data, size};
  pump(input);
  // What was passed on lies in this very memory: it must be out, or copied,
  // before the memory is used again.
  context_.loop.run_flushes();
  settle(from_stash, input);
}

// Octets that came before and could not be used then.
void DownstreamConnection::resume() {
  if (closed_ || lingering_) return;
  if (last_ && exchange_ == nullptr) {
    end();
    return;
  }
  Input input = stash_.view();
  pump(input);
  context_.loop.run_flushes();
  settle(true, input);
}

// Keeps what was not used, and decides what to wait for.
void DownstreamConnection::settle(bool from_stash, const Input& input) {
  if (closed_) return;
  if (from_stash) {
    stash_.keep_last(input.size);
  } else if (input.size > 0) {
    stash_.append(input.data, input.size);
  }
  if (lingering_) return;
  if (read_ended_ && exchange_ != nullptr && (stash_.empty() || exchange_->waits_for_a_place())) {
    tell_half_close();
    return;
  }
  if (read_ended_ && exchange_ == nullptr) {
    end();
    return;
  }
  await();
}

void DownstreamConnection::pump(Input& input) {
  while (!closed_ && !lingering_) {
    if (exchange_ == nullptr ? last_ || is_behind() : !exchange_->accepts_input()) return;
    const CodecEvent event = codec_.next(input, context_.plan->plan->head_limits);
    switch (event.kind) {
      case CodecEvent::Kind::more:
        return;
      case CodecEvent::Kind::head:
        ++requests_;
        if (shed_) {
          refuse({503, "connection_limit_reached", "too many clients are connected"},
                 codec_.request().method == Method::head);
          return;
        }
        exchange_ = context_.new_exchange();
        exchange_->begin(*this, event.stream);
        break;
      case CodecEvent::Kind::data:
        exchange_->on_request_data(codec_.piece().data, codec_.piece().size);
        break;
      case CodecEvent::Kind::end:
        exchange_->on_request_end(codec_.trailers());
        break;
      case CodecEvent::Kind::bad:
        on_bad();
        return;
    }
    // Finished already: the rest is looked at by resume().
    if (exchange_ == nullptr) return;
  }
}

// The request is malformed: answered here when it has no exchange yet.
void DownstreamConnection::on_bad() {
  last_ = unclean_ = true;
  const Problem problem = codec_.problem();
  if (exchange_ != nullptr) {
    exchange_->on_bad_request(problem);
    return;
  }
  refuse(problem, codec_.request().method == Method::head);
}

void DownstreamConnection::refuse(const Problem& problem, bool head_only) {
  last_ = unclean_ = true;
  answer_bad(problem, head_only);
  context_.loop.defer(resume_);
}

void DownstreamConnection::answer_bad(const Problem& problem, bool head_only) {
  const std::string proxy_status =
      fmt::format("sluice; error={}; details=\"{}\"", problem.error, problem.detail);
  const std::string body = fmt::format("{} {}\n", problem.status, problem.detail);
  char id[kRequestIdBytes];
  make_request_id(context_.loop.random(), id);
  const std::string_view request_id(id, sizeof(id));
  AddedFields added;
  added.add("Proxy-Status", proxy_status);
  added.add("X-Request-Id", request_id);
  if (problem.status == 503) added.add("Retry-After", "1");
  if (problem.status == 405) added.add("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
  codec_.write_reply(out_, 0, problem.status, added, "text/plain; charset=utf-8", body, head_only, true);
  out_.flush();
  context_.unrouted[problem.status].add();
  if (!context_.reporter.wants_access()) return;
  AccessRecord record;
  record.request_id = request_id;
  record.client = client_ip_;
  record.error = problem.error;
  record.error_detail = problem.detail;
  record.status = problem.status;
  record.now_us = context_.loop.now_us();
  context_.reporter.request_finished(record);
}

void DownstreamConnection::exchange_finished(StreamId stream, bool last, uint32_t idle_ms) {
  if (idle_ms != 0) idle_ms_ = idle_ms;
  exchange_ = nullptr;
  drain_wanted_ = false;
  if (!codec_.finish_exchange(stream)) unclean_ = true;
  if (last || draining_ || !codec_.keeps_alive()) last_ = true;
  if (last_) stream_->hold_for_end();  // resume() ends it
  context_.loop.defer(resume_);
}

void DownstreamConnection::exchange_aborted(StreamId, bool ends_by_close) {
  exchange_ = nullptr;
  out_.flush();
  closed_ = true;
  timer_.disarm();
  if (ends_by_close) {
    stream_->reset();
  } else {
    stream_->close();
  }
}

void DownstreamConnection::begin_tunnel(StreamId) {
  context_.loop.defer(resume_);
}

void DownstreamConnection::end_tunnel_output() {
  out_.flush();
  stream_->shutdown_write();
}

// Has the client so much yet to read that it gets no further answer?
bool DownstreamConnection::is_behind() const {
  return stream_->pending() > (context_.loop.crowded() ? 0 : Stream::kHighWatermark);
}

// Chooses the deadline for what the client owes us, and whether to read on.
void DownstreamConnection::await() {
  const conf::Timeouts& timeouts = context_.plan->plan->client_timeouts;
  const bool blocked = exchange_ == nullptr ? is_behind() : !exchange_->accepts_input();
  const bool stalled =
      blocked && exchange_ != nullptr && exchange_->blocked_on_upstream() && exchange_->wants_input();
  const bool full = blocked && exchange_ != nullptr && !stalled && stash_.size() > kMostAhead;
  if (drain_wanted_ || stream_->pending() > 0) {
    if (waiting_ != Waiting::drain) expect_progress(Waiting::drain);
  } else if (exchange_ == nullptr) {
    if (codec_.mid_message() || !stash_.empty()) {
      if (waiting_ != Waiting::head) expect(Waiting::head, timeouts.client_header_ms);
    } else if (draining_) {
      if (waiting_ != Waiting::idle) expect(Waiting::idle, kDrainIdleMs);
    } else if (requests_ > 0 || waiting_ == Waiting::nothing) {
      expect(Waiting::idle, idle_ms_ != 0 ? idle_ms_ : timeouts.client_idle_ms);
    }
  } else if (!blocked && exchange_->awaits_body()) {
    expect(Waiting::body, exchange_->client_body_ms());
  } else if (full && !read_ended_) {
    if (waiting_ != Waiting::upstream) expect(Waiting::upstream, kWatchMs);
  } else {
    waiting_ = Waiting::nothing;
    timer_.disarm();
  }
  if (read_ended_) return;
  // What must wait for its upstream is left to the kernel; a little may come
  // ahead, which is how the client's leaving is noticed; above that the socket is
  // asked. What is not blocked is a piece of a head or of trailers, which the codec
  // bounds.
  if (stalled) exchange_->watch_upstream();
  if (blocked && (exchange_ == nullptr || stalled || full)) {
    stream_->stop_reading();
  } else {
    stream_->start_reading();
  }
}

void DownstreamConnection::expect(Waiting what, uint64_t delay_ms) {
  waiting_ = what;
  context_.loop.arm(timer_, delay_ms);
}

// Slow is allowed, standing still is not.
void DownstreamConnection::expect_progress(Waiting what) {
  taken_at_check_ = taken();
  expect(what, context_.plan->plan->client_timeouts.idle_ms);
}

void DownstreamConnection::on_deadline() {
  switch (std::exchange(waiting_, Waiting::nothing)) {
    case Waiting::nothing:
      return;
    case Waiting::head:
      if (!codec_.mid_message() && stash_.empty()) {
        close();  // connected and never asked
        return;
      }
      answer_bad({408, "http_request_error", "the request did not arrive in time"});
      last_ = unclean_ = true;
      end();
      return;
    case Waiting::idle:
      close();
      return;
    case Waiting::body:
      if (exchange_ != nullptr) exchange_->on_downstream_timeout();
      return;
    case Waiting::drain:
      if (stream_->pending() == 0) {
        await();
        return;
      }
      if (taken() > taken_at_check_) {
        expect_progress(Waiting::drain);
        return;
      }
      gone();
      return;
    case Waiting::upstream:
      if (has_left()) {
        gone();
      } else {
        await();
      }
      return;
    case Waiting::linger:
      if (stream_->pending() > 0 && taken() > taken_at_check_) {
        expect_progress(Waiting::linger);
        return;
      }
      close();
      return;
  }
}

void DownstreamConnection::on_read_end() {
  read_ended_ = true;
  if (lingering_) {
    if (stream_->pending() == 0) close();  // else when the client has the last answer
    return;
  }
  if (exchange_ != nullptr) {
    if (stash_.empty() || exchange_->waits_for_a_place()) tell_half_close();
    return;
  }
  // Answers may still be on their way out; nothing more will be asked.
  last_ = true;
  end();
}

// The exchange has got all that the client will ever send.
void DownstreamConnection::tell_half_close() {
  if (std::exchange(end_told_, true)) {
    await();
    return;
  }
  if (!exchange_->on_downstream_half_closed()) gone();
}

// What reading would tell, were it not stopped. An end alone is leaving only where
// it is when it is read.
bool DownstreamConnection::has_left() const {
  const Stream::FarEnd client = stream_->far_end();
  return client == Stream::FarEnd::gone ||
         (client == Stream::FarEnd::ended && exchange_ != nullptr && exchange_->waits_for_a_place());
}

void DownstreamConnection::on_stream_error(int) {
  gone();
}

// The client is not there any more.
void DownstreamConnection::gone() {
  Exchange* const exchange = std::exchange(exchange_, nullptr);
  close();
  if (exchange != nullptr) exchange->on_downstream_gone();
}

void DownstreamConnection::on_drained() {
  if (lingering_) {
    if (stream_->pending() > 0) return;  // not yet all
    if (read_ended_) {
      close();
    } else {
      expect(Waiting::linger, kLingerMs);
    }
    return;
  }
  drain_wanted_ = false;
  if (exchange_ == nullptr) {
    context_.loop.defer(resume_);  // the next request may have waited for this
    return;
  }
  exchange_->on_downstream_drained();
  if (!closed_ && exchange_ != nullptr) await();
}

void DownstreamConnection::drain() {
  draining_ = true;
  if (exchange_ != nullptr || closed_ || lingering_) return;
  if (waiting_ == Waiting::idle) waiting_ = Waiting::nothing;
  await();
}

// No further request. At once, where nothing is on its way in either direction
// as far as we know.
void DownstreamConnection::end() {
  if (closed_ || lingering_) return;
  out_.flush();
  const bool clean = !unclean_ && stash_.empty() && !codec_.mid_message();
  if (stream_->pending() == 0 && (clean || read_ended_)) {
    close();
    return;
  }
  lingering_ = true;
  stash_.clear();
  stream_->shutdown_write();
  if (!read_ended_) stream_->start_reading();
  if (stream_->pending() > 0) {
    expect_progress(Waiting::linger);
  } else {
    expect(Waiting::linger, kLingerMs);
  }
}

void DownstreamConnection::close() {
  if (closed_) return;
  closed_ = true;
  waiting_ = Waiting::nothing;
  timer_.disarm();
  out_.set_stream(nullptr);
  // What is pending is lost; a reset keeps the rest from looking complete.
  if (stream_->pending() > 0) {
    stream_->reset();
  } else {
    stream_->close();
  }
}

void DownstreamConnection::on_stream_closed() {
  if (exchange_ != nullptr) std::exchange(exchange_, nullptr)->on_downstream_gone();
  delete this;
}

}  // namespace sluice::proxy
