#include "admin/command_line.h"

#include <catch2/catch.hpp>
#include <random>

namespace sluice::admin {
namespace {

using Words = std::vector<std::string>;
using Views = std::vector<std::string_view>;

TEST_CASE("command line: semicolons separate commands and empty ones are left out") {
  CHECK(split_commands("show info") == Views{"show info"});
  CHECK(split_commands(" show info ;; show split web\r") == Views{"show info", "show split web"});
  CHECK(split_commands(" ; \t;").empty());
  CHECK(split_commands("").empty());
}

TEST_CASE("command line: a quoted semicolon separates nothing") {
  CHECK(split_commands(R"(trip web "bad; very bad"; help)") == Views{R"(trip web "bad; very bad")", "help"});
  CHECK(split_commands(R"(trip web "a \" ; b"; help)") == Views{R"(trip web "a \" ; b")", "help"});
}

TEST_CASE("command line: words are divided at blanks and quotes join them") {
  CHECK(parse_command("set  weight\tweb green=25").value().words ==
        Words{"set", "weight", "web", "green=25"});
  CHECK(parse_command(R"(trip web "two words" "")").value().words == Words{"trip", "web", "two words", ""});
  CHECK(parse_command(R"(a"b c"d)").value().words == Words{"ab cd"});
  CHECK(parse_command(R"("\"\\\n")").value().words == Words{R"("\\n)"});
}

TEST_CASE("command line: json in front asks for JSON and is no word of the command") {
  const ParsedCommand parsed = parse_command("json show json").value();
  CHECK(parsed.format == Format::json);
  CHECK(parsed.words == Words{"show", "json"});
  CHECK(parse_command("show json").value().format == Format::text);
}

TEST_CASE("command line: what is no UTF-8 text is an error, and so are control characters") {
  CHECK(parse_command("trip web \xc3\xa9t\xc3\xa9 \xf0\x9f\x9a\xa6").ok());
  for (const char* const wrong :
       {"\xff", "trip web \xc3(", "\xe2\x82", "\xed\xa0\x80", "a\x1b[2J", "a\x7f", "a\xc2\x9b"}) {
    CHECK(!parse_command(wrong).ok());
  }
  CHECK(!parse_command(std::string_view("a\0b", 3)).ok());
}

TEST_CASE("command line: a quote without an end is an error") {
  CHECK(!parse_command(R"(trip web "oh)").ok());
}

TEST_CASE("command line: any word comes back from its quoted form") {
  constexpr uint32_t kSeed = 7041;
  INFO("seed " << kSeed);
  std::mt19937 random(kSeed);
  constexpr std::string_view kOctets = "ab;\"\\ \t=";
  for (int round = 0; round < 5000; ++round) {
    std::string word;
    const size_t size = random() % 8;
    for (size_t i = 0; i < size; ++i) word += kOctets[random() % kOctets.size()];
    const std::string line = "x " + quote_word(word) + "; y";
    const Views commands = split_commands(line);
    REQUIRE(commands.size() == 2);
    REQUIRE(parse_command(commands[0]).value().words == Words{"x", word});
  }
}

}  // namespace
}  // namespace sluice::admin
