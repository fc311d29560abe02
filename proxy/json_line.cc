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

// Two digits of a number below 100.
void put_pair(char* at, uint32_t value) {
  at[0] = static_cast<char>('0' + value / 10);
  at[1] = static_cast<char>('0' + value % 10);
}

// Are all eight octets kPlain? An octet's high bit is set in one of the terms if
// not, perhaps also in that of one above it, which changes no answer ("Determine
// if a word has a byte less than n", S. E. Anderson, Bit Twiddling Hacks).
bool all_plain(uint64_t octets) {
  constexpr uint64_t kOnes = 0x0101010101010101, kHighs = 0x8080808080808080;
  const auto has_zero = [](uint64_t x) { return (x - kOnes) & ~x; };
  const uint64_t below_space = octets - kOnes * 0x20;
  const uint64_t above_tilde = octets + kOnes;  // 0x7f becomes 0x80
  return ((below_space | above_tilde | octets | has_zero(octets ^ kOnes * '"') |
           has_zero(octets ^ kOnes * '\\')) &
          kHighs) == 0;
}

// `text`: 26 octets, of which all but the milliseconds are written.
void write_second(char* text, uint64_t second) {
  using std::chrono::days;
  constexpr uint64_t kSecondsPerDay = 86400;
  const auto day = static_cast<days::rep>(second / kSecondsPerDay);
  const std::chrono::year_month_day date{std::chrono::sys_days{days{day}}};
  const auto in_day = static_cast<uint32_t>(second % kSecondsPerDay);
  const auto year = static_cast<uint32_t>(static_cast<int>(date.year()));
  std::memcpy(text, "\"0000-00-00T00:00:00.000Z\"", 26);
  put_pair(text + 1, year / 100 % 100);
  put_pair(text + 3, year % 100);
  put_pair(text + 6, static_cast<unsigned>(date.month()));
  put_pair(text + 9, static_cast<unsigned>(date.day()));
  put_pair(text + 12, in_day / 3600);
  put_pair(text + 15, in_day / 60 % 60);
  put_pair(text + 18, in_day % 60);
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
    overflow();
  } else {
    end_ -= kTailBytes;
  }
}

void JsonLine::put_unsigned(uint64_t value) {
  constexpr size_t kMostDigits = 20;
  if (room() >= kMostDigits) {
    at_ = std::to_chars(at_, end_, value).ptr;
    return;
  }
  char digits[kMostDigits];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  put({digits, static_cast<size_t>(end - digits)});
}

void JsonLine::put_seconds(uint64_t value_us) {
  put_unsigned(value_us / kMicrosecondsPerSecond);
  const auto fraction = static_cast<uint32_t>(value_us % kMicrosecondsPerSecond);
  char text[] = {'.', 0, 0, 0, 0, 0, 0};
  put_pair(text + 1, fraction / 10'000);
  put_pair(text + 3, fraction / 100 % 100);
  put_pair(text + 5, fraction % 100);
  put({text, sizeof(text)});
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

// Never writes less than the text has, so room for that is room for what is plain.
void JsonLine::put_quoted(std::string_view text) {
  if (room() < text.size() + 2) return overflow();
  char* at = at_;
  *at++ = '"';
  const char* from = text.data();
  size_t left = text.size();
  uint64_t eight = 0;
  for (; left >= sizeof(eight); left -= sizeof(eight), from += sizeof(eight), at += sizeof(eight)) {
    std::memcpy(&eight, from, sizeof(eight));
    if (!all_plain(eight)) break;
    std::memcpy(at, &eight, sizeof(eight));
  }
  for (; left > 0 && kPlain[octet(*from)]; --left) *at++ = *from++;
  at_ = at;
  if (left > 0) put_escaped({from, left});
  put('"');
}

void JsonLine::put_text(std::string_view value, size_t most) {
  if (value.size() <= most) return put_quoted(value);
  put('"');
  put_escaped(clip(value, most));
  put("\xe2\x80\xa6\"");
}

void JsonLine::words(std::string_view name, std::string_view list) {
  key(name);
  put('[');
  while (!list.empty()) {
    const size_t comma = list.find(',');
    put_quoted(list.substr(0, comma));
    if (comma == std::string_view::npos) break;
    put(',');
    list.remove_prefix(comma + 1);
  }
  put(']');
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

void JsonLine::time(std::string_view name, uint64_t wall_us) {
  // The date of a second serves all lines of that second.
  struct Stamp {
    uint64_t second = ~uint64_t{0};
    char text[26];  // "2024-05-01T10:00:00.123Z" in quotes
  };
  thread_local Stamp stamp;
  const uint64_t second = wall_us / kMicrosecondsPerSecond;
  if (second != stamp.second) {
    write_second(stamp.text, second);
    stamp.second = second;
  }
  const auto milliseconds = static_cast<uint32_t>(wall_us / 1000 % 1000);
  stamp.text[21] = static_cast<char>('0' + milliseconds / 100);
  put_pair(stamp.text + 22, milliseconds % 100);
  key(name);
  put({stamp.text, sizeof(stamp.text)});
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
