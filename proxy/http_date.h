// HTTP-date in its preferred form, IMF-fixdate (RFC 9110, 5.6.7):
// "Sun, 06 Nov 1994 08:49:37 GMT". Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::proxy {

inline constexpr size_t kHttpDateBytes = 29;

// Writes kHttpDateBytes octets, without a terminator, at `to`. `seconds` is Unix
// time, before the year 10000.
void write_http_date(char* to, uint64_t seconds);

}  // namespace sluice::proxy
