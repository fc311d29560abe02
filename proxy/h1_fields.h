// The field section of HTTP/1 messages: where it ends, whether every octet of
// it is allowed, and what its fields are (RFC 9112, 2 and 5).
//
// HeadScanner finds the end of a head as it arrives and holds each line to the
// strict grammar: CRLF ends a line, nothing else does, and no control octet but
// HTAB in a value is let through. That closes what llhttp 8.1.0 lets pass (a
// bare CR as the end of a field, CVE-2023-30589; folded Content-Length,
// CVE-2024-27982) before llhttp sees it, and lets a complete head be parsed in
// one piece, so that no connection keeps a parser. parse_fields() then has
// llhttp divide the lines into names and values.
//
// Pure functions of their input; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "conf/config.h"
#include "proxy/head.h"

namespace sluice::proxy {

// Octets that have arrived and wait to be understood. A codec takes from the
// front what it understood.
struct Input {
  char* data = nullptr;
  size_t size = 0;

  void consume(size_t octets) {
    data += octets;
    size -= octets;
  }
};

// What is wrong with a message; both texts are literals. For a request `status`
// is the answer; `error` is the type for Proxy-Status (RFC 9209, 2.3).
struct Problem {
  uint16_t status = 400;
  const char* error = "http_request_error";
  const char* detail = "";
};

class HeadScanner {
 public:
  enum class Verdict : uint8_t { more, complete, bad };
  enum class For : uint8_t { request, response, trailers };

  explicit HeadScanner(For purpose) : purpose_(purpose) {}

  // Looks at `input`, which begins where the head does (for a request after
  // empty lines, see skipped()) and has grown since the last call; what was
  // looked at before is not looked at again. White space behind a value may be
  // changed in place.
  Verdict scan(const Input& input, const conf::Limits& limits);

  // After `complete`: the size of the empty lines before a request, and of the
  // head without them but with its closing empty line.
  size_t skipped() const { return begin_; }
  size_t size() const { return line_begin_ - begin_; }
  size_t first_line_size() const { return first_line_size_; }  // without CRLF
  const Problem& problem() const { return problem_; }          // after `bad`
  bool started() const { return searched_ > 0; }               // any octet of it arrived

  void restart() { *this = HeadScanner(purpose_); }

 private:
  static constexpr uint32_t kEmptyLinesAllowed = 4;

  Verdict bad(uint16_t status, const char* detail);
  Verdict line(char* text, size_t size, const conf::Limits& limits, bool& done);
  Verdict over_limit(size_t arrived, const conf::Limits& limits);

  For purpose_;
  uint32_t begin_ = 0;       // of the head
  uint32_t line_begin_ = 0;  // of the line under way
  uint32_t searched_ = 0;    // no LF before this
  uint32_t first_line_size_ = 0;
  uint32_t lines_ = 0;
  Problem problem_;
};

// Divides a field section (lines, then an empty line) that a HeadScanner has
// passed. `fields.block()` must be set and contain `section`; null when it is
// well-formed.
const Problem* parse_fields(const char* section, size_t size, Fields& fields);

// The elements of a comma-separated list (RFC 9110, 5.6.1), empty ones left
// out: calls visit(element) for each.
template <typename Visit>
void for_each_element(std::string_view list, Visit visit) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    std::string_view element = list.substr(0, comma);
    list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
    while (!element.empty() && (element.front() == ' ' || element.front() == '\t')) element.remove_prefix(1);
    while (!element.empty() && (element.back() == ' ' || element.back() == '\t')) element.remove_suffix(1);
    if (!element.empty()) visit(element);
  }
}

// Is every octet a tchar (RFC 9110, 5.6.2), and is there one?
bool is_token(std::string_view text);
// 1*DIGIT below 2^63.
bool parse_decimal(std::string_view text, uint64_t& value);

// Drops what Connection names and the fields that concern one hop only, and
// says what Connection asked for (RFC 9110, 7.6.1).
struct ConnectionOptions {
  bool close = false;
  bool keep_alive = false;
  bool upgrade = false;
};
ConnectionOptions drop_hop_by_hop(Fields& fields);

// What Connection names beside close, keep-alive and upgrade, separated by commas,
// and whether a field is among them. Most messages have none.
std::string names_in_connection(const Fields& fields);
bool is_named(std::string_view names, std::string_view field);

// What Content-Length and Transfer-Encoding say together (RFC 9112, 6).
struct Framing {
  bool has_length = false;
  bool chunked = false;
  uint64_t length = 0;
  const Problem* problem = nullptr;
};
Framing read_framing(Fields& fields, uint8_t minor_version);

}  // namespace sluice::proxy
