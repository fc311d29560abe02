// What the lines of both logs are made of: texts, numbers and times as JSON has
// them (RFC 8259), written to memory whose room is the caller's affair; each
// says how much it needs at most. All return the octet after the last.
//
// Texts may hold any octets and come out as valid JSON in valid UTF-8: what is
// no UTF-8 becomes U+FFFD, octet by octet; control characters, also DEL and C1,
// are escaped, so that nothing in a log acts on a terminal.
//
// Pure functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::proxy {

// The length of the well-formed sequence of several octets that the text, which
// is not empty, begins with (Unicode 15, table 3-7), or 0.
size_t utf8_length(std::string_view text);

// The longest part of at most `most` octets that cuts no character in two.
std::string_view clip(std::string_view text, size_t most);

// The text without the quotes around it: json_size() octets, at least as many as
// it has and at most kMostJsonPerOctet times that.
inline constexpr size_t kMostJsonPerOctet = 6;  // "\u0000"
size_t json_size(std::string_view text);
char* write_json(char* to, std::string_view text);

// Decimal digits: kMostDigits at most.
inline constexpr size_t kMostDigits = 20;
char* write_unsigned(char* to, uint64_t value);

// Seconds with six decimals: kMostDigits + 1 octets at most.
char* write_seconds(char* to, uint64_t value_us);

// RFC 3339 in UTC with milliseconds, from microseconds since the epoch.
inline constexpr size_t kTimeBytes = 24;  // 2024-05-01T10:00:00.123Z
char* write_time(char* to, uint64_t wall_us);

}  // namespace sluice::proxy
