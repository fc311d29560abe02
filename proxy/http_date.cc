#include "proxy/http_date.h"

#include <chrono>
#include <cstring>

namespace sluice::proxy {
namespace {

constexpr char kWeekdays[] = "SunMonTueWedThuFriSat";
constexpr char kMonths[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

void put_digits(char* to, uint64_t value, size_t digits) {
  for (size_t i = digits; i > 0; --i, value /= 10) to[i - 1] = static_cast<char>('0' + value % 10);
}

}  // namespace

void write_http_date(char* to, uint64_t seconds) {
  using std::chrono::days;
  constexpr uint64_t kSecondsPerDay = 86400;
  const std::chrono::sys_days day{days{static_cast<days::rep>(seconds / kSecondsPerDay)}};
  const std::chrono::year_month_day date{day};
  const uint64_t in_day = seconds % kSecondsPerDay;
  std::memcpy(to, "www, dd mmm yyyy hh:mm:ss GMT", kHttpDateBytes);
  std::memcpy(to, kWeekdays + 3 * std::chrono::weekday{day}.c_encoding(), 3);
  put_digits(to + 5, static_cast<unsigned>(date.day()), 2);
  std::memcpy(to + 8, kMonths + 3 * (static_cast<unsigned>(date.month()) - 1), 3);
  put_digits(to + 12, static_cast<uint64_t>(static_cast<int>(date.year())), 4);
  put_digits(to + 17, in_day / 3600, 2);
  put_digits(to + 20, in_day / 60 % 60, 2);
  put_digits(to + 23, in_day % 60, 2);
}

}  // namespace sluice::proxy
