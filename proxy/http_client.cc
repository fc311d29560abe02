#include "proxy/http_client.h"

#include <netdb.h>
#include <uv.h>

#include <algorithm>
#include <charconv>
#include <memory>

#include "conf/address.h"
#include "proxy/byte_queue.h"
#include "proxy/h1_upstream_codec.h"
#include "proxy/tls_session.h"
#include "proxy/tls_stream.h"
#include "proxy/uv_stream.h"

namespace sluice::proxy {

// One call: perhaps a resolution, then one connection. It tells its result once
// and deletes itself when neither is left.
class HttpClient::Running final : public Stream::Handler {
 public:
  Running(HttpClient& client, HttpCall call, Done done)
      : client_(&client),
        loop_(client.loop_),
        call_(std::move(call)),
        done_(std::move(done)),
        deadline_([](void* self) { static_cast<Running*>(self)->fail("no answer in time"); }, this),
        finish_([](void* self) { static_cast<Running*>(self)->finish(); }, this),
        codec_(workspace_) {
    loop_.arm(deadline_, call_.timeout_ms);
  }

  void resolve(const HttpUrl& url) {
    if (ended_) return;
    secure_ = url.secure;
    if (secure_ && call_.tls == nullptr) return fail("nothing says whom to trust under https");
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    port_ = url.port;
    lookup_.data = this;
    const int error = uv_getaddrinfo(loop_.uv(), &lookup_, on_resolved, url.host.c_str(), nullptr, &hints);
    if (error != 0) return fail(uv_strerror(error));
    resolving_ = true;
  }

  void connect(const conf::Address& address) {
    if (ended_) return;
    const bool is_unix = address.kind == conf::Address::Kind::unix_socket;
    auto socket =
        std::make_unique<UvStream>(loop_, is_unix ? UvStream::Kind::unix_socket : UvStream::Kind::tcp);
    UvStream& dialled = *socket;
    stream_ = std::move(socket);
    if (secure_)
      stream_ = TlsStream::connect(loop_, std::move(stream_), call_.tls, call_.authority, tls_session_);
    stream_->set_handler(this);
    dialled.connect(address);
  }

  // Not from within send(): its caller does not expect an answer yet.
  void fail(std::string problem) {
    if (ended_) return;
    ended_ = true;
    answer_ = {0, {}, {}, std::move(problem)};
    loop_.defer(finish_);
  }
  void abandon() {
    done_ = nullptr;
    client_ = nullptr;
    ended_ = true;
    finish();
  }

  void on_connected(int error) override {
    if (error != 0) return fail_by(error);
    text_ = call_.method + " " + call_.target + " HTTP/1.1\r\nHost: " + call_.authority +
            "\r\nUser-Agent: sluice\r\nConnection: close\r\n";
    for (const auto& [name, value] : call_.fields)
      text_.append(name).append(": ").append(value).append("\r\n");
    if (!call_.body.empty() || call_.method == "POST") {
      text_ += "Content-Length: " + std::to_string(call_.body.size()) + "\r\n";
    }
    text_ += "\r\n" + call_.body;
    head_.method = call_.method == "GET" ? Method::get : call_.method == "HEAD" ? Method::head : Method::post;
    codec_.expect_response(head_);
    stream_->start_reading();
    const iovec slice{text_.data(), text_.size()};
    stream_->write(&slice, 1);
  }
  void on_read(char* data, size_t size) override {
    stash_.append(data, size);
    Input input = stash_.view();
    while (!ended_) {
      const CodecEvent event = codec_.next(input);
      if (event.kind == CodecEvent::Kind::more) break;
      take(event);
    }
    if (!ended_) stash_.keep_last(input.size);
  }
  void on_read_end() override {
    if (ended_) return;
    take(codec_.next_at_end());
    fail("the connection ended within the answer");
  }
  void on_stream_error(int error) override { fail_by(error); }
  void on_drained() override {}
  void on_stream_closed() override {
    stream_closed_ = true;
    destroy_if_done();
  }

 private:
  static void on_resolved(uv_getaddrinfo_t* request, int error, addrinfo* found) {
    auto& self = *static_cast<Running*>(request->data);
    const Loop::Scope scope(self.loop_);
    self.resolving_ = false;
    const std::unique_ptr<addrinfo, decltype(&uv_freeaddrinfo)> guard(found, uv_freeaddrinfo);
    if (self.finished_) return self.destroy_if_done();
    if (self.ended_) return;
    if (error != 0) return self.fail(uv_strerror(error));
    char text[INET6_ADDRSTRLEN] = {};
    uv_ip_name(found->ai_addr, text, sizeof text);
    self.connect({conf::Address::Kind::inet, text, self.port_});
  }

