// Whatever the text, parse gives a valid configuration or errors with
// positions inside the text, and never crashes.
#include <algorithm>
#include <catch2/catch.hpp>
#include <random>
#include <string>

#include "conf/diff.h"
#include "conf/document.h"
#include "conf/render.h"
#include "tests/conf/fixtures.h"

using namespace sluice::conf;

namespace {

constexpr uint64_t kSeed = 20240607;

// Snippets that change a text's meaning more often than single bytes do.
constexpr const char* kSnippets[] = {"[",       "]",    "[[",        "{",          "}",
                                     "=",       "\"",   "'''",       "\"\"\"",     "\n",
                                     ".",       "-1",   "1e400",     "nan",        "0x7fffffff",
                                     "true",    "[]",   "{}",        "service",    "blue",
                                     "\\u0000", "\xff", "\xc3",      "1979-05-27", "99999999999999999999",
                                     "unix:",   "dns:", "endpoints", "#",          "\r",
                                     "\t"};

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  std::string mutate(std::string text) {
    for (uint64_t i = 0, edits = 1 + below(4); i < edits; ++i) edit(text);
    return text;
  }

 private:
  uint64_t below(uint64_t limit) { return random_() % limit; }

  void edit(std::string& text) {
    const size_t at = below(text.size() + 1);
    const size_t length = std::min<size_t>(below(30), text.size() - at);
    switch (below(5)) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, kSnippets[below(std::size(kSnippets))]);
        break;
      case 2:
        text.replace(at, length, kSnippets[below(std::size(kSnippets))]);
        break;
      case 3:
        text.insert(at, text.substr(below(text.size() + 1), below(200)));
        break;
      default:
        if (at < text.size()) text[at] = static_cast<char>(below(256));
    }
  }

  std::mt19937_64 random_;
};

void check_outcome(const std::string& text) {
  const ParseOutcome outcome = parse(text, "f");
  REQUIRE(outcome.ok() == outcome.errors.empty());
  const auto lines = static_cast<uint32_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  for (const Diagnostic& error : outcome.errors) {
    REQUIRE(error.position.line >= 1);
    REQUIRE(error.position.line <= lines);
    REQUIRE(error.position.column >= 1);
    REQUIRE(!error.message.empty());
  }
  if (!outcome.ok()) return;
  const ParseOutcome again = parse(render(*outcome.config), "f");
  INFO(again.to_string());
  REQUIRE(again.ok());
  for (const Change& change : diff(*outcome.config, *again.config)) {
    INFO(change.to_string());
    REQUIRE(change.path.ends_with("webhook_secret"));
  }
}

}  // namespace

TEST_CASE("mutated configurations parse or fail with positions, and what parses renders") {
  Mutator mutator(kSeed);
  for (int round = 0; round < 3000; ++round) {
    const std::string text = mutator.mutate(round % 2 == 0 ? kFullConfig : kSmallConfig);
    INFO("seed " << kSeed << ", round " << round << "\n" << text);
    check_outcome(text);
  }
}

TEST_CASE("every prefix of a configuration parses or fails with positions") {
  const std::string text = kFullConfig;
  for (size_t length = 0; length <= text.size(); length += 7) {
    INFO(length);
    check_outcome(text.substr(0, length));
  }
}

TEST_CASE("texts that once broke the TOML library's assumptions are plain errors") {
  CHECK(parse("[[[1]]]\n", "f").errors.size() == 1);
  CHECK(parse("[[=\n", "f").errors.size() == 1);
  CHECK(parse("ü = 1\n", "f").errors.size() == 1);
  CHECK(parse("a = ü\n", "f").errors.size() == 1);
  CHECK(parse("a = 1 ü\n", "f").errors.size() == 1);
  parse_valid("state_dir = \"\"\"/a\\\n   ü\"\"\"\n" + std::string(kSmallConfig));
}

TEST_CASE("endless keys are refused, however they are written") {
  std::string bare, quoted, dots_in_quotes, deep_arrays, deep_tables;
  for (int i = 0; i < 100000; ++i) {
    bare += "a.";
    quoted += "\"a\" . ";
    dots_in_quotes += "a.\"=.#,\".";
    deep_arrays += "[";
    deep_tables += "{a=";
  }
  for (const std::string& text :
       {bare + "a = 1\n", "[" + bare + "a]\n", "[[" + bare + "a]]\n", quoted + "a = 1\n",
        dots_in_quotes + "a = 1\n", "x = [\"\"\"q\"\"\"\"\", {" + bare + "a = 1}]\n",
        "x = ['''q''''', {" + bare + "a = 1}]\n"}) {
    const ParseOutcome outcome = parse(text, "f");
    REQUIRE(outcome.errors.size() == 1);
    CHECK(outcome.errors[0].message == "a key has more than 32 parts");
    CHECK(outcome.errors[0].position.line == 1);
  }
  CHECK(parse("x = " + deep_arrays, "f").errors.size() == 1);
  CHECK(parse("x = " + deep_tables, "f").errors.size() == 1);
}

TEST_CASE("dots in comments, strings and numbers are no key's parts") {
  std::string dots;
  for (size_t i = 0; i < kMaxKeyParts * 2; ++i) dots += "a.";
  parse_valid("# " + dots + "\nstate_dir = \"/" + dots + "\" # " + dots + "\n" + kSmallConfig +
              "[log]\naccess = '/" + dots + "'\nsample = 0.5\n");
}
