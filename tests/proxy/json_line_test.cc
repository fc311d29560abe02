#include "proxy/json_line.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>

// What both logs make of it is in their tests.
namespace sluice::proxy {
namespace {

using Json = nlohmann::json;

std::string line_of(const std::string& text) {
  char memory[512];
  JsonLine line(memory, memory + sizeof(memory));
  line.text("text", text);
  REQUIRE(!line.overflowed());
  return {memory, line.finish()};
}

TEST_CASE("json line: each octet is itself again, wherever it stands in a text") {
  for (size_t size = 1; size <= 18; ++size) {
    for (size_t at = 0; at < size; ++at) {
      for (int octet = 0; octet < 0x80; ++octet) {
        std::string text(size, 'a');
        text[at] = static_cast<char>(octet);
        const std::string line = line_of(text);
        CAPTURE(size, at, octet);
        REQUIRE(Json::parse(line)["text"] == text);
        // Nothing that acts on a terminal, and nothing escaped that need not be.
        const bool special = octet < 0x20 || octet == 0x7f || octet == '"' || octet == '\\';
        REQUIRE((line == "{\"text\":\"" + text + "\"}\n") == !special);
      }
    }
  }
}

TEST_CASE("json line: octets above ASCII become U+FFFD where they are no UTF-8, wherever they stand") {
  for (size_t at = 0; at < 18; ++at) {
    for (int octet = 0x80; octet < 0x100; ++octet) {
      std::string text(18, 'a'), wanted(text);
      text[at] = static_cast<char>(octet);
      wanted.replace(at, 1, "\xef\xbf\xbd");
      CAPTURE(at, octet);
      REQUIRE(Json::parse(line_of(text))["text"] == wanted);
    }
  }
}

TEST_CASE("json line: the last octets of the memory are used, and none past them") {
  const std::string text(40, 'x');
  const std::string whole = line_of(text);
  for (size_t size = 0; size < whole.size() + JsonLine::kTailBytes + 2; ++size) {
    std::string memory(size + 8, '#');
    JsonLine line(memory.data(), memory.data() + size);
    line.text("text", text);
    CAPTURE(size);
    // The tail has room for the end of the line beside what was set aside.
    REQUIRE(line.overflowed() == (size < whole.size() - 2 + JsonLine::kTailBytes));
    if (!line.overflowed()) REQUIRE(std::string(memory.data(), line.finish()) == whole);
    REQUIRE(memory.substr(size) == "########");
  }
}

TEST_CASE("json line: numbers fit up to the last octet") {
  constexpr uint64_t kLargest = ~uint64_t{0};
  const std::string whole = "{\"n\":18446744073709551615}\n";
  const size_t needed = whole.size() - 2 + JsonLine::kTailBytes;
  for (size_t size = needed - 3; size < needed + 3; ++size) {
    std::string memory(size, '#');
    JsonLine line(memory.data(), memory.data() + size);
    line.number("n", kLargest);
    CAPTURE(size);
    REQUIRE(line.overflowed() == (size < needed));
    if (!line.overflowed()) REQUIRE(std::string(memory.data(), line.finish()) == whole);
  }
}

TEST_CASE("json line: an object without a member is one") {
  char memory[64];
  JsonLine line(memory, memory + sizeof(memory));
  CHECK(std::string(memory, line.finish()) == "{}\n");
  JsonLine cut(memory, memory + sizeof(memory));
  CHECK(std::string(memory, cut.finish(true)) == "{\"truncated\":true}\n");
}

TEST_CASE("json line: a time has the date of its second, from one second and day to the next") {
  const auto time_of = [](uint64_t wall_us) {
    char memory[96];
    JsonLine line(memory, memory + sizeof(memory));
    line.time("t", wall_us);
    return Json::parse(std::string(memory, line.finish()))["t"].get<std::string>();
  };
  constexpr uint64_t kMidnightUs = 1'772'323'200'000'000;
  CHECK(time_of(kMidnightUs - 1) == "2026-02-28T23:59:59.999Z");
  CHECK(time_of(kMidnightUs) == "2026-03-01T00:00:00.000Z");
  CHECK(time_of(kMidnightUs + 7'000) == "2026-03-01T00:00:00.007Z");
  CHECK(time_of(kMidnightUs + 1'120'000) == "2026-03-01T00:00:01.120Z");
  CHECK(time_of(0) == "1970-01-01T00:00:00.000Z");
}

}  // namespace
}  // namespace sluice::proxy
