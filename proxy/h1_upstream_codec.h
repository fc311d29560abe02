// H1UpstreamCodec: the client's side of HTTP/1.1 (RFC 9112).
//
//   ready -> head -> body (length | chunked | until close) -> ready or spent
//              \-> head again after 1xx       101 and become_tunnel() -> tunnel
//
// One request at a time: a connection that may still hold octets of an earlier
// answer is never used again.
#pragma once

#include <memory>

#include "proxy/codec.h"
#include "proxy/h1_chunked.h"
#include "proxy/h1_downstream_codec.h"
#include "proxy/h1_message.h"

namespace sluice::proxy {

class H1UpstreamCodec final : public UpstreamCodec {
 public:
  // What is taken from an upstream: heads larger than this are refused.
  static constexpr uint32_t kMostHeadBytes = 256 * 1024;
  static constexpr uint32_t kMostFields = 1000;
  static constexpr uint32_t kMostInterim = 64;  // 1xx before one answer

  explicit H1UpstreamCodec(CodecWorkspace& workspace) : workspace_(workspace) {}

  bool can_open_stream() const override { return state_ == State::ready; }
  void write_request(Outbox& out, StreamId stream, const RequestHead& head, const AddedFields& added,
                     std::string_view authority_if_none) override;
  // A request for `head` is written elsewhere, whole; its answer comes here.
  void expect_response(const RequestHead& head);
  void write_data(Outbox& out, StreamId stream, const char* data, size_t size) override;
  void write_end(Outbox& out, StreamId stream, const Fields* trailers) override;
  CodecEvent next(Input& input) override;
  CodecEvent next_at_end() override;
  ResponseHead& response() override { return workspace_.response; }
  Input piece() const override { return piece_; }
  Fields* trailers() override { return chunked_ == nullptr ? nullptr : &chunked_->trailers(); }
  const Problem& problem() const override { return *problem_; }
  void consumed(StreamId, size_t) override {}
  bool reusable() const override { return state_ == State::ready && keep_alive_ && request_ended_; }
  bool peer_closes() const override { return !keep_alive_; }
  void retire() override { keep_alive_ = false; }
  void become_tunnel(StreamId) override { state_ = State::tunnel; }

 private:
  enum class State : uint8_t {
    ready,
    head,
    body_length,
    body_chunked,
    body_until_close,
    body_ended,
    tunnel,
    spent
  };

  CodecEvent read_head(Input& input);
  CodecEvent fail(const Problem& problem);
  CodecEvent ended();

  CodecWorkspace& workspace_;
  State state_ = State::ready;
  bool keep_alive_ = true;
  bool request_ended_ = true;
  bool chunked_request_ = false;
  uint32_t interim_ = 0;
  ResponseContext context_;  // its views belong to the request under way
  uint64_t body_left_ = 0;
  Input piece_;
  const Problem* problem_ = nullptr;
  HeadScanner scanner_{HeadScanner::For::response};
  std::unique_ptr<ChunkedDecoder> chunked_;
};

}  // namespace sluice::proxy
