// HttpConnection: one client of the admin HTTP server.
//
//   waiting --> in_line --> unread --> waiting ...
//                      \-> streaming ------------> closed
//                       \-> lingering -----------> closed
//
// What a client has sent is looked at when it is its turn (admin/turns.h), and a
// turn answers one request: one that asks ahead lines up again behind the
// others, and is read no further meanwhile. While it has read too little of its
// answers (unread) it has no turn. Every state has a deadline, but for in_line,
// where it is for us to be in time, and for streaming, which ends when the
// client leaves or falls behind by more than kMostPendingBytes. The deadline of a
// head counts from the answer before it, however the head comes in pieces.
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

class HttpConnection final : public proxy::Stream::Handler, private Turns::Taker {
 public:
  static constexpr uint64_t kHeadMs = 10'000;
  static constexpr uint64_t kReplyMs = 30'000;  // for the client to read what it asked for
  static constexpr uint64_t kLingerMs = 1'000;
  static constexpr uint64_t kGraceMs = 1'000;  // for a head that was late in the line
  static constexpr size_t kMostPendingBytes = size_t{4} << 20;

  HttpConnection(HttpServer& server, std::unique_ptr<proxy::UvStream> stream);

  void start();
  void close();
  // The service whose live stream the client reads; null: it reads none.
  const std::string* streams() const { return state_ == State::streaming ? &service_ : nullptr; }
  void push(std::string_view text);

  void on_read(char* data, size_t size) override;
  void on_read_end() override;
  void on_stream_error(int error) override;
  void on_drained() override;
  void on_stream_closed() override;

 private:
  // Answers the next request, if all of it is there.
  void take_turn() override;

  enum class State : uint8_t { waiting, in_line, unread, streaming, lingering, closed };

  bool answer_next(proxy::Input& input);
  void proceed();
  void wait();
  void line_up();
  void on_late();
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
  proxy::ByteQueue stash_;  // read and not answered: at most one read and a head
  proxy::Timer timer_;
  State state_ = State::waiting;
  bool last_ = false;  // answer no further request
  bool read_ended_ = false;
  bool graced_ = false;  // its head was late, and has had kGraceMs more
  std::string service_;  // of the stream
};

}  // namespace sluice::admin
