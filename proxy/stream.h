// Stream: an ordered byte stream to one peer, whatever carries it: a socket
// (UvStream), TLS around another stream, or a script in a test.
//
// Reading: between start_reading() and stop_reading() the handler gets every
// read in memory that is the loop's and is valid until the handler returns.
// Writing: write() takes everything; what the peer does not take at once is
// copied and counted in pending(), and the handler hears on_drained() when that
// has fallen below kLowWatermark again after having been above, and when nothing
// is left of it. Failures of writes are told by on_stream_error() later, never
// from within write().
//
// Lifetime: close() is idempotent; after it the handler hears nothing but
// on_stream_closed(), once, later, where the stream may be destroyed. It must
// not be destroyed before.
//
// Thread: the loop's.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace sluice::proxy {

// What a peer proved by its certificate, as text for a header field; see
// client_certificate.h.
struct PeerCertificate {
  std::string subject;
  std::string san;  // subject alternative names
};

// Why a secured stream broke, in literals: a type for Proxy-Status (RFC 9209,
// 2.3) and a reason.
struct TlsFailure {
  const char* error = nullptr;
  const char* detail = "";
};

class Stream {
 public:
  static constexpr size_t kLowWatermark = 32 * 1024;
  // Whoever feeds the stream should pause above this.
  static constexpr size_t kHighWatermark = 64 * 1024;

  class Handler {
   public:
    virtual ~Handler() = default;
    // For dialled streams, and for secured ones when their handshake is done:
    // once, before anything else. `error` is a libuv error (negative errno) or 0.
    virtual void on_connected(int error) { static_cast<void>(error); }
    virtual void on_read(char* data, size_t size) = 0;
    // The peer will send no more (it may still read).
    virtual void on_read_end() = 0;
    // The stream is broken in both directions; `error` as above.
    virtual void on_stream_error(int error) = 0;
    virtual void on_drained() = 0;
    virtual void on_stream_closed() = 0;
  };

  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual ~Stream() = default;

  void set_handler(Handler* handler) { handler_ = handler; }

  virtual void start_reading() = 0;
  virtual void stop_reading() = 0;
  virtual void write(const iovec* slices, int count) = 0;
  virtual size_t pending() const = 0;
  // shutdown_write() or close() follows in this callback of the loop, after what is
  // still written: the last octets may wait for the end and share its segment.
  virtual void hold_for_end() {}
  // No more will be written; what is pending still goes out first.
  virtual void shutdown_write() = 0;
  virtual void close() = 0;
  // Closes so that the peer sees a reset rather than an orderly end.
  virtual void reset() = 0;

  // Is there a connection, though on_connected() is still to come? Of secured
  // streams, during the handshake; what is shut then waits for the peer's end.
  virtual bool is_reached() const { return false; }

  // Does anything of the peer's lie there that the handler will hear of only
  // later: octets, its end, a failure?
  virtual bool has_news() const { return false; }

  // What is known of the peer while nothing is read, ahead of what it has sent that
  // was not read yet.
  enum class FarEnd : uint8_t {
    open,
    ended,  // it will send no more; it may still read
    gone,   // it has closed or reset: there is nobody to answer
  };
  virtual FarEnd far_end() const { return FarEnd::open; }

  // Of secured streams: who the peer is, if it proved that.
  virtual const PeerCertificate* peer_certificate() const { return nullptr; }
  // What on_connected() or on_stream_error() was about, where that is TLS.
  virtual const TlsFailure* tls_failure() const { return nullptr; }

 protected:
  Handler* handler_ = nullptr;
};

}  // namespace sluice::proxy
