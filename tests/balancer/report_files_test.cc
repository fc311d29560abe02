#include "balancer/report_files.h"

#include <catch2/catch.hpp>

#include "memory_file_system.h"

namespace sluice::balancer {
namespace {

constexpr int64_t kUnixMs = 1'714'557'600'123;

TEST_CASE("report_files: a report is two files whose names begin with the time") {
  MemoryFileSystem disk(1);
  ReportFiles reports(disk, "/state");
  const auto path = reports.write("trip", "web", kUnixMs, "{}", "text\n");
  REQUIRE(path.ok());
  CHECK(*path == "/state/reports/20240501T100000.123Z-trip-web.txt");
  CHECK(disk.content(*path) == "text\n");
  CHECK(disk.content("/state/reports/20240501T100000.123Z-trip-web.json") == "{}");
  CHECK(disk.list("/state/reports")->size() == 2);
}

TEST_CASE("report_files: the oldest go when there are too many") {
  MemoryFileSystem disk(1);
  ReportFiles reports(disk, "/state");
  for (size_t i = 0; i < ReportFiles::kKept + 3; ++i) {
    REQUIRE(reports.write("trip", "web", kUnixMs + static_cast<int64_t>(i), "{}", "text").ok());
  }
  CHECK(disk.list("/state/reports")->size() == 2 * ReportFiles::kKept);
  CHECK_FALSE(disk.exists("/state/reports/20240501T100000.125Z-trip-web.txt"));
  CHECK(disk.exists("/state/reports/20240501T100000.126Z-trip-web.txt"));
}

TEST_CASE("report_files: a full disk is an error that leaves no half of a report") {
  MemoryFileSystem disk(1);
  disk.free_bytes = 3;
  ReportFiles reports(disk, "/state");
  CHECK_FALSE(reports.write("trip", "web", kUnixMs, "{\"a\":1}", "text").ok());
  CHECK(disk.list("/state/reports")->empty());
}

TEST_CASE("report_files: without a state_dir nothing is kept and nothing fails") {
  MemoryFileSystem disk(1);
  ReportFiles reports(disk, "");
  const auto path = reports.write("trip", "web", kUnixMs, "{}", "text");
  REQUIRE(path.ok());
  CHECK(path->empty());
  CHECK(disk.ticks == 0);
}

}  // namespace
}  // namespace sluice::balancer
