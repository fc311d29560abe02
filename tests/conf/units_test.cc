#include "conf/units.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <string>

using namespace sluice::conf;

TEST_CASE("durations are read in milliseconds") {
  CHECK(*parse_duration_ms("250ms") == 250);
  CHECK(*parse_duration_ms("5s") == 5000);
  CHECK(*parse_duration_ms("2m") == 120000);
  CHECK(*parse_duration_ms("1h") == 3600000);
  CHECK(*parse_duration_ms("0s") == 0);
  CHECK(*parse_duration_ms("4294967295ms") == 4294967295U);
}

TEST_CASE("what is no duration says what to write") {
  for (const char* text : {"", "5", "s", "5 s", "-5s", "+5s", "1.5s", "5sec", "5S", "1m30s", " 5s", "5s "}) {
    INFO(text);
    const auto result = parse_duration_ms(text);
    REQUIRE(!result);
    CHECK(result.error().kind == Error::Kind::invalid);
    CHECK(result.error().source == Error::Source::operator_);
    CHECK(result.error().detail == quote(text) +
                                       " is not a duration: write a whole number and ms, s, m or h, as in "
                                       "\"250ms\"");
  }
  for (const char* text : {"4294967296ms", "1200h", "99999999999999999999s", "18446744073709551615h"}) {
    INFO(text);
    REQUIRE(!parse_duration_ms(text));
    CHECK(parse_duration_ms(text).error().detail ==
          quote(text) + " is too long: a duration is at most 49 days");
  }
}

TEST_CASE("durations are written with the largest unit that divides them") {
  CHECK(format_duration_ms(0) == "0s");
  CHECK(format_duration_ms(250) == "250ms");
  CHECK(format_duration_ms(1500) == "1500ms");
  CHECK(format_duration_ms(60000) == "1m");
  CHECK(format_duration_ms(90000) == "90s");
  CHECK(format_duration_ms(7200000) == "2h");
}

TEST_CASE("sizes are read in bytes") {
  CHECK(*parse_size_bytes("512") == 512);
  CHECK(*parse_size_bytes("512B") == 512);
  CHECK(*parse_size_bytes("64KiB") == 65536);
  CHECK(*parse_size_bytes("1MiB") == 1048576);
  CHECK(*parse_size_bytes("2GiB") == 2147483648U);
}

TEST_CASE("what is no size says what to write") {
  for (const char* text : {"", "KiB", "64KB", "64kib", "64 KiB", "-1", "1.5MiB", "0x10"}) {
    INFO(text);
    REQUIRE(!parse_size_bytes(text));
    CHECK(parse_size_bytes(text).error().detail ==
          quote(text) + " is not a size: write a whole number and B, KiB, MiB or GiB, as in \"64KiB\"");
  }
  REQUIRE(!parse_size_bytes("99999999999GiB"));
  CHECK(parse_size_bytes("99999999999GiB").error().detail ==
        "\"99999999999GiB\" is too large: a size has to fit 64 bits");
}

TEST_CASE("percentages are exact in steps of 0.01") {
  CHECK(*parse_percent("0") == 0);
  CHECK(*parse_percent("25") == 2500);
  CHECK(*parse_percent("25%") == 2500);
  CHECK(*parse_percent("12.5") == 1250);
  CHECK(*parse_percent("0.01") == 1);
  CHECK(*parse_percent("99.99") == 9999);
  CHECK(*parse_percent("100") == 10000);
  CHECK(*parse_percent("100.00") == 10000);
  for (BasisPoints share = 0; share <= kFullSplit; ++share) {
    const std::string text = format_percent(share);
    INFO(text);
    REQUIRE(*parse_percent(text) == share);
    REQUIRE(*percent_to_basis_points(std::stod(text)) == share);
  }
}

TEST_CASE("what is no percentage is refused, not rounded") {
  for (const char* text : {"", "%", ".", ".5", "5.", "-1", "100.01", "101", "0.001", "1e1", "abc", "5.x",
                           "5,5", "99999999999999999999"}) {
    INFO(text);
    REQUIRE(!parse_percent(text));
    CHECK(parse_percent(text).error().detail ==
          "'" + std::string(text) + "' is not a percentage: write 0 to 100 in steps of 0.01");
  }
  for (const double number : {-0.01, 100.01, 0.005, 12.345, 0.010001, 1e300, std::nan(""), 1.0 / 3}) {
    INFO(number);
    CHECK(!percent_to_basis_points(number));
  }
}

TEST_CASE("format_number reads back to the same double") {
  CHECK(format_number(0.2) == "0.2");
  CHECK(format_number(1e-4) == "1e-4");
  CHECK(format_number(0.7) == "0.7");
  CHECK(format_number(1000) == "1000");
  CHECK(format_number(0) == "0");
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> exponent(-12, 12);
  for (int i = 0; i < 1000; ++i) {
    const double number = std::pow(10, exponent(random));
    REQUIRE(std::stod(format_number(number)) == number);
  }
}

TEST_CASE("quote escapes what TOML does not take as it is") {
  CHECK(quote("plain") == "\"plain\"");
  CHECK(quote("a\"b\\c") == R"("a\"b\\c")");
  CHECK(quote("a\nb\tc\x01\x7f") == R"("a\nb\tc\u0001\u007f")");
  CHECK(quote("größe") == "\"größe\"");
}
