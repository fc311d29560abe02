#include "proxy/json_line.h"

#include <fmt/format.h>

#include <cassert>
#include <cmath>
#include <cstring>

#include "proxy/json_text.h"

namespace sluice::proxy {

JsonLine::JsonLine(char* begin, char* end) : at_(begin), end_(end) {
  if (static_cast<size_t>(end - begin) < kTailBytes) {
    overflow();
  } else {
    end_ -= kTailBytes;
  }
}

void JsonLine::overflow() {
  overflowed_ = true;
  end_ = at_;  // nothing more fits
}

void JsonLine::put(std::string_view bytes) {
  if (room() < bytes.size()) return overflow();
  std::memcpy(at_, bytes.data(), bytes.size());
  at_ += bytes.size();
}

void JsonLine::key(std::string_view name) {
  put(separator_);
  put('"');
  put(name);
  put("\":");
  separator_ = ',';
}

void JsonLine::put_unsigned(uint64_t value) {
  char digits[kMostDigits];
  put({digits, static_cast<size_t>(write_unsigned(digits, value) - digits)});
}

void JsonLine::put_json(std::string_view text) {
  if (room() < json_size(text)) return overflow();
  at_ = write_json(at_, text);
}

void JsonLine::text(std::string_view name, std::string_view value, size_t most) {
  key(name);
  put('"');
  put_json(clip(value, most));
  if (value.size() > most) put("\xe2\x80\xa6");
  put('"');
}

void JsonLine::number(std::string_view name, uint64_t value) {
  key(name);
  put_unsigned(value);
}

void JsonLine::number(std::string_view name, int64_t value) {
  key(name);
  if (value < 0) put('-');
  const auto bits = static_cast<uint64_t>(value);
  put_unsigned(value < 0 ? ~bits + 1 : bits);
}

void JsonLine::number(std::string_view name, double value) {
  key(name);
  if (!std::isfinite(value)) return put("null");
  char digits[32];
  put({digits, fmt::format_to_n(digits, sizeof(digits), "{}", value).size});
}

void JsonLine::boolean(std::string_view name, bool value) {
  key(name);
  put(value ? "true" : "false");
}

void JsonLine::time(std::string_view name, uint64_t wall_us) {
  char text[kTimeBytes];
  write_time(text, wall_us);
  key(name);
  put('"');
  put({text, sizeof(text)});
  put('"');
}

char* JsonLine::finish(bool truncated) {
  assert(!overflowed_);
  end_ += kTailBytes;
  if (truncated) boolean("truncated", true);
  if (separator_ == '{') put('{');
  put("}\n");
  assert(!overflowed_);
  return at_;
}

}  // namespace sluice::proxy
