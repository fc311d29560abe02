// JsonLine: writes one JSON object on one line into memory that it is given,
// without allocating; what the daemon's log is made of.
//
//   JsonLine line(begin, end);
//   line.text("path", "/a"); line.number("status", 200);
//   char* const past = line.finish();          {"path":"/a","status":200}\n
//
// Texts may hold any octets (json_text.h). Keys are literals of ours and are
// written as they are.
//
// Invariant: never writes at or past `end`. When something does not fit, the
// line counts as overflowed and is to be thrown away, or a copy of the JsonLine
// that was made before is gone on with: it is a plain value. Room for the end
// of the line is set aside, so finish() always fits unless the memory was
// smaller than kTailBytes, when the line has overflowed from the start.
//
// Owner: a local variable. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::proxy {

class JsonLine {
 public:
  static constexpr size_t kTailBytes = 32;
  static constexpr size_t kAll = ~size_t{0};

  JsonLine(char* begin, char* end);

  // At most `most` octets of the value, and an ellipsis where it was longer.
  void text(std::string_view key, std::string_view value, size_t most = kAll);
  void number(std::string_view key, uint64_t value);
  void number(std::string_view key, int64_t value);
  void number(std::string_view key, double value);  // null where JSON has no such number
  void boolean(std::string_view key, bool value);
  // RFC 3339 in UTC with milliseconds, from microseconds since the epoch.
  void time(std::string_view key, uint64_t wall_us);

  bool overflowed() const { return overflowed_; }
  // Ends the object and the line; returns the octet after it. `truncated` says
  // in the object that something was left out. Not after an overflow.
  char* finish(bool truncated = false);

 private:
  size_t room() const { return static_cast<size_t>(end_ - at_); }
  void overflow();
  void key(std::string_view name);
  void put(std::string_view bytes);
  void put(char byte) { put(std::string_view(&byte, 1)); }
  void put_unsigned(uint64_t value);
  void put_json(std::string_view text);

  char* at_;
  char* end_;             // kTailBytes before the real one
  char separator_ = '{';  // before the next key
  bool overflowed_ = false;
};

}  // namespace sluice::proxy
