// Text to and from durations, sizes, percentages and plain numbers, as the
// configuration and the admin commands write them:
//
//   duration   "250ms" "5s" "2m" "1h"      whole number and unit, in milliseconds
//   size       "64KiB" "1MiB" "1GiB" "512" whole number and unit, in bytes
//   percentage "25" "0.01" "12.5%"         in hundredths of a percent, exactly
//
// format_* writes the shortest text that its parse_* reads back to the same
// value. An Error's detail says what is wrong and what to write instead; it
// never names the key, which the caller knows. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "conf/config.h"
#include "conf/result.h"

namespace sluice::conf {

// The error of a text that an operator has to mend.
Error invalid(std::string detail);

// `text` in double quotes, with TOML's escapes: also readable in a message.
std::string quote(std::string_view text);

// All of `text` as a decimal number without a sign.
std::optional<uint64_t> parse_unsigned(std::string_view text);

Result<uint32_t> parse_duration_ms(std::string_view text);  // at most 2^32 - 1 ms, 49 days
std::string format_duration_ms(uint64_t ms);

Result<uint64_t> parse_size_bytes(std::string_view text);
std::string format_size_bytes(uint64_t bytes);

Result<BasisPoints> parse_percent(std::string_view text);
// From a number of percent; 12.345 is an error, for it is no multiple of 0.01.
Result<BasisPoints> percent_to_basis_points(double percent);
std::string format_percent(BasisPoints share);

// The fewest digits that read back to the same number: "0.2", "1e-4", "1000".
std::string format_number(double number);

}  // namespace sluice::conf
