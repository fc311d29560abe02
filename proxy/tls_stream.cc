#include "proxy/tls_stream.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <uv.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "proxy/client_certificate.h"
#include "proxy/tls_session.h"

namespace sluice::proxy {

std::unique_ptr<TlsStream> TlsStream::accept(Loop& loop, std::unique_ptr<Stream> inner,
                                             std::shared_ptr<const TlsServerContext> context) {
  std::unique_ptr<TlsStream> self(new TlsStream(loop, std::move(inner), context->new_connection()));
  self->server_context_ = std::move(context);
  self->in_handshake_ = true;
  self->server_context_->counters().in_progress.fetch_add(1, std::memory_order_relaxed);
  loop.arm(self->timer_, self->server_context_->handshake_timeout_ms());
  self->inner_->start_reading();
  return self;
}

std::unique_ptr<TlsStream> TlsStream::connect(Loop& loop, std::unique_ptr<Stream> inner,
                                              std::shared_ptr<const TlsClientContext> context,
                                              const std::string& authority, TlsSession& session) {
  std::unique_ptr<TlsStream> self(new TlsStream(loop, std::move(inner), context->new_connection(authority)));
  self->state_ = State::connecting;
  self->session_ = &session;
  if (SSL_SESSION* const latest = session.of(context->serial()); latest != nullptr && self->ssl_ != nullptr) {
    SSL_set_session(self->ssl_.get(), latest);
  }
  self->client_context_ = std::move(context);
  return self;
}

TlsStream::TlsStream(Loop& loop, std::unique_ptr<Stream> inner, bssl::UniquePtr<SSL> ssl)
    : loop_(loop),
      inner_(std::move(inner)),
      ssl_(std::move(ssl)),
      resume_([](void* self) { static_cast<TlsStream*>(self)->resume(); }, this),
      timer_([](void* self) { static_cast<TlsStream*>(self)->on_deadline(); }, this) {
  inner_->set_handler(this);
  if (ssl_ == nullptr) return;
  BIO* const bio = BIO_new(bio_method());
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_ex_data(ssl_.get(), 0, this);
}

TlsStream::~TlsStream() {
  leave_handshake(TlsCounters::failed);
}

const BIO_METHOD* TlsStream::bio_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* const made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sluice");
    BIO_meth_set_read(made, bio_read);
    BIO_meth_set_write(made, bio_write);
    BIO_meth_set_ctrl(
        made, [](BIO*, int command, long, void*) -> long { return command == BIO_CTRL_FLUSH ? 1 : 0; });
    return made;
  }();
  return method;
}

int TlsStream::bio_read(BIO* bio, char* out, int size) {
  auto& self = *static_cast<TlsStream*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  const size_t octets = std::min(static_cast<size_t>(size), self.input_size_);
  if (octets == 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  std::memcpy(out, self.input_, octets);
  self.input_ += octets;
  self.input_size_ -= octets;
  return static_cast<int>(octets);
}

int TlsStream::bio_write(BIO* bio, const char* data, int size) {
  static_cast<TlsStream*>(BIO_get_data(bio))->send(data, static_cast<size_t>(size));
  return size;
}

void TlsStream::send(const char* data, size_t size) {
  if (gathering_.begin != nullptr && gathering_.size + size > kGatherBytes) send_gathered();
  if (gathering_.begin != nullptr && size <= kGatherBytes) {
    std::memcpy(gathering_.begin + gathering_.size, data, size);
    gathering_.size += size;
    return;
  }
  const iovec slice{const_cast<char*>(data), size};
  inner_->write(&slice, 1);
}

void TlsStream::send_gathered() {
  if (gathering_.size == 0) return;
  const iovec slice{gathering_.begin, std::exchange(gathering_.size, 0)};
  inner_->write(&slice, 1);
}

void TlsStream::on_connected(int error) {
  if (error == 0 && ssl_ == nullptr) {
    failure_ = {"tls_certificate_error", "the endpoint has no name that a certificate could have: set sni"};
    error = UV_EPROTO;
  }
  if (error != 0) {
    state_ = State::failed;
    handler_->on_connected(error);
    return;
  }
  state_ = State::handshaking;
  inner_->start_reading();
  handshake();
}

void TlsStream::on_read(char* data, size_t size) {
  assert(held_.empty());
  process(data, size);
}

void TlsStream::process(char* data, size_t size) {
  input_ = data;
  input_size_ = size;
  if (state_ == State::handshaking) handshake();
  if (state_ == State::open) decrypt();
  if (state_ == State::open && input_size_ > 0 && !read_ended_) held_.assign(input_, input_ + input_size_);
  input_ = nullptr;
  input_size_ = 0;
}

void TlsStream::handshake() {
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) {
    handshake_done();
  } else if (SSL_get_error(ssl_.get(), result) != SSL_ERROR_WANT_READ) {
    handshake_failed();
  }
}

