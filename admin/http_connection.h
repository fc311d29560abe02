// HttpConnection: one client of the admin HTTP server.
//
//   waiting for a head --> answered --> waiting ... --> lingering --> closed
//                      \-> streaming ------------------------------> closed
//
// Requests are answered one after the other, and the next is looked at only
// when the client has read the answers before it. Every state has a deadline,
// but for streaming, which ends when the client leaves or falls behind by more
// than kMostPendingBytes.
//
// Owner: the HttpServer; destroyed when its stream has closed. Thread: the
// control thread's.
#pragma once

#include <memory>

#include "admin/http.h"
#include "admin/http_pages.h"
#include "proxy/byte_queue.h"
#include "proxy/h1_downstream_codec.h"
#include "proxy/uv_stream.h"

namespace sluice::admin {

class HttpConnection final : public proxy::Stream::Handler {
 public:
  static constexpr uint64_t kHeadMs = 10'000;
  static constexpr uint64_t kReplyMs = 30'000;  // for the client to read what it asked for
  static constexpr uint64_t kLingerMs = 1'000;
  static constexpr size_t kMostPendingBytes = size_t{4} << 20;

  HttpConnection(HttpServer& server, std::unique_ptr<proxy::UvStream> stream);

  void start();
  void close();
  // The service whose live stream the client reads; null: it reads none.
  const std::string* streams() const { return streaming_ && !closed_ ? &service_ : nullptr; }
  void push(std::string_view text);

  void on_read(char* data, size_t size) override;
  void on_read_end() override;
  void on_stream_error(int error) override;
  void on_drained() override;
  void on_stream_closed() override;

 private:
  void pump(proxy::Input& input);
  void settle(bool from_stash, const proxy::Input& input);
  void answer();
  HttpPage page(bool& last) const;
  void begin_stream(const std::string& service);
  void reply(const HttpPage& page, bool head_only);
  void end();
  void expect(uint64_t delay_ms) { server_.control_.loop().arm(timer_, delay_ms); }

  HttpServer& server_;
  std::unique_ptr<proxy::UvStream> stream_;
  proxy::H1DownstreamCodec codec_;
  proxy::Outbox out_;
  proxy::ByteQueue stash_;
  proxy::Timer timer_;
  bool last_ = false;  // answer no further request
  bool read_ended_ = false;
  bool lingering_ = false;
  bool streaming_ = false;
  std::string service_;  // of the stream
  bool closed_ = false;
};

}  // namespace sluice::admin
