#include "proxy/program_pages.h"

#include <catch2/catch.hpp>
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

const char* const words[] = {"one", "two"};
volatile int written = 1;

TEST_CASE("program pages that start-up needed are given back, and come back when they are used") {
  written = 3;
  const long before = resident_file_kib();
  REQUIRE(before > 0);
  give_back_program_pages();
  const long after = resident_file_kib();
  CHECK(after < before);

  // What the loader relocated (a table of pointers) and what the program wrote stay.
  CHECK(std::string(words[written % 2]) == "two");
  CHECK(written == 3);
}

}  // namespace
}  // namespace sluice::proxy
