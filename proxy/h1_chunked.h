// ChunkedDecoder: the chunked transfer coding (RFC 9112, 7.1), read strictly.
//
//   chunk-size [ chunk-ext ] CRLF  chunk-data CRLF  ...  0 [ext] CRLF trailers CRLF
//
// llhttp is not used here: what it lets pass in sizes, extensions and line ends
// would have to be checked octet by octet in any case, and this is all there is
// to it. Extensions are checked and forgotten; they concern one hop. Sizes are
// below 2^60, a size line is at most 8 KiB, trailers are bounded by the caller's
// limits.
//
// Thread: any one.
#pragma once

#include <cstdint>
#include <string>

#include "proxy/h1_fields.h"

namespace sluice::proxy {

class ChunkedDecoder {
 public:
  // `head`: the fields of the message, whose Connection may name trailers as well
  // (RFC 9110, 7.6.1).
  explicit ChunkedDecoder(const Fields& head) : hop_names_(names_in_connection(head)) {}

  enum class Step : uint8_t { more, data, end, bad };

  // Takes the next piece from the front of `input`: on `data`, piece() is a
  // slice of it, on `end`, trailers() holds what came after the last chunk,
  // both valid as long as the input's memory.
  Step next(Input& input, const conf::Limits& limits);

  Input piece() const { return piece_; }
  Fields& trailers() { return trailers_; }
  const Problem& problem() const { return *problem_; }

 private:
  enum class State : uint8_t {
    size_start,   // before the first digit
    size,         // within the digits
    before_ext,   // white space after the size
    ext,          // within an extension
    ext_quoted,   // within a quoted string of it
    ext_escaped,  // after its backslash
    size_lf,      // the LF of the size line
    data,
    data_cr,
    data_lf,
    trailers,
  };

  Step bad(const char* detail);
  bool size_line(char c);  // false: bad
  Step read_trailers(Input& input, const conf::Limits& limits);

  State state_ = State::size_start;
  uint16_t line_octets_ = 0;
  uint64_t left_ = 0;
  Input piece_;
  Fields trailers_;
  const std::string hop_names_;
  HeadScanner trailer_scanner_{HeadScanner::For::trailers};
  Problem own_problem_;
  const Problem* problem_ = &own_problem_;
};

}  // namespace sluice::proxy
