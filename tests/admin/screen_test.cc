#include "admin/screen.h"

#include <catch2/catch.hpp>
#include <string>

namespace sluice::admin {
namespace {

constexpr TerminalSize kTerminal{5, 10};

TEST_CASE("screen: without a terminal each text that differs is printed whole", "[screen]") {
  Screen screen;
  CHECK(screen.empty());
  CHECK(screen.show("a\nb\nc\nd\ne\nf\ng", {}, false) == "a\nb\nc\nd\ne\nf\ng\n");
  CHECK_FALSE(screen.empty());
  CHECK(screen.show("a\nb\nc\nd\ne\nf\ng", {}, false).empty());
  CHECK(screen.show("a", {}, false) == "a\n");
}

TEST_CASE("screen: on a terminal a text takes the place of the one before", "[screen]") {
  Screen screen;
  CHECK(screen.show("a\nb", kTerminal, false) == "a\nb\n");
  CHECK(screen.show("a\nb", kTerminal, false).empty());
  CHECK(screen.show("a\n\nc", kTerminal, false) == "\033[2F\033[Ja\n\nc\n");
  CHECK(screen.show("a", kTerminal, false) == "\033[3F\033[Ja\n");
}

TEST_CASE("screen: lines that are wrapped count for the rows that they take", "[screen]") {
  Screen screen;
  CHECK(screen.show("0123456789\n0123456789a", kTerminal, false) == "0123456789\n0123456789a\n");
  CHECK(screen.show("\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588", kTerminal, false) ==
        "\033[3F\033[J\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\n");
  CHECK(screen.show("a", kTerminal, false) == "\033[1F\033[Ja\n");
}

TEST_CASE("screen: what is higher than the terminal is cut, and whole at the end", "[screen]") {
  Screen screen;
  CHECK(screen.show("a\nb\nc\nd", kTerminal, false) == "a\nb\nc\nd\n");
  CHECK(screen.show("a\nb\nc\nd\ne", kTerminal, false) == "\033[4F\033[Ja\nb\nc\n(2 more)\n");
  CHECK(screen.show("a\n0123456789abc\nc\nd\ne", kTerminal, false) ==
        "\033[4F\033[Ja\n0123456789abc\n(3 more)\n");
  CHECK(screen.show("a\nb\nc\nd\ne", kTerminal, true) == "\033[4F\033[Ja\nb\nc\nd\ne\n");
}

TEST_CASE("screen: of a line that is higher than the terminal its beginning is shown", "[screen]") {
  Screen screen;
  CHECK(screen.show(std::string(50, 'x') + "\nb", kTerminal, false) == std::string(30, 'x') + "\n(2 more)\n");
  CHECK(screen.show("a", kTerminal, false) == "\033[4F\033[Ja\n");
}

TEST_CASE("screen: a terminal of one row still shows something", "[screen]") {
  Screen screen;
  CHECK(screen.show("a\nb\nc", {1, 10}, false) == "a\n(2 more)\n");
}

}  // namespace
}  // namespace sluice::admin
