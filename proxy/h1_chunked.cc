#include "proxy/h1_chunked.h"

#include <algorithm>

namespace sluice::proxy {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Fields that mean something only in a head: what frames, routes, authenticates,
// modifies the request or says how the content is to be read (RFC 9110, 6.5.1).
constexpr std::string_view kHeadOnly[] = {
    "accept-ranges",
    "age",
    "authentication-info",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-type",
    "date",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "pragma",
    "range",
    "retry-after",
    "set-cookie",
    "vary",
    "warning",
    "www-authenticate",
};

bool allowed_in_trailers(FieldId id, std::string_view name) {
  if (id == FieldId::traceparent || id == FieldId::tracestate) return true;  // of use to origins only
  if (id != FieldId::other || underscored_id(name) != FieldId::other || is_kin_of_forwarding(name))
    return false;
  return std::none_of(std::begin(kHeadOnly), std::end(kHeadOnly),
                      [name](std::string_view one) { return equal_fold(one, name); });
}

}  // namespace

ChunkedDecoder::Step ChunkedDecoder::bad(const char* detail) {
  own_problem_.detail = detail;
  problem_ = &own_problem_;
  return Step::bad;
}

ChunkedDecoder::Step ChunkedDecoder::next(Input& input, const conf::Limits& limits) {
  while (input.size > 0) {
    switch (state_) {
      case State::data: {
        const auto size = static_cast<size_t>(std::min<uint64_t>(left_, input.size));
        piece_ = {input.data, size};
        input.consume(size);
        left_ -= size;
        if (left_ == 0) state_ = State::data_cr;
        return Step::data;
      }
      case State::data_cr:
      case State::data_lf:
        if (*input.data != (state_ == State::data_cr ? '\r' : '\n')) {
          return bad("chunk data is not followed by CRLF");
        }
        input.consume(1);
        state_ = state_ == State::data_cr ? State::data_lf : State::size_start;
        break;
      case State::trailers:
        return read_trailers(input, limits);
      default: {
        const char c = *input.data;
        input.consume(1);
        if (!size_line(c)) return bad("a malformed chunk size line");
      }
    }
  }
  return Step::more;
}

// One octet of a size line.
bool ChunkedDecoder::size_line(char c) {
  constexpr uint16_t kLongestLine = 8192;
  constexpr uint64_t kLargestChunk = uint64_t{1} << 60;
  if (state_ == State::size_lf) {
    if (c != '\n') return false;
    line_octets_ = 0;
    state_ = left_ == 0 ? State::trailers : State::data;
    return true;
  }
  if (++line_octets_ > kLongestLine) return false;
  if (c == '\r') {
    // An open quotation must not hide the end of the line.
    if (state_ != State::size && state_ != State::before_ext && state_ != State::ext) return false;
    state_ = State::size_lf;
    return true;
  }
  const auto octet = static_cast<unsigned char>(c);
  if ((octet < 0x20 && c != '\t') || octet == 0x7f) return false;
  switch (state_) {
    case State::size_start:
    case State::size: {
      const int digit = hex_digit(c);
      if (digit >= 0) {
        if (left_ >= kLargestChunk / 16) return false;
        left_ = left_ * 16 + static_cast<uint64_t>(digit);
        state_ = State::size;
        return true;
      }
      if (state_ == State::size_start) return false;
      if (c == ';') {
        state_ = State::ext;
        return true;
      }
      state_ = State::before_ext;
      return c == ' ' || c == '\t';
    }
    case State::before_ext:
      if (c == ';') state_ = State::ext;
      return c == ';' || c == ' ' || c == '\t';
    case State::ext:
      if (c == '"') state_ = State::ext_quoted;
      return true;
    case State::ext_quoted:
      if (c == '"') state_ = State::ext;
      if (c == '\\') state_ = State::ext_escaped;
      return true;
    case State::ext_escaped:
      state_ = State::ext_quoted;
      return true;
    default:
      return false;
  }
}

ChunkedDecoder::Step ChunkedDecoder::read_trailers(Input& input, const conf::Limits& limits) {
  switch (trailer_scanner_.scan(input, limits)) {
    case HeadScanner::Verdict::more:
      return Step::more;
    case HeadScanner::Verdict::bad:
      problem_ = &trailer_scanner_.problem();
      return Step::bad;
    case HeadScanner::Verdict::complete:
      break;
  }
  const size_t size = trailer_scanner_.size();
  trailers_.clear();
  trailers_.set_block(input.data, static_cast<uint32_t>(size));
  if (size > 2) {
    if (const Problem* problem = parse_fields(input.data, size, trailers_); problem != nullptr) {
      problem_ = problem;
      return Step::bad;
    }
    for (Field& field : trailers_.all()) {
      const std::string_view name = trailers_.name(field);
      field.dropped = !allowed_in_trailers(field.id, name) || is_named(hop_names_, name);
    }
  }
  input.consume(size);
  trailer_scanner_.restart();
  state_ = State::size_start;
  return Step::end;
}

}  // namespace sluice::proxy