void TlsStream::handshake_done() {
  leave_handshake(SSL_session_reused(ssl_.get()) == 1 ? TlsCounters::resumed : TlsCounters::full);
  timer_.disarm();
  state_ = State::open;
  if (is_server() && server_context_->asks_for_certificates())
    peer_certificate_ = read_client_certificate(ssl_.get());
  handler_->on_connected(0);
  // A client's handler may not want to read yet.
  if (state_ == State::open && !reading_) inner_->stop_reading();
}

// The alert is on its way; a server gives it time to arrive.
void TlsStream::handshake_failed() {
  note_failure();
  if (!is_server()) {
    fail(UV_EPROTO);
    return;
  }
  leave_handshake(TlsCounters::failed);
  state_ = State::lingering;
  inner_->shutdown_write();
  loop_.arm(timer_, kLingerMs);
}

void TlsStream::leave_handshake(TlsCounters::Outcome outcome) {
  if (!std::exchange(in_handshake_, false)) return;
  server_context_->counters().in_progress.fetch_sub(1, std::memory_order_relaxed);
  server_context_->counters().count(outcome);
}

// Every record that the input completes, in as few on_read() as there is room.
// Why there are no more is asked before the handler hears of those: if it
// writes, BoringSSL knows only how that went.
void TlsStream::decrypt() {
  if (!reading_ || read_ended_) return;
  char* const plain = loop_.scratch().allocate(kReadBytes);
  size_t filled = 0;
  const auto deliver = [&] {
    if (filled > 0) handler_->on_read(plain, std::exchange(filled, 0));
    return state_ == State::open;
  };
  int end = SSL_ERROR_NONE;
  do {
    const int result = SSL_read(ssl_.get(), plain + filled, static_cast<int>(kReadBytes - filled));
    if (result > 0) {
      filled += static_cast<size_t>(result);
    } else {
      end = SSL_get_error(ssl_.get(), result);
      if (end != SSL_ERROR_WANT_READ && end != SSL_ERROR_ZERO_RETURN) note_failure();
    }
    // Room for a whole record must be left, so that BoringSSL keeps none back.
    if (kReadBytes - filled < kRecordBytes && !deliver()) return;
  } while (end == SSL_ERROR_NONE && reading_);
  end_held_ = end != SSL_ERROR_NONE && end != SSL_ERROR_WANT_READ;
  if (!deliver() || !end_held_) return;
  if (end != SSL_ERROR_ZERO_RETURN) {
    fail(UV_EPROTO);
  } else if (reading_) {
    on_close_notify();
  }
}

void TlsStream::on_close_notify() {
  read_ended_ = true;
  end_held_ = reading_ = false;
  inner_->stop_reading();
  if (is_server() && SSL_version(ssl_.get()) < TLS1_3_VERSION) {
    send_close_notify();
    fail(UV_ECONNABORTED);
    return;
  }
  handler_->on_read_end();
}

void TlsStream::on_read_end() {
  switch (state_) {
    case State::connecting:
    case State::failed:
    case State::closed:
      return;
    case State::handshaking:
      failure_ = {"tls_protocol_error", "the peer closed during the handshake"};
      fail(UV_ECONNRESET);
      return;
    case State::lingering:
      fail(UV_EPROTO);
      return;
    case State::open:
      if (read_ended_) {
        reading_ = false;
        handler_->on_read_end();
        return;
      }
      failure_ = {"tls_protocol_error", "the peer closed without a close_notify"};
      fail(UV_ECONNRESET);
      return;
  }
}

void TlsStream::on_stream_error(int error) {
  if (state_ != State::failed && state_ != State::closed) fail(error);
}

void TlsStream::on_drained() {
  if (state_ == State::open) handler_->on_drained();
}

void TlsStream::on_stream_closed() {
  handler_->on_stream_closed();
}

void TlsStream::start_reading() {
  if (reading_) return;
  reading_ = true;
  if (state_ != State::open) return;  // the handshake reads anyway
  if (held_.empty() && !end_held_) {
    inner_->start_reading();
  } else {
    loop_.defer(resume_);
  }
}

// A record is not opened to see what it is.
bool TlsStream::has_news() const {
  const bool has_octets = input_size_ > 0 || !held_.empty() || SSL_has_pending(ssl_.get()) == 1;
  return read_ended_ || end_held_ || has_octets || inner_->has_news();
}

void TlsStream::stop_reading() {
  reading_ = false;
  if (state_ == State::open) inner_->stop_reading();
}

// What was held back, and failures that write() must not tell itself.
void TlsStream::resume() {
  if (state_ != State::open) return;
  if (write_failed_) {
    note_failure();
    fail(UV_EPROTO);
    return;
  }
  if (!reading_) return;
  end_held_ = false;  // or it is met again
  std::vector<char> held = std::move(held_);
  held_.clear();
  process(held.data(), held.size());
  if (state_ == State::open && reading_ && held_.empty() && !read_ended_) inner_->start_reading();
}

