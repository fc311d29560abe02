// What the tests of the access log and of its line share.
#pragma once

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "proxy/access_log.h"

namespace sluice::proxy::access_log_test {

using Json = nlohmann::json;
inline constexpr uint64_t kSeed = 7;
inline constexpr uint64_t kWallUs = 1'772'366'400'123'456;  // 2026-03-01T12:00:00.123456Z

class TemporaryFolder {
 public:
  TemporaryFolder() { REQUIRE(mkdtemp(path_.data()) != nullptr); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_ = std::filesystem::temp_directory_path() / "access_log_test_XXXXXX";
};

inline AccessRecord example() {
  AccessRecord record;
  record.request_id = "4bf92f3577b34da6";
  record.client = "192.0.2.7";
  record.method = "POST";
  record.authority = "shop.example.com";
  record.target = "/api/cart?id=7";
  record.service = "web";
  record.upstream = "green";
  record.endpoint = "10.0.0.5:8080";
  record.attempts = "reset,5xx";
  record.error = "http_response_incomplete";
  record.error_detail = "closed early";
  record.status = 502;
  record.generation = 12;
  record.bytes_up = 345;
  record.bytes_down = 18'446'744'073'709'551'615U;
  record.duration_us = 61'000'007;
  record.queue_us = 1;
  record.connect_us = 999'999;
  record.first_byte_us = 1'000'000;
  record.retried = true;
  record.aborted = true;
  return record;
}

inline AccessRecord good_example() {
  AccessRecord record = example();
  record.status = 200;
  record.retried = record.aborted = false;
  return record;
}

inline conf::Log to(const std::string& access, double sample = 1) {
  conf::Log log;
  log.access = access;
  log.sample = sample;
  return log;
}

inline std::string contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

inline std::vector<Json> parse_lines(const std::string& text) {
  std::vector<Json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(Json::parse(line));
  return lines;
}

// Of the example's line.
inline size_t line_bytes() {
  const TemporaryFolder folder;
  AccessLog log(1, kSeed);
  REQUIRE(log.configure(to(folder.file("log"))).ok());
  log.writer(0).record(example(), kWallUs);
  log.close();
  return contents(folder.file("log")).size();
}

inline std::vector<Json> read_lines(const std::string& path) {
  return parse_lines(contents(path));
}

}  // namespace sluice::proxy::access_log_test
