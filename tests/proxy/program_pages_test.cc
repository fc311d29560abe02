#include "proxy/program_pages.h"

#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <string>

namespace sluice::proxy {
namespace {

// Resident pages of files, in KiB (proc(5), RssFile).
long resident_file_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssFile:")) return std::stol(line.substr(8));
  return -1;
}

TEST_CASE("program pages that start-up needed are given back, and come back when they are used") {
  const long before = resident_file_kib();
  REQUIRE(before > 0);
  give_back_program_pages();
  const long after = resident_file_kib();
  CHECK(after < before);

  // Data that the loader relocated and what the program wrote are as they were.
  CHECK(std::to_string(before) + "!" == std::to_string(before).append("!"));
  give_back_program_pages();
}

}  // namespace
}  // namespace sluice::proxy
