#include "proxy/upstream_connection.h"

#include <uv.h>

#include <cassert>
#include <utility>

#include "proxy/exchange.h"
#include "proxy/tls_stream.h"
#include "proxy/upstream_pool.h"

namespace sluice::proxy {

using balancer::Outcome;

namespace {

// What it means that no connection came about (RFC 9209, 2.3).
UpstreamFailure connect_failure(int error) {
  UpstreamFailure failure{Outcome::connect, "connection_refused", uv_strerror(error), 502, false, false};
  switch (error) {
    case UV_ETIMEDOUT:
      return {Outcome::connect, "connection_timeout", "no answer", 504, false, false};
    case UV_EHOSTUNREACH:
    case UV_ENETUNREACH:
      failure.error = "destination_ip_unroutable";
      return failure;
    case UV_ECONNRESET:
    case UV_EPIPE:
      failure.error = "connection_terminated";
      return failure;
    case UV_EMFILE:
    case UV_ENFILE:
    case UV_ENOBUFS:
    case UV_ENOMEM:
    case UV_EADDRNOTAVAIL:
      failure.error = "connection_limit_reached";
      failure.status = 503;
      failure.ours = true;
      return failure;
    default:
      return failure;
  }
}

}  // namespace

UpstreamConnection::UpstreamConnection(WorkerContext& context, UpstreamPool& pool, PooledEndpoint& endpoint,
                                       balancer::Permit permit)
    : context_(context),
      pool_(pool),
      endpoint_(endpoint),
      permit_(std::move(permit)),
      codec_(context.workspace),
      out_(context.loop),
      timer_([](void* self) { static_cast<UpstreamConnection*>(self)->on_deadline(); }, this) {
  ++endpoint_.connections;
  ++context_.upstream_connections;
}

UpstreamConnection::~UpstreamConnection() {
  --endpoint_.connections;
  --context_.upstream_connections;
}

void UpstreamConnection::dial(Exchange* exchange, uint32_t connect_timeout_ms) {
  exchange_ = exchange;
  stream_ = context_.dialer.dial(*endpoint_.shared, this);
  terms_ = pool_.terms();
  if (pool_.tls() != nullptr) {
    stream_ = TlsStream::connect(context_.loop, std::move(stream_), pool_.tls(),
                                 endpoint_.shared->authority(), endpoint_.tls_session);
    stream_->set_handler(this);
  }
  out_.set_stream(stream_.get());
  expect_within(connect_timeout_ms, "connection_timeout");
}

void UpstreamConnection::attach(Exchange* exchange) {
  assert(state_ == State::idle);
  exchange_ = exchange;
  state_ = State::busy;
  answered_ = false;
  timer_.disarm();
}

void UpstreamConnection::expect_within(uint64_t delay_ms, const char* error) {
  deadline_error_ = error;
  context_.loop.arm(timer_, delay_ms);
}

void UpstreamConnection::pause_reading() {
  stream_->stop_reading();
}

bool UpstreamConnection::client_is_full() const {
  return exchange_->downstream_pending() > (context_.loop.crowded() ? 0 : Stream::kHighWatermark);
}

// What was stashed while reading was paused is looked at first.
void UpstreamConnection::resume_reading() {
  if (state_ != State::busy || read_ended_) return;
  if (!stash_.empty()) {
    Input input = stash_.view();
    process(input);
    context_.loop.run_flushes();
    stash_.keep_last(state_ == State::busy ? input.size : 0);
    if (state_ != State::busy) return;
    if (exchange_ != nullptr && client_is_full()) return;
  }
  stream_->start_reading();
}

void UpstreamConnection::on_connected(int error) {
  timer_.disarm();
  if (error != 0) {
    UpstreamFailure failure = connect_failure(error);
    if (const TlsFailure* const tls = stream_->tls_failure(); tls != nullptr) {
      failure = {Outcome::connect, tls->error, tls->detail, 502, false};
    }
    fail(failure);
    return;
  }
  state_ = State::busy;
  pool_.connected(*this);
  stream_->start_reading();
  exchange_->on_connected();
}

void UpstreamConnection::on_read(char* data, size_t size) {
  if (state_ == State::ending) {
    unwanted_ += size;
    if (unwanted_ > kMostUnwanted) stream_->reset();
    return;
  }
  if (state_ == State::idle) {
    // Nobody asked for anything: whatever this is, it answers no request.
    end();
    return;
  }
  const bool from_stash = !stash_.empty();
  if (from_stash) stash_.append(data, size);
  Input input = from_stash ? stash_.view() : Input{data, size};
  process(input);
  // What was handed on lies in this very memory: it must be out, or copied,
  // before the memory is used again.
  context_.loop.run_flushes();
  if (from_stash) {
    stash_.keep_last(state_ == State::busy ? input.size : 0);
  } else if (input.size > 0 && state_ == State::busy) {
    stash_.append(input.data, input.size);
  }
  if (state_ != State::busy) return;
  if (client_is_full()) {
    stream_->stop_reading();
    timer_.disarm();  // it is the client's turn
    exchange_->on_upstream_paused();
  }
}

void UpstreamConnection::process(Input& input) {
  answered_ = true;
  while (state_ == State::busy) {
    const CodecEvent event = codec_.next(input);
    switch (event.kind) {
      case CodecEvent::Kind::more:
        return;
      case CodecEvent::Kind::head:
        exchange_->on_response();
        break;
      case CodecEvent::Kind::data:
        exchange_->on_response_data(codec_.piece().data, codec_.piece().size);
        break;
      case CodecEvent::Kind::end:
        // Octets behind the end of an answer belong to nobody.
        if (input.size > 0 || !codec_.reusable()) codec_.retire();
        exchange_->on_response_end(codec_.trailers());
        return;
      case CodecEvent::Kind::bad:
        fail({Outcome::reset, codec_.problem().error, codec_.problem().detail, 502, false}, Peer::there);
        return;
    }
  }
}

void UpstreamConnection::on_read_end() {
  read_ended_ = true;
  if (state_ == State::ending || state_ == State::idle) {
    close();
    return;
  }
  if (state_ != State::busy) return;
  const CodecEvent event = codec_.next_at_end();
  if (event.kind == CodecEvent::Kind::end) {
    exchange_->on_response_end(nullptr);
    return;
  }
  const bool stale = reused() && !answered_;
  if (answered_) {
    fail({Outcome::reset, "http_response_incomplete", "the upstream closed before the end of its answer", 502,
          false});
  } else {
    fail({Outcome::reset, "connection_terminated", "the upstream closed without an answer", 502, stale});
  }
}

void UpstreamConnection::on_stream_error(int error) {
  if (state_ == State::ending || state_ == State::idle) {
    close();
    return;
  }
  if (state_ != State::busy) return;
  UpstreamFailure failure{Outcome::reset, answered_ ? "http_response_incomplete" : "connection_terminated",
                          uv_strerror(error), 502, reused() && !answered_};
  if (const TlsFailure* const tls = stream_->tls_failure(); tls != nullptr) {
    if (!answered_) failure.error = tls->error;
    failure.detail = tls->detail;
  }
  fail(failure);
}

void UpstreamConnection::on_drained() {
  if (state_ == State::busy) exchange_->on_upstream_drained();
}

void UpstreamConnection::on_deadline() {
  switch (state_) {
    case State::connecting:
      fail({Outcome::connect, "connection_timeout", "no connection within the connect timeout", 504, false},
           stream_->is_reached() ? Peer::there : Peer::gone);
      break;
    case State::busy:
      fail({Outcome::timeout, deadline_error_, "the upstream did not go on in time", 504, false},
           Peer::there);
      break;
    case State::idle:
      end();
      break;
    case State::ending:
      stream_->reset();
      break;
    case State::closed:
      break;
  }
}

// The peer of a connection that is not broken may still be at work for it.
void UpstreamConnection::fail(const UpstreamFailure& failure, Peer peer) {
  Exchange* const exchange = std::exchange(exchange_, nullptr);
  if (peer == Peer::there) {
    end_within(pool_.let_go_ms());
  } else {
    close();
  }
  exchange->on_upstream_failed(failure);
}

void UpstreamConnection::release() {
  exchange_ = nullptr;
  ++requests_;
  timer_.disarm();
  pool_.release(*this, codec_.reusable());
}

void UpstreamConnection::abandon() {
  exchange_ = nullptr;
  if (state_ == State::connecting && !stream_->is_reached()) {
    close();
  } else {
    end_within(pool_.let_go_ms());
  }
}

void UpstreamConnection::end_output() {
  out_.flush();
  stream_->shutdown_write();
}

void UpstreamConnection::become_idle(uint32_t idle_timeout_ms) {
  state_ = State::idle;
  stream_->start_reading();
  context_.loop.arm(timer_, idle_timeout_ms);
}

void UpstreamConnection::end() {
  end_within(kCloseWaitMs);
}

void UpstreamConnection::end_within(uint64_t wait_ms) {
  if (state_ == State::ending || state_ == State::closed) return;
  if (state_ == State::idle) {
    pool_.unlink_idle(*this);
    count_leaving(1);
  }
  state_ = State::ending;
  out_.flush();
  stream_->shutdown_write();
  stream_->start_reading();
  context_.loop.arm(timer_, wait_ms);
}

void UpstreamConnection::close() {
  if (state_ == State::closed) return;
  if (state_ == State::idle) {
    pool_.unlink_idle(*this);
    count_leaving(1);
  }
  state_ = State::closed;
  timer_.disarm();
  out_.set_stream(nullptr);
  stream_->close();
}

void UpstreamConnection::count_leaving(int32_t delta) {
  leaves_ = delta > 0;
  for (const auto& cap : permit_.caps()) cap->add_leaving(context_.number, delta);
}

void UpstreamConnection::on_stream_closed() {
  state_ = State::closed;
  if (leaves_) count_leaving(-1);
  permit_.release();
  pool_.forget(*this);
}

}  // namespace sluice::proxy
