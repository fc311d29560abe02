// H1DownstreamCodec: the server's side of HTTP/1.0 and 1.1 (RFC 9112).
//
//   head --> body (length | chunked) --> ended --finish_exchange()--> head
//     \-> bad                               become_tunnel() --> tunnel
//
// Idle it holds no buffer and no parser: heads are parsed in one piece from the
// read buffer into the worker's workspace.
#pragma once

#include <memory>

#include "proxy/codec.h"
#include "proxy/h1_chunked.h"
#include "proxy/h1_message.h"
#include "proxy/h1_writer.h"

namespace sluice::proxy {

// Where the codecs of one worker parse into. A head stays valid until the next
// event of any codec of the worker; who needs it longer swaps it out.
struct CodecWorkspace {
  RequestHead request;
  ResponseHead response;
};

class H1DownstreamCodec final : public DownstreamCodec {
 public:
  explicit H1DownstreamCodec(CodecWorkspace& workspace) : workspace_(workspace) {}

  CodecEvent next(Input& input, const conf::Limits& limits) override;
  RequestHead& request() override { return workspace_.request; }
  Input piece() const override { return piece_; }
  Fields* trailers() override;
  const Problem& problem() const override { return *problem_; }
  bool mid_message() const override;
  void consumed(StreamId, size_t) override {}
  bool finish_exchange(StreamId stream) override;
  bool keeps_alive() const override { return keep_alive_; }
  bool speaks_interim() const override { return minor_version_ >= 1; }
  void write_response(Outbox& out, StreamId stream, const ResponseHead& head, const AddedFields& added,
                      bool last) override;
  void write_data(Outbox& out, StreamId stream, const char* data, size_t size) override;
  void write_end(Outbox& out, StreamId stream, const Fields* trailers) override;
  void write_reply(Outbox& out, StreamId stream, uint16_t status, const AddedFields& added,
                   std::string_view content_type, std::string_view body, bool head_only, bool last) override;
  bool ends_by_close(const ResponseHead& head) const override;
  void become_tunnel(StreamId) override { state_ = State::tunnel; }

 private:
  enum class State : uint8_t { head, body_length, body_chunked, body_ended, ended, tunnel, bad };

  CodecEvent read_head(Input& input, const conf::Limits& limits);
  CodecEvent read_chunked(Input& input, const conf::Limits& limits);
  CodecEvent fail(const Problem& problem);
  void append_connection(Appender& to, bool last) const;

  CodecWorkspace& workspace_;
  State state_ = State::head;
  uint8_t minor_version_ = 1;
  bool keep_alive_ = false;
  bool chunked_out_ = false;  // the response under way is chunked
  uint64_t body_left_ = 0;
  Input piece_;
  const Problem* problem_ = nullptr;
  HeadScanner scanner_{HeadScanner::For::request};
  std::unique_ptr<ChunkedDecoder> chunked_;
};

}  // namespace sluice::proxy
