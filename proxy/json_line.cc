#include "proxy/json_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <chrono>
#include <cmath>

namespace sluice::proxy {

namespace {

constexpr uint64_t kMicrosecondsPerSecond = 1'000'000;

// What stands for itself between quotes: printable ASCII but " and \.
constexpr std::array<bool, 256> kPlain = [] {
  std::array<bool, 256> plain{};
  for (size_t octet = 0x20; octet < 0x7f; ++octet) plain[octet] = octet != '"' && octet != '\\';
  return plain;
}();

uint8_t octet(char c) {
  return static_cast<uint8_t>(c);
}

bool between(char c, uint8_t low, uint8_t high) {
  return octet(c) >= low && octet(c) <= high;
}

// The longest part of at most `most` octets that cuts no character in two.
std::string_view clip(std::string_view text, size_t most) {
  if (text.size() <= most) return text;
  size_t length = most;
  for (int i = 0; i < 3 && length > 0 && between(text[length], 0x80, 0xbf); ++i) --length;
  return text.substr(0, length);
}

}  // namespace

size_t utf8_length(std::string_view text) {
  const uint8_t lead = octet(text[0]);
  size_t length = 0;
  uint8_t low = 0x80;
  uint8_t high = 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3;
    if (lead == 0xe0) low = 0xa0;   // no overlong forms
    if (lead == 0xed) high = 0x9f;  // no surrogates
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;  // nothing past U+10FFFF
  }
  if (length == 0 || text.size() < length || !between(text[1], low, high)) return 0;
  for (size_t i = 2; i < length; ++i) {
    if (!between(text[i], 0x80, 0xbf)) return 0;
  }
  return length;
}

JsonLine::JsonLine(char* begin, char* end) : at_(begin), end_(end) {
  if (static_cast<size_t>(end - begin) < kTailBytes) {
    overflowed_ = true;
  } else {
    end_ -= kTailBytes;
  }
  put('{');
}

void JsonLine::put(std::string_view bytes) {
  if (overflowed_ || bytes.size() > static_cast<size_t>(end_ - at_)) {
    overflowed_ = true;
    return;
  }
  at_ = std::copy(bytes.begin(), bytes.end(), at_);
}

void JsonLine::put_unsigned(uint64_t value) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  put({digits, static_cast<size_t>(end - digits)});
}

void JsonLine::put_padded(uint64_t value, size_t digits) {
  char text[20];
  assert(digits <= sizeof(text));
  for (size_t i = digits; i-- > 0; value /= 10) text[i] = static_cast<char>('0' + value % 10);
  put({text, digits});
}

// Writes what the text begins with and may not stand as it is; returns how many
// octets of the text that were.
size_t JsonLine::put_special(std::string_view text) {
  const auto put_code = [this](uint8_t code) {
    constexpr char kHex[] = "0123456789abcdef";
    const char escape[] = {'\\', 'u', '0', '0', kHex[code >> 4], kHex[code & 15]};
    put({escape, sizeof(escape)});
  };
  switch (text[0]) {
    case '"':
      put("\\\"");
      return 1;
    case '\\':
      put("\\\\");
      return 1;
    case '\n':
      put("\\n");
      return 1;
    case '\r':
      put("\\r");
      return 1;
    case '\t':
      put("\\t");
      return 1;
    default:
      break;
  }
  if (octet(text[0]) < 0x80) {
    put_code(octet(text[0]));
    return 1;
  }
  const size_t length = utf8_length(text);
  if (length == 0) {
    put("\xef\xbf\xbd");
    return 1;
  }
  if (octet(text[0]) == 0xc2 && octet(text[1]) < 0xa0) {
    put_code(octet(text[1]));  // U+0080 to U+009F: the second octet is the code
  } else {
    put(text.substr(0, length));
  }
  return length;
}

void JsonLine::put_escaped(std::string_view text) {
  size_t run = 0;
  size_t at = 0;
  while (at < text.size()) {
    if (kPlain[octet(text[at])]) {
      ++at;
      continue;
    }
    put(text.substr(run, at - run));
    at += put_special(text.substr(at));
    run = at;
  }
  put(text.substr(run));
}

void JsonLine::key(std::string_view key) {
  put(first_ ? "\"" : ",\"");
  first_ = false;
  put(key);
  put("\":");
}

void JsonLine::text(std::string_view name, std::string_view value, size_t most) {
  key(name);
  put('"');
  put_escaped(clip(value, most));
  if (value.size() > most) put("\xe2\x80\xa6");
  put('"');
}

void JsonLine::words(std::string_view name, std::string_view list) {
  key(name);
  put('[');
  while (!list.empty()) {
    const size_t comma = list.find(',');
    put('"');
    put_escaped(list.substr(0, comma));
    put('"');
    if (comma == std::string_view::npos) break;
    put(',');
    list.remove_prefix(comma + 1);
  }
  put(']');
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

void JsonLine::seconds(std::string_view name, uint64_t value_us) {
  key(name);
  put_unsigned(value_us / kMicrosecondsPerSecond);
  put('.');
  put_padded(value_us % kMicrosecondsPerSecond, 6);
}

void JsonLine::boolean(std::string_view name, bool value) {
  key(name);
  put(value ? "true" : "false");
}

void JsonLine::time(std::string_view name, uint64_t wall_us) {
  using std::chrono::days;
  constexpr uint64_t kSecondsPerDay = 86400;
  const uint64_t second = wall_us / kMicrosecondsPerSecond;
  const auto day = static_cast<days::rep>(second / kSecondsPerDay);
  const std::chrono::year_month_day date{std::chrono::sys_days{days{day}}};
  const uint64_t in_day = second % kSecondsPerDay;
  key(name);
  put('"');
  put_padded(static_cast<uint64_t>(static_cast<int>(date.year())), 4);
  put('-');
  put_padded(static_cast<unsigned>(date.month()), 2);
  put('-');
  put_padded(static_cast<unsigned>(date.day()), 2);
  put('T');
  put_padded(in_day / 3600, 2);
  put(':');
  put_padded(in_day / 60 % 60, 2);
  put(':');
  put_padded(in_day % 60, 2);
  put('.');
  put_padded(wall_us / 1000 % 1000, 3);
  put("Z\"");
}

char* JsonLine::finish(bool truncated) {
  assert(!overflowed_);
  end_ += kTailBytes;
  if (truncated) boolean("truncated", true);
  put("}\n");
  assert(!overflowed_);
  return at_;
}

}  // namespace sluice::proxy
