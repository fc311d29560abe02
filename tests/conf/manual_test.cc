#include "conf/manual.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "conf/schema.h"

using namespace sluice::conf;

namespace {

std::string manual_path() {
  return std::filesystem::path(SLUICE_SOURCE_DIR) / "docs/man/sluice.toml.5";
}

}  // namespace

TEST_CASE("docs/man/sluice.toml.5 is what the schema says") {
  std::ifstream file(manual_path());
  std::stringstream text;
  text << file.rdbuf();
  CHECK((text.str() == render_manual()));  // no expansion: it would print both whole
}

TEST_CASE("the manual has each key") {
  const std::string manual = render_manual();
  for (const Key& key : all_keys()) {
    INFO(key.path);
    CHECK(manual.find(".B " + std::string(key.name()) + "\n") != std::string::npos);
  }
}

TEST_CASE("what roff would take for its own is escaped") {
  CHECK(roff(".so /etc/passwd") == "\\&.so /etc/passwd");
  CHECK(roff("'tis") == "\\&'tis");
  CHECK(roff("a\\b") == "a\\eb");
  CHECK(roff("x-y \"z\"") == "x\\-y \\(dqz\\(dq");
  CHECK(roff("see `help`") == "see help");
}

TEST_CASE("write docs/man/sluice.toml.5 anew", "[.][write-reference]") {
  std::ofstream file(manual_path());
  file << render_manual();
  REQUIRE(file.flush());
}
