#include "proxy/h1_downstream_codec.h"

#include <algorithm>
#include <charconv>

namespace sluice::proxy {

using Kind = CodecEvent::Kind;

namespace {

bool starts_with_head(const Input& input) {
  std::string_view text(input.data, input.size);
  while (text.starts_with("\r\n")) text.remove_prefix(2);
  return text.starts_with("HEAD ");
}

}  // namespace

CodecEvent H1DownstreamCodec::next(Input& input, const conf::Limits& limits) {
  switch (state_) {
    case State::head:
      return read_head(input, limits);
    case State::body_length: {
      if (input.size == 0) return {Kind::more};
      piece_ = {input.data, static_cast<size_t>(std::min<uint64_t>(body_left_, input.size))};
      input.consume(piece_.size);
      body_left_ -= piece_.size;
      if (body_left_ == 0) state_ = State::body_ended;
      return {Kind::data};
    }
    case State::body_chunked:
      return read_chunked(input, limits);
    case State::body_ended:
      state_ = State::ended;
      return {Kind::end};
    case State::tunnel: {
      if (input.size == 0) return {Kind::more};
      piece_ = input;
      input.consume(input.size);
      return {Kind::data};
    }
    case State::ended:
    case State::bad:
      return {Kind::more};
  }
  return {Kind::more};
}

CodecEvent H1DownstreamCodec::read_head(Input& input, const conf::Limits& limits) {
  if (input.size == 0) return {Kind::more};
  switch (scanner_.scan(input, limits)) {
    case HeadScanner::Verdict::more:
      return {Kind::more};
    case HeadScanner::Verdict::bad:
      // What it asked for matters to the answer all the same.
      workspace_.request.method = starts_with_head(input) ? Method::head : Method::other;
      return fail(scanner_.problem());
    case HeadScanner::Verdict::complete:
      break;
  }
  input.consume(scanner_.skipped());
  const Input head{input.data, scanner_.size()};
  input.consume(head.size);
  H1Persistence persistence;
  const Problem* const problem =
      parse_request(head, scanner_.first_line_size(), workspace_.request, persistence);
  scanner_.restart();
  minor_version_ = workspace_.request.minor_version;
  if (problem != nullptr) return fail(*problem);
  keep_alive_ = persistence.keep_alive;
  switch (workspace_.request.body) {
    case BodyKind::open_ended:
      chunked_ = std::make_unique<ChunkedDecoder>(workspace_.request.fields);
      state_ = State::body_chunked;
      break;
    case BodyKind::length:
      body_left_ = workspace_.request.content_length;
      state_ = body_left_ > 0 ? State::body_length : State::body_ended;
      break;
    default:
      state_ = State::body_ended;
      break;
  }
  return {Kind::head};
}

CodecEvent H1DownstreamCodec::read_chunked(Input& input, const conf::Limits& limits) {
  switch (chunked_->next(input, limits)) {
    case ChunkedDecoder::Step::more:
      return {Kind::more};
    case ChunkedDecoder::Step::data:
      piece_ = chunked_->piece();
      return {Kind::data};
    case ChunkedDecoder::Step::end:
      state_ = State::ended;
      return {Kind::end};
    case ChunkedDecoder::Step::bad:
      return fail(chunked_->problem());
  }
  return {Kind::more};
}

CodecEvent H1DownstreamCodec::fail(const Problem& problem) {
  problem_ = &problem;
  keep_alive_ = false;
  state_ = State::bad;
  return {Kind::bad};
}

Fields* H1DownstreamCodec::trailers() {
  return chunked_ == nullptr ? nullptr : &chunked_->trailers();
}

bool H1DownstreamCodec::mid_message() const {
  switch (state_) {
    case State::head:
      return scanner_.started();
    case State::body_length:
    case State::body_chunked:
      return true;
    default:
      return false;
  }
}

bool H1DownstreamCodec::finish_exchange(StreamId) {
  if (state_ != State::ended && state_ != State::body_ended) {
    keep_alive_ = false;
    state_ = State::bad;
    return false;
  }
  state_ = State::head;
  chunked_.reset();
  chunked_out_ = false;
  return true;
}

bool H1DownstreamCodec::ends_by_close(const ResponseHead& head) const {
  return minor_version_ == 0 && (head.body == BodyKind::open_ended || head.body == BodyKind::until_close);
}

void H1DownstreamCodec::append_connection(Appender& to, bool last) const {
  if (last) {
    to << "Connection: close\r\n";
  } else if (minor_version_ == 0) {
    to << "Connection: keep-alive\r\n";
  }
}

void H1DownstreamCodec::write_response(Outbox& out, StreamId, const ResponseHead& head,
                                       const AddedFields& added, bool last) {
  const bool open_ended = head.body == BodyKind::open_ended || head.body == BodyKind::until_close;
  if (!head.interim()) chunked_out_ = open_ended && minor_version_ >= 1;
  const Fields& fields = head.fields;
  // What the upstream calls itself, or leaves out, is not this hop's to repeat.
  const std::string_view start(fields.block(), std::min<size_t>(fields.block_size(), 13));
  const bool plain = start.starts_with("HTTP/1.1 ") && start.ends_with(' ') && head.upgrade.empty() &&
                     !chunked_out_ && added.count == 0 && (head.interim() || (!last && minor_version_ >= 1));
  const bool verbatim = plain && std::none_of(fields.all().begin(), fields.all().end(),
                                              [](const Field& one) { return one.dropped; });
  if (verbatim) {
    out.add(fields.block(), fields.block_size());
    return;
  }
  const size_t first_line = start_line_size(fields);
  constexpr size_t kFramingLines = 128;
  char* const text =
      out.loop().scratch().allocate(size_of_fields(fields, added) + head.upgrade.size() + kFramingLines);
  Appender to(text);
  to << "HTTP/1.1 " << std::string_view(fields.block() + 9, 3) << " " << head.reason << "\r\n";
  append_fields(to, fields, added, first_line);
  if (chunked_out_) to << "Transfer-Encoding: chunked\r\n";
  if (head.status == 101) {
    to << "Connection: upgrade\r\nUpgrade: " << head.upgrade << "\r\n";
  } else if (!head.interim()) {
    if (!head.upgrade.empty()) to << "Connection: upgrade\r\nUpgrade: " << head.upgrade << "\r\n";
    append_connection(to, last);
  }
  to << "\r\n";
  out.loop().scratch().shrink(to.at());
  out.add(text, static_cast<size_t>(to.at() - text));
}

void H1DownstreamCodec::write_data(Outbox& out, StreamId, const char* data, size_t size) {
  if (chunked_out_) {
    write_chunk(out, data, size);
  } else {
    out.add(data, size);
  }
}

void H1DownstreamCodec::write_end(Outbox& out, StreamId, const Fields* trailers) {
  if (chunked_out_) write_last_chunk(out, trailers);
  chunked_out_ = false;
}

void H1DownstreamCodec::write_reply(Outbox& out, StreamId, uint16_t status, const AddedFields& added,
                                    std::string_view content_type, std::string_view body, bool head_only,
                                    bool last) {
  size_t size = 256 + content_type.size() + body.size();
  for (size_t i = 0; i < added.count; ++i) size += added.all[i].name.size() + added.all[i].value.size() + 4;
  char* const text = out.loop().scratch().allocate(size);
  char number[16];
  Appender to(text);
  to << "HTTP/1.1 " << std::string_view(number, std::to_chars(number, number + 16, status).ptr - number)
     << " " << reason_phrase(status) << "\r\nDate: " << out.loop().http_date() << "\r\n";
  for (size_t i = 0; i < added.count; ++i) to << added.all[i].name << ": " << added.all[i].value << "\r\n";
  if (!content_type.empty()) to << "Content-Type: " << content_type << "\r\n";
  to << "Content-Length: "
     << std::string_view(number, std::to_chars(number, number + 16, body.size()).ptr - number) << "\r\n";
  append_connection(to, last);
  to << "\r\n";
  if (!head_only) to << body;
  out.loop().scratch().shrink(to.at());
  out.add(text, static_cast<size_t>(to.at() - text));
}

}  // namespace sluice::proxy
