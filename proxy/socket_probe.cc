#include "proxy/socket_probe.h"

#include <uv.h>

#include <string>
#include <utility>

#include "proxy/byte_queue.h"
#include "proxy/h1_upstream_codec.h"
#include "proxy/tls_stream.h"
#include "proxy/uv_stream.h"

namespace sluice::proxy {

using health::ProbeResult;

// One connection; tells its result once and deletes itself when it has closed.
class SocketProbe::Attempt final : public Stream::Handler {
 public:
  // `tls` may be null.
  Attempt(Loop& loop, const balancer::EndpointState& endpoint, const conf::Health& settings,
          const std::shared_ptr<const TlsClientContext>& tls, std::shared_ptr<TlsSession> session, Done done)
      : loop_(loop),
        settings_(settings),
        host_(settings.host.empty() ? endpoint.authority() : settings.host),
        done_(std::move(done)),
        expectation_(settings_),
        codec_(workspace_),
        out_(loop),
        session_(std::move(session)) {
    const bool is_unix = endpoint.address().kind == conf::Address::Kind::unix_socket;
    auto socket =
        std::make_unique<UvStream>(loop, is_unix ? UvStream::Kind::unix_socket : UvStream::Kind::tcp);
    UvStream& dialled = *socket;
    stream_ = std::move(socket);
    if (tls != nullptr) {
      stream_ = TlsStream::connect(loop, std::move(stream_), tls, endpoint.authority(), *session_);
    }
    stream_->set_handler(this);
    out_.set_stream(stream_.get());
    dialled.connect(endpoint.address());
  }

  void set_owner(SocketProbe* owner) { owner_ = owner; }
  void cancel() {
    done_ = nullptr;
    close();
  }

  void on_connected(int error) override {
    if (error != 0) {
      fail(error);
    } else if (settings_.tcp) {
      finish({});
    } else {
      ask();
    }
  }
  void on_read(char* data, size_t size) override {
    stash_.append(data, size);
    Input input = stash_.view();
    while (done_ != nullptr) {
      const CodecEvent event = codec_.next(input);
      if (event.kind == CodecEvent::Kind::more) break;
      if (event.kind == CodecEvent::Kind::bad) {
        finish({ProbeResult::Kind::failed, codec_.problem().detail});
        return;
      }
      const bool interim = event.kind == CodecEvent::Kind::head && codec_.response().interim();
      if (event.kind == CodecEvent::Kind::head && !interim) expectation_.on_status(codec_.response().status);
      if (event.kind == CodecEvent::Kind::data) {
        expectation_.on_body({codec_.piece().data, codec_.piece().size});
      }
      if (event.kind == CodecEvent::Kind::end || (!interim && expectation_.decided()))
        finish(expectation_.result());
    }
    if (done_ != nullptr) stash_.keep_last(input.size);
  }
  void on_read_end() override {
    if (codec_.next_at_end().kind == CodecEvent::Kind::end) {
      finish(expectation_.result());
    } else {
      finish({ProbeResult::Kind::failed, "closed without a whole answer"});
    }
  }
  void on_stream_error(int error) override { fail(error); }
  void on_drained() override {}
  void on_stream_closed() override { delete this; }

 private:
  void ask() {
    text_ = "GET " + settings_.path + " HTTP/1.1\r\nHost: " + host_ +
            "\r\nUser-Agent: sluice-health\r\nAccept: */*\r\nConnection: close\r\n\r\n";
    // The codec learns what it is to answer from a head; the text goes as it is.
    head_.method = Method::get;
    codec_.expect_response(head_);
    stream_->start_reading();
    const iovec slice{text_.data(), text_.size()};
    stream_->write(&slice, 1);
  }
  void fail(int error) {
    const TlsFailure* const tls = stream_->tls_failure();
    finish({ProbeResult::Kind::failed, tls != nullptr ? tls->detail : uv_strerror(error)});
  }
  void finish(ProbeResult result) {
    if (done_ == nullptr) return;
    const Done done = std::exchange(done_, nullptr);
    if (owner_ != nullptr) owner_->attempt_ = nullptr;
    owner_ = nullptr;
    const uint64_t now_ms = loop_.now_ms();
    close();
    done(std::move(result), now_ms);
  }
  void close() {
    out_.set_stream(nullptr);
    stream_->close();
  }

  Loop& loop_;
  const conf::Health settings_;
  const std::string host_;
  Done done_;
  SocketProbe* owner_ = nullptr;
  health::HttpExpectation expectation_;
  CodecWorkspace workspace_;
  RequestHead head_;
  H1UpstreamCodec codec_;
  Outbox out_;
  ByteQueue stash_;
  std::string text_;
  const std::shared_ptr<TlsSession> session_;
  std::unique_ptr<Stream> stream_;
};

SocketProbe::SocketProbe(Loop& loop, std::shared_ptr<const balancer::EndpointState> endpoint,
                         const conf::Health& settings, const std::shared_ptr<const TlsClientContext>& tls)
    : loop_(loop), endpoint_(std::move(endpoint)), settings_(settings), tls_(tls) {}

SocketProbe::~SocketProbe() {
  cancel();
}

void SocketProbe::start(Done done) {
  attempt_ = new Attempt(loop_, *endpoint_, settings_, tls_, session_, std::move(done));
  attempt_->set_owner(this);
}

void SocketProbe::cancel() {
  if (attempt_ != nullptr) std::exchange(attempt_, nullptr)->cancel();
}

}  // namespace sluice::proxy
