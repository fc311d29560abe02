#include "balancer/rollout_text.h"

#include <chrono>
#include <cstdarg>
#include <cstdio>

namespace sluice::balancer {
namespace {

[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...) {
  char text[64];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  return text;
}

}  // namespace

std::string percent(conf::BasisPoints split) {
  std::string text = std::to_string(split / 100);
  const unsigned rest = split % 100;
  if (rest != 0) {
    text +=
        rest % 10 == 0 ? "." + std::to_string(rest / 10) : (rest < 10 ? ".0" : ".") + std::to_string(rest);
  }
  return text + " %";
}

std::string percent_of(double rate) {
  return format("%.2f %%", rate * 100);
}

std::string rfc3339(int64_t unix_ms) {
  using std::chrono::milliseconds;
  const std::chrono::sys_time<milliseconds> time{milliseconds(unix_ms)};
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss<milliseconds> clock(time - day);
  return format("%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
}

std::string duration_text(uint64_t duration_ms) {
  const uint64_t seconds = duration_ms / 1000;
  if (seconds < 1) return std::to_string(duration_ms) + " ms";
  const uint64_t tenths = duration_ms / 100;
  if (seconds < 60) return format("%g s", static_cast<double>(tenths) / 10);
  if (seconds < 3600) return std::to_string(seconds / 60) + " m " + std::to_string(seconds % 60) + " s";
  return std::to_string(seconds / 3600) + " h " + std::to_string(seconds / 60 % 60) + " m";
}

}  // namespace sluice::balancer
