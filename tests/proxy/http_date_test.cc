#include "proxy/http_date.h"

#include <catch2/catch.hpp>
#include <string>

namespace sluice::proxy {
namespace {

std::string date_of(uint64_t seconds) {
  std::string text(kHttpDateBytes, '?');
  write_http_date(text.data(), seconds);
  return text;
}

TEST_CASE("an HTTP-date has the one form that senders use") {
  CHECK(date_of(0) == "Thu, 01 Jan 1970 00:00:00 GMT");
  CHECK(date_of(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT");  // the example of RFC 9110, 5.6.7
  CHECK(date_of(1709251199) == "Thu, 29 Feb 2024 23:59:59 GMT");
  CHECK(date_of(253402300799) == "Fri, 31 Dec 9999 23:59:59 GMT");
}

}  // namespace
}  // namespace sluice::proxy
