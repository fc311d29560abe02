#include "admin/ctl.h"

#include <catch2/catch.hpp>
#include <cstdlib>

namespace sluice::admin {
namespace {

std::string line(std::vector<std::string> words, bool json = false) {
  return ctl_line({"", json, std::move(words)});
}

TEST_CASE("ctl: words become one line, quoted where they must be") {
  CHECK(line({"set", "weight", "web", "green=25"}) == "set weight web green=25\n");
  CHECK(line({"trip", "web", "looks bad; very"}) == "trip web \"looks bad; very\"\n");
  CHECK(line({"show", "split", ";", "show", "info"}) == "show split ; show info\n");
}

TEST_CASE("ctl: a single word is a whole line") {
  CHECK(line({"show split; show info"}) == "show split; show info\n");
  CHECK(line({"show split\nshutdown"}) == "show split shutdown\n");
}

TEST_CASE("ctl: --json asks for JSON from each command") {
  CHECK(line({"show", "split"}, true) == "json show split\n");
  CHECK(line({"show split; show info"}, true) == "json show split; json show info\n");
}

TEST_CASE("ctl: an unreachable socket and no command exit with 2") {
  CHECK(run_ctl({"/nonexistent/admin.sock", false, {"show", "info"}}) == 2);
  CHECK(run_ctl({"/nonexistent/admin.sock", false, {}}) == 2);
}

}  // namespace
}  // namespace sluice::admin
