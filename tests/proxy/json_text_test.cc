#include "proxy/json_text.h"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <string>

// What becomes of the octets of texts, and times, is in json_line_test.cc.
namespace sluice::proxy {
namespace {

// Writes into memory of its own, followed by a mark that has to stay.
template <typename Write>
std::string written(size_t most, Write write) {
  std::string memory(most, '?');
  memory += "####";
  const size_t size = static_cast<size_t>(write(memory.data()) - memory.data());
  REQUIRE(size <= most);
  REQUIRE(memory.substr(most) == "####");
  return memory.substr(0, size);
}

TEST_CASE("json text: numbers of any length have their digits and no others") {
  uint64_t power = 1;
  for (size_t digits = 1; digits <= kMostDigits; ++digits, power *= 10) {
    for (const uint64_t value : {power - 1, power, power + 1, power * 9 + power / 3, ~power}) {
      CHECK(written(kMostDigits, [&](char* to) { return write_unsigned(to, value); }) ==
            std::to_string(value));
    }
  }
  for (uint64_t value = 0; value < 20'000; ++value) {
    REQUIRE(written(5, [&](char* to) { return write_unsigned(to, value); }) == std::to_string(value));
  }
}

TEST_CASE("json text: seconds have six decimals") {
  for (const uint64_t value_us :
       {uint64_t{0}, uint64_t{7}, uint64_t{90}, uint64_t{12'345}, uint64_t{999'999}, uint64_t{1'000'000},
        uint64_t{61'000'007}, uint64_t{99'999'999'999}, ~uint64_t{0}}) {
    CHECK(written(kMostDigits + 1, [&](char* to) { return write_seconds(to, value_us); }) ==
          fmt::format("{}.{:06}", value_us / 1'000'000, value_us % 1'000'000));
  }
}

TEST_CASE("json text: a text takes as much room as was said, and no more") {
  const std::string kinds[] = {"a", "\"", "\n", "\x01", "\xc2\x85", "\xe2\x82\xac", "\xff"};
  for (const std::string& kind : kinds) {
    for (size_t before = 0; before < 17; ++before) {
      const std::string text = std::string(before, 'x') + kind + "y";
      const size_t size = json_size(text);
      CAPTURE(kind, before);
      CHECK(size >= text.size());
      CHECK(size <= kMostJsonPerOctet * text.size());
      CHECK(written(size, [&](char* to) { return write_json(to, text); }).size() == size);
    }
  }
}

}  // namespace
}  // namespace sluice::proxy
