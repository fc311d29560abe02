// JsonLine: writes one JSON object on one line into memory that it is given,
// without allocating; what both logs are made of.
//
//   JsonLine line(begin, end);
//   line.text("path", "/a"); line.number("status", 200);
//   char* const past = line.finish();          {"path":"/a","status":200}\n
//
// Texts may hold any octets and come out as valid JSON (RFC 8259) in valid
// UTF-8: what is no UTF-8 becomes U+FFFD, octet by octet; control characters,
// also DEL and C1, are escaped, so that nothing in a log acts on a terminal.
// Keys are literals of ours and are written as they are.
//
// Invariant: never writes at or past `end`. When something does not fit, the
// line counts as overflowed and is to be thrown away, or a copy of the JsonLine
// that was made before is gone on with: it is a plain value. Room for the end
// of the line is set aside, so finish() always fits unless the memory was
// smaller than kTailBytes, when the line has overflowed from the start.
//
// A line is written for each request where there is an access log, so it is made
// to cost little: keys are copied as constants, and plain texts eight octets at
// a time.
//
// Owner: a local variable. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace sluice::proxy {

// The length of the well-formed sequence of several octets that the text, which
// is not empty, begins with (Unicode 15, table 3-7), or 0.
size_t utf8_length(std::string_view text);

class JsonLine {
 public:
  static constexpr size_t kTailBytes = 32;
  static constexpr size_t kAll = ~size_t{0};

  JsonLine(char* begin, char* end);

  // At most `most` octets of the value, and an ellipsis where it was longer.
  [[gnu::always_inline]] void text(std::string_view name, std::string_view value, size_t most = kAll) {
    key(name);
    put_text(value, most);
  }
  // An array of the words between the commas of `list`.
  void words(std::string_view key, std::string_view list);
  [[gnu::always_inline]] void number(std::string_view name, uint64_t value) {
    key(name);
    put_unsigned(value);
  }
  void number(std::string_view key, int64_t value);
  void number(std::string_view key, double value);  // null where JSON has no such number
  [[gnu::always_inline]] void seconds(std::string_view name, uint64_t value_us) {
    key(name);
    put_seconds(value_us);
  }
  [[gnu::always_inline]] void boolean(std::string_view name, bool value) {
    key(name);
    if (value) {
      put("true");
    } else {
      put("false");
    }
  }
  // RFC 3339 in UTC with milliseconds, from microseconds since the epoch.
  void time(std::string_view key, uint64_t wall_us);

  bool overflowed() const { return overflowed_; }
  // Ends the object and the line; returns the octet after it. `truncated` says
  // in the object that something was left out. Not after an overflow.
  char* finish(bool truncated = false);

 private:
  size_t room() const { return static_cast<size_t>(end_ - at_); }
  void overflow() {
    overflowed_ = true;
    end_ = at_;  // nothing more fits
  }
  [[gnu::always_inline]] void key(std::string_view name) {
    if (room() < name.size() + 4) return overflow();
    *at_++ = separator_;
    *at_++ = '"';
    std::memcpy(at_, name.data(), name.size());
    at_ += name.size();
    *at_++ = '"';
    *at_++ = ':';
    separator_ = ',';
  }
  [[gnu::always_inline]] void put(std::string_view bytes) {
    if (room() < bytes.size()) return overflow();
    std::memcpy(at_, bytes.data(), bytes.size());
    at_ += bytes.size();
  }
  void put(char byte) { put(std::string_view(&byte, 1)); }
  void put_unsigned(uint64_t value);
  void put_seconds(uint64_t value_us);
  void put_text(std::string_view value, size_t most);
  void put_quoted(std::string_view text);
  void put_escaped(std::string_view text);
  size_t put_special(std::string_view text);

  char* at_;
  char* end_;             // kTailBytes before the real one
  char separator_ = '{';  // before the next key
  bool overflowed_ = false;
};

}  // namespace sluice::proxy
