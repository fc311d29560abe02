// Holds docs/configuration.md to the schema. After a change of the schema:
//   conf_tests "[write-reference]"
#include "conf/reference.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "conf/schema.h"

using namespace sluice::conf;

namespace {

std::string reference_path() {
  return std::filesystem::path(SLUICE_SOURCE_DIR) / "docs/configuration.md";
}

}  // namespace

TEST_CASE("docs/configuration.md is what the schema says") {
  std::ifstream file(reference_path());
  std::stringstream text;
  text << file.rdbuf();
  CHECK((text.str() == render_reference()));  // no expansion: it would print both whole
}

TEST_CASE("the reference has each key and its help") {
  const std::string reference = render_reference();
  for (const Key& key : all_keys()) {
    INFO(key.path);
    CHECK(reference.find("| `" + std::string(key.name()) + "` | ") != std::string::npos);
    CHECK(reference.find(std::string(key.help)) != std::string::npos);
  }
}

TEST_CASE("write docs/configuration.md anew", "[.][write-reference]") {
  std::ofstream file(reference_path());
  file << render_reference();
  REQUIRE(file.flush());
}
