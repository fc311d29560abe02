#include "conf/units.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

namespace sluice::conf {
namespace {

struct Unit {
  std::string_view name;
  uint64_t factor;
};
// Largest first: format_* takes the first that divides.
constexpr Unit kDurations[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
constexpr Unit kSizes[] = {{"GiB", 1ULL << 30}, {"MiB", 1ULL << 20}, {"KiB", 1ULL << 10}, {"B", 1}};

const Unit* find_unit(std::span<const Unit> units, std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) return &unit;
  }
  return nullptr;
}

const Unit& largest_divisor(std::span<const Unit> units, uint64_t amount) {
  for (const Unit& unit : units) {
    if (amount % unit.factor == 0) return unit;
  }
  return units.back();
}

std::optional<uint64_t> scale(std::string_view digits, uint64_t factor) {
  const std::optional<uint64_t> number = parse_unsigned(digits);
  if (!number || *number > std::numeric_limits<uint64_t>::max() / factor) return std::nullopt;
  return *number * factor;
}

std::pair<std::string_view, std::string_view> split_digits(std::string_view text) {
  const size_t end = std::min(text.find_first_not_of("0123456789"), text.size());
  return {text.substr(0, end), text.substr(end)};
}

Error bad_percent(const std::string& text) {
  return invalid(text + " is not a percentage: write 0 to 100 in steps of 0.01");
}

// A word of a command, which may be empty.
std::string in_ticks(std::string_view word) {
  return "'" + std::string(word) + "'";
}

}  // namespace

Error invalid(std::string detail) {
  return {Error::Kind::invalid, Error::Source::operator_, false, std::move(detail)};
}

std::string quote(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::optional<uint64_t> parse_unsigned(std::string_view text) {
  uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

Result<uint32_t> parse_duration_ms(std::string_view text) {
  const auto [digits, name] = split_digits(text);
  const Unit* unit = find_unit(kDurations, name);
  if (digits.empty() || unit == nullptr) {
    return invalid(quote(text) +
                   " is not a duration: write a whole number and ms, s, m or h, as in \"250ms\"");
  }
  const std::optional<uint64_t> ms = scale(digits, unit->factor);
  if (!ms || *ms > std::numeric_limits<uint32_t>::max()) {
    return invalid(quote(text) + " is too long: a duration is at most 49 days");
  }
  return static_cast<uint32_t>(*ms);
}

std::string format_duration_ms(uint64_t ms) {
  if (ms == 0) return "0s";
  const Unit& unit = largest_divisor(kDurations, ms);
  return std::to_string(ms / unit.factor).append(unit.name);
}

Result<uint64_t> parse_size_bytes(std::string_view text) {
  const auto [digits, name] = split_digits(text);
  const Unit* unit = find_unit(kSizes, name.empty() ? "B" : name);
  if (digits.empty() || unit == nullptr) {
    return invalid(quote(text) +
                   " is not a size: write a whole number and B, KiB, MiB or GiB, as in \"64KiB\"");
  }
  const std::optional<uint64_t> bytes = scale(digits, unit->factor);
  if (!bytes) return invalid(quote(text) + " is too large: a size has to fit 64 bits");
  return *bytes;
}

std::string format_size_bytes(uint64_t bytes) {
  if (bytes == 0) return "0B";
  const Unit& unit = largest_divisor(kSizes, bytes);
  return std::to_string(bytes / unit.factor).append(unit.name);
}

Result<BasisPoints> parse_percent(std::string_view text) {
  std::string_view number = text;
  if (number.ends_with('%')) number.remove_suffix(1);
  const auto [whole, rest] = split_digits(number);
  std::string hundredths(rest.empty() ? "" : rest.substr(1));
  const bool point_is_alone = !rest.empty() && (rest[0] != '.' || hundredths.empty());
  if (point_is_alone || hundredths.size() > 2) return bad_percent(in_ticks(text));
  hundredths.resize(2, '0');
  const std::optional<uint64_t> share = scale(whole, 100);
  const std::optional<uint64_t> part = parse_unsigned(hundredths);
  if (!share || !part || *share > kFullSplit || *share + *part > kFullSplit)
    return bad_percent(in_ticks(text));
  return static_cast<BasisPoints>(*share + *part);
}

Result<BasisPoints> percent_to_basis_points(double percent) {
  // The nearest double to a multiple of 0.01 is off by less than 1e-14, which
  // the product keeps under 1e-11; what is further off was not such a multiple.
  constexpr double kRounding = 1e-9;
  const double share = std::round(percent * 100);
  if (!(percent >= 0 && percent <= 100) || std::abs(percent * 100 - share) > kRounding) {
    return bad_percent(format_number(percent));
  }
  return static_cast<BasisPoints>(share);
}

std::string format_percent(BasisPoints share) {
  std::string out = std::to_string(share / 100);
  const uint32_t part = share % 100;
  if (part == 0) return out;
  out += '.';
  out += static_cast<char>('0' + part / 10);
  if (part % 10 != 0) out += static_cast<char>('0' + part % 10);
  return out;
}

std::string format_number(double number) {
  char buffer[32];  // the longest double takes 24
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, number);
  std::string out(buffer, result.ptr);
  const size_t exponent = out.find("e-0");
  if (exponent != std::string::npos) out.erase(exponent + 2, 1);
  return out;
}

}  // namespace sluice::conf
