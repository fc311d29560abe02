#include "admin/demo_view.h"

#include <catch2/catch.hpp>

namespace sluice::admin {
namespace {

DemoPicture busy_picture() {
  DemoPicture picture;
  picture.scene = "The candidate has gone bad: every fifth answer is an error.";
  picture.split = 25;
  picture.tripped = true;
  picture.news =
      "web is back on blue: green's errors rose against 0.00 % normally and blue's did not: green 7 of 118 "
      "attempts, blue 0 of 349 attempts";
  picture.rates.answers[0] = 30;
  picture.rates.answers[1] = 10;
  return picture;
}

TEST_CASE("demo view: no line is as wide as the terminal, however narrow that is") {
  for (const size_t columns : {10, 20, 40, 80, 200}) {
    const std::vector<std::string> lines = demo_lines(busy_picture(), columns, false);
    for (const std::string& line : lines) CHECK(line.size() < columns);
  }
}

TEST_CASE("demo view: its height is always the same, so that each picture covers the one before") {
  const size_t height = demo_lines({}, 80, false).size();
  CHECK(demo_lines(busy_picture(), 80, false).size() == height);
  CHECK(demo_lines(busy_picture(), 20, true).size() == height);
}

TEST_CASE("demo view: long news goes on in a second line") {
  const std::vector<std::string> lines = demo_lines(busy_picture(), 80, false);
  CHECK(lines[lines.size() - 2].starts_with("  web is back on blue:"));
  CHECK(lines.back().ends_with("attempts"));
}

TEST_CASE("demo view: the bar shows who answered") {
  const std::vector<std::string> lines = demo_lines(busy_picture(), 80, false);
  CHECK(lines[2] == "  " + std::string(45, 'b') + std::string(15, 'g'));
  CHECK(demo_lines({}, 80, false)[2] == "  " + std::string(60, '.'));
}

}  // namespace
}  // namespace sluice::admin
