#include "proxy/h1_upstream_codec.h"

#include <algorithm>
#include <charconv>

#include "proxy/h1_writer.h"

namespace sluice::proxy {
namespace {

using Kind = CodecEvent::Kind;

constexpr Problem kIncomplete{502, "http_response_incomplete",
                              "the upstream closed before the end of its answer"};
constexpr Problem kNotHttp{502, "http_protocol_error", "the upstream does not speak HTTP/1"};
constexpr Problem kTooManyInterim{502, "http_protocol_error", "the upstream sent too many interim answers"};

constexpr conf::Limits kLimits = [] {
  conf::Limits limits;
  limits.header_bytes = H1UpstreamCodec::kMostHeadBytes;
  limits.headers = H1UpstreamCodec::kMostFields;
  return limits;
}();

}  // namespace

void H1UpstreamCodec::write_request(Outbox& out, StreamId, const RequestHead& head, const AddedFields& added,
                                    std::string_view authority_if_none) {
  expect_response(head);
  request_ended_ = false;
  chunked_request_ = head.body == BodyKind::open_ended;
  const Fields& fields = head.fields;
  const bool add_host = fields.find(FieldId::host) == nullptr;
  const std::string_view authority = head.authority.empty() ? authority_if_none : head.authority;
  constexpr size_t kFramingLines = 192;
  char* const text = out.loop().scratch().allocate(size_of_fields(fields, added) + authority.size() +
                                                   head.target.size() + head.upgrade.size() + kFramingLines);
  Appender to(text);
  to << head.method_text << " " << head.target << " HTTP/1.1\r\n";
  if (add_host) to << "Host: " << authority << "\r\n";
  append_fields(to, fields, added, start_line_size(fields));
  if (chunked_request_) to << "Transfer-Encoding: chunked\r\n";
  if (head.expects_continue) to << "Expect: 100-continue\r\n";
  if (head.max_forwards != ~0U) {
    char number[16];
    to << "Max-Forwards: "
       << std::string_view(number, std::to_chars(number, number + 16, head.max_forwards - 1).ptr - number)
       << "\r\n";
  }
  if (!head.upgrade.empty()) {
    to << "Connection: upgrade\r\nUpgrade: " << head.upgrade << "\r\n";
  } else if (head.accepts_trailers) {
    to << "Connection: TE\r\nTE: trailers\r\n";
  }
  to << "\r\n";
  out.loop().scratch().shrink(to.at());
  out.add(text, static_cast<size_t>(to.at() - text));
}

void H1UpstreamCodec::expect_response(const RequestHead& head) {
  state_ = State::head;
  interim_ = 0;
  context_ = {head.method, head.upgrade};
  request_ended_ = true;
  chunked_.reset();
}

void H1UpstreamCodec::write_data(Outbox& out, StreamId, const char* data, size_t size) {
  if (chunked_request_) {
    write_chunk(out, data, size);
  } else {
    out.add(data, size);
  }
}

void H1UpstreamCodec::write_end(Outbox& out, StreamId, const Fields* trailers) {
  if (chunked_request_) write_last_chunk(out, trailers);
  request_ended_ = true;
}

CodecEvent H1UpstreamCodec::next(Input& input) {
  switch (state_) {
    case State::head:
      return read_head(input);
    case State::body_length: {
      if (input.size == 0) return {Kind::more};
      piece_ = {input.data, static_cast<size_t>(std::min<uint64_t>(body_left_, input.size))};
      input.consume(piece_.size);
      body_left_ -= piece_.size;
      if (body_left_ == 0) state_ = State::body_ended;
      return {Kind::data};
    }
    case State::body_chunked:
      switch (chunked_->next(input, kLimits)) {
        case ChunkedDecoder::Step::more:
          return {Kind::more};
        case ChunkedDecoder::Step::data:
          piece_ = chunked_->piece();
          return {Kind::data};
        case ChunkedDecoder::Step::end:
          return ended();
        case ChunkedDecoder::Step::bad:
          return fail(chunked_->problem());
      }
      return {Kind::more};
    case State::body_ended:
      return ended();
    case State::body_until_close:
    case State::tunnel: {
      if (input.size == 0) return {Kind::more};
      piece_ = input;
      input.consume(input.size);
      return {Kind::data};
    }
    case State::ready:
    case State::spent:
      return {Kind::more};
  }
  return {Kind::more};
}

CodecEvent H1UpstreamCodec::read_head(Input& input) {
  if (input.size == 0) return {Kind::more};
  // Another protocol is told at once, not when its first line never ends.
  const std::string_view begin(input.data, std::min<size_t>(input.size, 7));
  if (begin != std::string_view("HTTP/1.").substr(0, begin.size())) return fail(kNotHttp);
  switch (scanner_.scan(input, kLimits)) {
    case HeadScanner::Verdict::more:
      return {Kind::more};
    case HeadScanner::Verdict::bad:
      return fail(scanner_.problem());
    case HeadScanner::Verdict::complete:
      break;
  }
  const Input head{input.data, scanner_.size()};
  input.consume(head.size);
  H1Persistence persistence;
  ResponseHead& response = workspace_.response;
  const Problem* const problem =
      parse_response(head, scanner_.first_line_size(), context_, response, persistence);
  scanner_.restart();
  if (problem != nullptr) return fail(*problem);
  if (response.interim()) {
    if (++interim_ > kMostInterim) return fail(kTooManyInterim);
    return {Kind::head};
  }
  keep_alive_ = persistence.keep_alive;
  switch (response.body) {
    case BodyKind::none:
      state_ = State::body_ended;
      break;
    case BodyKind::length:
      body_left_ = response.content_length;
      state_ = body_left_ == 0 ? State::body_ended : State::body_length;
      break;
    case BodyKind::open_ended:
      chunked_ = std::make_unique<ChunkedDecoder>(response.fields);
      state_ = State::body_chunked;
      break;
    case BodyKind::until_close:
      keep_alive_ = false;
      state_ = State::body_until_close;
      break;
  }
  return {Kind::head};
}

CodecEvent H1UpstreamCodec::ended() {
  state_ = keep_alive_ ? State::ready : State::spent;
  return {Kind::end};
}

CodecEvent H1UpstreamCodec::next_at_end() {
  switch (state_) {
    case State::ready:
    case State::spent:
      return {Kind::more};
    case State::body_until_close:
    case State::tunnel:
      state_ = State::spent;
      return {Kind::end};
    default:
      return fail(kIncomplete);
  }
}

CodecEvent H1UpstreamCodec::fail(const Problem& problem) {
  problem_ = &problem;
  keep_alive_ = false;
  state_ = State::spent;
  return {Kind::bad};
}

}  // namespace sluice::proxy
