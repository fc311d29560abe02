#include "proxy/json_text.h"

#include <array>
#include <charconv>
#include <chrono>
#include <cstring>

#include "proxy/hex.h"

namespace sluice::proxy {

namespace {

constexpr uint64_t kMicrosecondsPerSecond = 1'000'000;

uint8_t octet(char c) {
  return static_cast<uint8_t>(c);
}

bool between(char c, uint8_t low, uint8_t high) {
  return octet(c) >= low && octet(c) <= high;
}

// What stands for itself between quotes: printable ASCII but " and \.
bool is_plain(char c) {
  return between(c, 0x20, 0x7e) && c != '"' && c != '\\';
}

// All octets' high bits are set when all of them are plain, and only then: one
// below 0x80 carries nothing over into the next in any of these sums, and one
// above has its own bit cleared.
uint64_t plain_octets(uint64_t octets) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  const auto differ = [&](char from) { return (octets ^ kOnes * octet(from)) + kOnes * 0x7f; };
  const uint64_t from_space = octets + kOnes * (0x80 - 0x20);
  const uint64_t past_tilde = octets + kOnes;  // 0x7f becomes 0x80
  return from_space & differ('"') & differ('\\') & ~(octets | past_tilde);
}

constexpr uint64_t kHighBits = 0x8080808080808080;

// Copies so many octets and tells which of them are plain, in their high bits.
template <typename Word>
uint64_t copy(char* to, const char* from) {
  Word octets;
  std::memcpy(&octets, from, sizeof(octets));
  std::memcpy(to, &octets, sizeof(octets));
  return plain_octets(octets);
}

// How the first character of a text is written, and of how many octets it was.
struct Escaped {
  size_t taken = 0;
  size_t size = 0;
  char bytes[kMostJsonPerOctet];
};

Escaped as(std::string_view bytes, size_t taken) {
  Escaped result;
  result.taken = taken;
  result.size = bytes.size();
  std::memcpy(result.bytes, bytes.data(), bytes.size());
  return result;
}

Escaped as_code(uint8_t code, size_t taken) {
  char text[] = {'\\', 'u', '0', '0', '0', '0'};
  write_hex_pair(text + 4, code);
  return as({text, sizeof(text)}, taken);
}

Escaped escape_first(std::string_view text) {
  const char first = text[0];
  if (is_plain(first)) return as(text.substr(0, 1), 1);
  switch (first) {
    case '"':
      return as("\\\"", 1);
    case '\\':
      return as("\\\\", 1);
    case '\n':
      return as("\\n", 1);
    case '\r':
      return as("\\r", 1);
    case '\t':
      return as("\\t", 1);
    default:
      break;
  }
  if (octet(first) < 0x80) return as_code(octet(first), 1);
  const size_t length = utf8_length(text);
  if (length == 0) return as("\xef\xbf\xbd", 1);
  // U+0080 to U+009F: the second octet is the code.
  if (octet(first) == 0xc2 && octet(text[1]) < 0xa0) return as_code(octet(text[1]), length);
  return as(text.substr(0, length), length);
}

// Kept out of write_json(), which then needs no stack for what it seldom calls.
[[gnu::noinline]] char* write_escaped(char* to, std::string_view text) {
  while (!text.empty()) {
    const Escaped next = escape_first(text);
    std::memcpy(to, next.bytes, next.size);
    to += next.size;
    text.remove_prefix(next.taken);
  }
  return to;
}

// The two digits of each number below 100.
constexpr std::array<char, 200> kDecimalPairs = [] {
  std::array<char, 200> pairs{};
  for (size_t number = 0; number < 100; ++number) {
    pairs[2 * number] = static_cast<char>('0' + number / 10);
    pairs[2 * number + 1] = static_cast<char>('0' + number % 10);
  }
  return pairs;
}();

// Two digits of a number below 100.
char* write_pair(char* to, uint32_t value) {
  std::memcpy(to, &kDecimalPairs[size_t{2} * value], 2);
  return to + 2;
}

// Of 1 or 2 digits.
char* write_short(char* to, uint32_t value) {
  if (value >= 10) return write_pair(to, value);
  *to = static_cast<char>('0' + value);
  return to + 1;
}

// All but the milliseconds.
void write_second(char (&text)[kTimeBytes], uint64_t second) {
  using std::chrono::days;
  constexpr uint64_t kSecondsPerDay = 86400;
  const auto day = static_cast<days::rep>(second / kSecondsPerDay);
  const std::chrono::year_month_day date{std::chrono::sys_days{days{day}}};
  const auto in_day = static_cast<uint32_t>(second % kSecondsPerDay);
  const auto year = static_cast<uint32_t>(static_cast<int>(date.year()));
  std::memcpy(text, "0000-00-00T00:00:00.000Z", kTimeBytes);
  write_pair(text, year / 100 % 100);
  write_pair(text + 2, year % 100);
  write_pair(text + 5, static_cast<unsigned>(date.month()));
  write_pair(text + 8, static_cast<unsigned>(date.day()));
  write_pair(text + 11, in_day / 3600);
  write_pair(text + 14, in_day / 60 % 60);
  write_pair(text + 17, in_day % 60);
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

std::string_view clip(std::string_view text, size_t most) {
  if (text.size() <= most) return text;
  size_t length = most;
  for (int i = 0; i < 3 && length > 0 && between(text[length], 0x80, 0xbf); ++i) --length;
  return text.substr(0, length);
}

size_t json_size(std::string_view text) {
  size_t size = 0;
  while (!text.empty()) {
    const Escaped next = escape_first(text);
    size += next.size;
    text.remove_prefix(next.taken);
  }
  return size;
}

// Copies words and looks at them on the way; the last one overlaps the one before
// it. A text with anything special in it, which few have, is written once more.
char* write_json(char* to, std::string_view text) {
  const char* const from = text.data();
  const size_t size = text.size();
  uint64_t plain = kHighBits;
  if (size >= 8) {
    for (size_t at = 0; at + 8 < size; at += 8) plain &= copy<uint64_t>(to + at, from + at);
    plain &= copy<uint64_t>(to + size - 8, from + size - 8);
  } else if (size >= 4) {
    plain = copy<uint32_t>(to, from) & copy<uint32_t>(to + size - 4, from + size - 4) & kHighBits >> 32;
    plain |= kHighBits << 32;
  } else {
    for (size_t at = 0; at < size; ++at) {
      to[at] = from[at];
      if (!is_plain(from[at])) plain = 0;
    }
  }
  return (plain & kHighBits) == kHighBits ? to + size : write_escaped(to, text);
}

char* write_unsigned(char* to, uint64_t value) {
  if (value < 100) return write_short(to, static_cast<uint32_t>(value));
  if (value >= 10'000) return std::to_chars(to, to + kMostDigits, value).ptr;
  const auto four = static_cast<uint32_t>(value);
  return write_pair(write_short(to, four / 100), four % 100);
}

char* write_seconds(char* to, uint64_t value_us) {
  // As most waits are: no queue, a connection that was there.
  constexpr std::string_view kNone = "0.000000";
  if (value_us == 0) {
    std::memcpy(to, kNone.data(), kNone.size());
    return to + kNone.size();
  }
  to = write_unsigned(to, value_us / kMicrosecondsPerSecond);
  const auto fraction = static_cast<uint32_t>(value_us % kMicrosecondsPerSecond);
  *to++ = '.';
  to = write_pair(to, fraction / 10'000);
  to = write_pair(to, fraction / 100 % 100);
  return write_pair(to, fraction % 100);
}

char* write_time(char* to, uint64_t wall_us) {
  // The date of a second serves all lines of that second.
  struct Stamp {
    uint64_t second = ~uint64_t{0};
    char text[kTimeBytes];
  };
  thread_local Stamp stamp;
  const uint64_t second = wall_us / kMicrosecondsPerSecond;
  if (second != stamp.second) {
    write_second(stamp.text, second);
    stamp.second = second;
  }
  const auto milliseconds = static_cast<uint32_t>(wall_us / 1000 % 1000);
  std::memcpy(to, stamp.text, kTimeBytes);
  to[20] = static_cast<char>('0' + milliseconds / 100);
  write_pair(to + 21, milliseconds % 100);
  return to + kTimeBytes;
}

}  // namespace sluice::proxy
