// TlsStream: TLS around any stream, as server or as client (RFC 8446, 5246).
//
//   handler <--on_read-- plain text   SSL   records <--on_read-- inner stream
//           ---write()->                            ---write()->
//
//   connecting -> handshaking -> open -> failed -> closed
//                      \-> lingering ----/
//
// The handler hears on_connected() when the handshake is done, on both sides.
//
// Memory: BoringSSL reads through a BIO that hands out the octets of the inner
// stream's current read, record by record, so nothing is read ahead; what it
// decrypts lies in the loop's scratch memory, up to kReadBytes of it in one
// on_read(). Several slices of a write are sealed as full records, gathered and
// given to the inner stream in one go; a single small record goes down without
// a copy of ours. BoringSSL keeps a buffer only while a record is incomplete,
// and what only the handshake needed is let go after it, so an idle connection
// costs a few kilobytes. The octets of a read that the handler interrupted by
// stop_reading() are copied and wait, as does the end that came with them.
//
// The first kRampBytes after the start or after kIdleUs of silence go out in
// records that fit one TCP segment, so that a slow client can use the first
// octets when they arrive and not when 16 KiB have.
//
// Ends (RFC 8446, 6.1): the peer's close_notify is the end of what it says; an
// end without one is a broken stream, since anybody on the way may have cut it.
// Who starts reading again after it hears when the connection itself has ended.
// We say close_notify before we close or shut our direction. Under TLS 1.2 a
// client that says close_notify gets no more (RFC 5246, 7.2.1). After a failed
// handshake a server waits up to kLingerMs for the client to end, so that its
// alert is not destroyed by a reset.
//
// Thread: the loop's. Owner: whoever owns a Stream; see there for lifetimes.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <vector>

#include "proxy/loop.h"
#include "proxy/stream.h"
#include "proxy/tls_context.h"

namespace sluice::proxy {

class TlsSession;

class TlsStream final : public Stream, private Stream::Handler {
 public:
  static constexpr size_t kRecordBytes = SSL3_RT_MAX_PLAIN_LENGTH;  // of plain text in a record
  static constexpr size_t kReadBytes = 2 * kRecordBytes;
  static constexpr size_t kSmallRecordBytes = 1400;  // with all headers one Ethernet frame, IPv6 too
  static constexpr size_t kRampBytes = 16 * 1024;    // what a new TCP connection may send at once
  static constexpr uint64_t kIdleUs = 1'000'000;
  static constexpr uint64_t kLingerMs = 1000;

  // The server's side of an accepted connection; the handshake has a deadline.
  static std::unique_ptr<TlsStream> accept(Loop& loop, std::unique_ptr<Stream> inner,
                                           std::shared_ptr<const TlsServerContext> context);
  // The client's side of a connection that is being dialled; the deadline is
  // the caller's. `authority` is the endpoint's, `session` outlives the stream.
  static std::unique_ptr<TlsStream> connect(Loop& loop, std::unique_ptr<Stream> inner,
                                            std::shared_ptr<const TlsClientContext> context,
                                            const std::string& authority, TlsSession& session);
  ~TlsStream() override;

  void start_reading() override;
  void stop_reading() override;
  void write(const iovec* slices, int count) override;
  size_t pending() const override { return inner_->pending(); }
  void hold_for_end() override { inner_->hold_for_end(); }
  void shutdown_write() override;
  void close() override;
  void reset() override;
  bool is_reached() const override { return state_ == State::handshaking; }
  bool has_news() const override;
  FarEnd far_end() const override { return inner_->far_end(); }
  const PeerCertificate* peer_certificate() const override { return peer_certificate_.get(); }
  const TlsFailure* tls_failure() const override { return failure_.error == nullptr ? nullptr : &failure_; }

  // BoringSSL's callback for sessions of a client.
  static int on_new_session(SSL* ssl, SSL_SESSION* session);

 private:
  enum class State : uint8_t { connecting, handshaking, open, lingering, failed, closed };
  // Ciphertext on its way to the inner stream, while a write gathers it.
  struct Gathering {
    char* begin = nullptr;
    size_t size = 0;
  };
  static constexpr size_t kGatherBytes =
      2 * (kRecordBytes + SSL3_RT_MAX_ENCRYPTED_OVERHEAD + SSL3_RT_HEADER_LENGTH);

  TlsStream(Loop& loop, std::unique_ptr<Stream> inner, bssl::UniquePtr<SSL> ssl);

  void on_connected(int error) override;
  void on_read(char* data, size_t size) override;
  void on_read_end() override;
  void on_stream_error(int error) override;
  void on_drained() override;
  void on_stream_closed() override;

  bool is_server() const { return server_context_ != nullptr; }
  void process(char* data, size_t size);
  void handshake();
  void handshake_done();
  void handshake_failed();
  void leave_handshake(TlsCounters::Outcome outcome);
  void decrypt();
  void on_close_notify();
  void resume();
  void on_deadline();
  size_t record_limit();
  bool seal(const char* data, size_t size);
  void send(const char* data, size_t size);
  void send_gathered();
  void send_close_notify();
  void note_failure();
  void fail(int error);

  static const BIO_METHOD* bio_method();
  static int bio_read(BIO* bio, char* out, int size);
  static int bio_write(BIO* bio, const char* data, int size);

  Loop& loop_;
  const std::unique_ptr<Stream> inner_;
  std::shared_ptr<const TlsServerContext> server_context_;  // of a server
  std::shared_ptr<const TlsClientContext> client_context_;  // of a client
  const bssl::UniquePtr<SSL> ssl_;
  TlsSession* session_ = nullptr;
  const char* input_ = nullptr;  // what the BIO hands out
  size_t input_size_ = 0;
  Gathering gathering_;
  std::vector<char> held_;  // records that the handler did not want yet
  std::unique_ptr<PeerCertificate> peer_certificate_;
  TlsFailure failure_;
  Deferred resume_;
  Timer timer_;
  uint64_t last_write_us_ = 0;
  size_t ramped_bytes_ = 0;
  State state_ = State::handshaking;
  bool in_handshake_ = false;  // counted as one
  bool reading_ = false;
  bool end_held_ = false;     // the handler has not heard of it, or does not want to yet
  bool read_ended_ = false;   // by close_notify
  bool write_ended_ = false;  // by ours
  bool write_failed_ = false;
};

}  // namespace sluice::proxy