  void take(const CodecEvent& event) {
    switch (event.kind) {
      case CodecEvent::Kind::more:
        return;
      case CodecEvent::Kind::bad:
        return fail(std::string("the answer is no HTTP: ") + codec_.problem().detail);
      case CodecEvent::Kind::head:
        if (!codec_.response().interim()) take_head(codec_.response());
        return;
      case CodecEvent::Kind::data:
        if (answer_.body.size() + codec_.piece().size > kMostBodyBytes) return fail("the answer is too long");
        answer_.body.append(codec_.piece().data, codec_.piece().size);
        return;
      case CodecEvent::Kind::end:
        ended_ = true;
        loop_.defer(finish_);
        return;
    }
  }

  void take_head(const ResponseHead& head) {
    answer_.status = head.status;
    if (call_.answer_field.empty()) return;
    for (const Field& field : head.fields.all()) {
      if (!equal_fold(head.fields.name(field), call_.answer_field)) continue;
      answer_.field = head.fields.value(field);
    }
  }

  void fail_by(int error) {
    const TlsFailure* const tls = stream_->tls_failure();
    fail(tls != nullptr ? std::string("TLS: ") + tls->detail : uv_strerror(error));
  }
  void finish() {
    deadline_.disarm();
    finished_ = true;
    if (client_ != nullptr) client_->forget(this);
    if (resolving_) uv_cancel(reinterpret_cast<uv_req_t*>(&lookup_));
    if (stream_ != nullptr) stream_->close();
    if (const Done done = std::exchange(done_, nullptr); done != nullptr) done(std::move(answer_));
    destroy_if_done();
  }
  void destroy_if_done() {
    if (finished_ && !resolving_ && (stream_ == nullptr || stream_closed_)) delete this;
  }

  HttpClient* client_;  // null: it has let go of us
  Loop& loop_;
  const HttpCall call_;
  Done done_;
  Timer deadline_;
  Deferred finish_;
  uv_getaddrinfo_t lookup_{};
  uint16_t port_ = 0;
  bool resolving_ = false;
  bool ended_ = false;     // the answer is known
  bool finished_ = false;  // and told
  bool stream_closed_ = false;
  CodecWorkspace workspace_;
  RequestHead head_;
  H1UpstreamCodec codec_;
  ByteQueue stash_;
  std::string text_;
  HttpAnswer answer_;
  bool secure_ = false;
  TlsSession tls_session_;
  std::unique_ptr<Stream> stream_;
};

namespace {

conf::Error bad_url(std::string_view text) {
  return {
      conf::Error::Kind::invalid, conf::Error::Source::operator_, false,
      "'" + std::string(text) + "' is not a URL that can be called: write http://HOST:PORT/PATH or https"};
}

}  // namespace

conf::Result<HttpUrl> HttpUrl::parse(std::string_view text) {
  constexpr std::string_view kPlain = "http://", kSecure = "https://";
  HttpUrl url;
  url.secure = text.starts_with(kSecure);
  if (url.secure) url.port = 443;
  if (!url.secure && !text.starts_with(kPlain)) return bad_url(text);
  std::string_view rest = text.substr(url.secure ? kSecure.size() : kPlain.size());
  rest = rest.substr(0, rest.find('#'));
  const size_t slash = rest.find_first_of("/?");
  url.authority = rest.substr(0, slash);
  if (slash != std::string_view::npos) {
    url.target = (rest[slash] == '?' ? "/" : "") + std::string(rest.substr(slash));
  }
  std::string_view host = url.authority;
  const size_t bracket = host.rfind(']');
  const size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
    const std::string_view port = host.substr(colon + 1);
    const auto read = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (read.ec != std::errc() || read.ptr != port.data() + port.size() || url.port == 0)
      return bad_url(text);
    host = host.substr(0, colon);
  }
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const auto unfit = [](char c) { return c <= ' ' || static_cast<unsigned char>(c) >= 0x7f; };
  if (host.empty() || url.authority.find('@') != std::string::npos ||
      std::any_of(rest.begin(), rest.end(), unfit)) {
    return bad_url(text);
  }
  url.host = host;
  return url;
}

HttpClient::~HttpClient() {
  close();
}

void HttpClient::begin(Running* call) {
  running_.push_back(call);
  if (closed_ || running_.size() > kMostCalls) call->fail("too many calls are under way");
}

void HttpClient::send(const HttpUrl& url, HttpCall call, Done done) {
  auto* const running = new Running(*this, std::move(call), std::move(done));
  begin(running);
  running->resolve(url);
}

void HttpClient::send(const conf::Address& address, HttpCall call, Done done) {
  auto* const running = new Running(*this, std::move(call), std::move(done));
  begin(running);
  running->connect(address);
}

void HttpClient::forget(Running* call) {
  std::erase(running_, call);
}

void HttpClient::close() {
  closed_ = true;
  for (Running* const call : std::exchange(running_, {})) call->abandon();
}

}  // namespace sluice::proxy