void TlsStream::on_deadline() {
  if (state_ == State::lingering) {
    fail(UV_EPROTO);
  } else if (state_ == State::handshaking) {
    leave_handshake(TlsCounters::timed_out);
    fail(UV_ETIMEDOUT);
  }
}

size_t TlsStream::record_limit() {
  return ramped_bytes_ < kRampBytes ? kSmallRecordBytes : kRecordBytes;
}

// The BIO takes everything, so a record is written whole or the session is
// broken.
bool TlsStream::seal(const char* data, size_t size) {
  if (SSL_write(ssl_.get(), data, static_cast<int>(size)) != static_cast<int>(size)) {
    write_failed_ = true;
    loop_.defer(resume_);
    return false;
  }
  ramped_bytes_ += size;
  return true;
}

void TlsStream::write(const iovec* slices, int count) {
  if (state_ != State::open || write_ended_ || write_failed_) return;
  if (loop_.now_us() - last_write_us_ > kIdleUs) ramped_bytes_ = 0;
  last_write_us_ = loop_.now_us();
  size_t left = 0;
  for (int i = 0; i < count; ++i) left += slices[i].iov_len;
  size_t limit = record_limit();
  const size_t gathered = left > limit ? kGatherBytes : 0;
  // Taken and given back within this call: nothing below allocates.
  Scratch& scratch = loop_.scratch();
  char* const block = scratch.allocate(gathered + std::min(left, kRecordBytes));
  char* const record = block + gathered;  // slices joined into one
  if (gathered > 0) gathering_.begin = block;
  size_t joined = 0;
  for (int i = 0; i < count && !write_failed_; ++i) {
    const char* data = static_cast<const char*>(slices[i].iov_base);
    size_t size = slices[i].iov_len;
    while (size > 0 && !write_failed_) {
      const size_t part = std::min(size, limit - joined);
      left -= part;
      const bool whole = part == limit || (joined == 0 && left == 0);
      if (!whole) std::memcpy(record + joined, data, part);
      joined += part;
      data += part;
      size -= part;
      if (joined < limit && left > 0) continue;
      seal(whole ? data - part : record, std::exchange(joined, 0));
      limit = record_limit();
    }
  }
  send_gathered();
  gathering_.begin = nullptr;
  scratch.shrink(block);
}

void TlsStream::send_close_notify() {
  if (std::exchange(write_ended_, true)) return;
  SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

void TlsStream::shutdown_write() {
  if (state_ == State::handshaking && !is_server()) {
    state_ = State::lingering;
    inner_->shutdown_write();
  }
  if (state_ != State::open) return;
  send_close_notify();
  inner_->shutdown_write();
}

void TlsStream::close() {
  if (state_ == State::closed) return;
  // Behind pending output it would not go out any more.
  if (state_ == State::open && inner_->pending() == 0) send_close_notify();
  leave_handshake(TlsCounters::failed);
  state_ = State::closed;
  timer_.disarm();
  inner_->close();
}

void TlsStream::reset() {
  if (state_ == State::closed) return;
  leave_handshake(TlsCounters::failed);
  state_ = State::closed;
  timer_.disarm();
  inner_->reset();
}

// What BoringSSL holds against the peer, as a reason for Proxy-Status (RFC
// 9209, 2.3); all texts are literals.
void TlsStream::note_failure() {
  const uint32_t error = ERR_peek_error();
  const char* const reason = ERR_reason_error_string(error);
  const long verdict = SSL_get_verify_result(ssl_.get());
  if (!is_server() && verdict != X509_V_OK && ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    failure_ = {"tls_certificate_error", X509_verify_cert_error_string(verdict)};
  } else if (ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) >= SSL_AD_REASON_OFFSET) {
    failure_ = {"tls_alert_received", reason == nullptr ? "" : reason};
  } else {
    failure_ = {"tls_protocol_error", reason == nullptr ? "" : reason};
  }
  ERR_clear_error();
}

void TlsStream::fail(int error) {
  const bool connecting = !is_server() && (state_ == State::connecting || state_ == State::handshaking);
  leave_handshake(TlsCounters::failed);
  state_ = State::failed;
  timer_.disarm();
  inner_->stop_reading();
  if (connecting) {
    handler_->on_connected(error);
  } else {
    handler_->on_stream_error(error);
  }
}

int TlsStream::on_new_session(SSL* ssl, SSL_SESSION* session) {
  auto& self = *static_cast<TlsStream*>(SSL_get_ex_data(ssl, 0));
  self.session_->keep(session, self.client_context_->serial());
  return 1;  // it is ours
}

}  // namespace sluice::proxy
