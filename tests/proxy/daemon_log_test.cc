#include "proxy/daemon_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace sluice::proxy {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kStartUs = 1'772'366'400'123'456;  // 2026-03-01T12:00:00.123456Z
uint64_t now_us = kStartUs;                           // what the tests' clock says

struct Fixture {
  Fixture() {
    now_us = kStartUs;
    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    make();
  }
  ~Fixture() {
    log.reset();
    ::close(ends[0]);
    if (ends[1] >= 0) ::close(ends[1]);
  }
  void make(LogLevel level = LogLevel::info) {
    log.emplace(ends[1], level, [] { return now_us; });
  }
  std::string text() {
    std::string all;
    char bytes[65536];
    for (ssize_t got = 0; (got = read(ends[0], bytes, sizeof(bytes))) > 0;) {
      all.append(bytes, static_cast<size_t>(got));
    }
    return all;
  }
  std::vector<Json> lines() {
    std::vector<Json> parsed;
    std::istringstream stream(text());
    for (std::string line; std::getline(stream, line);) parsed.push_back(Json::parse(line));
    return parsed;
  }

  int ends[2];
  std::optional<DaemonLog> log;
};

TEST_CASE("daemon log: a line is one object: time, level, kind, message, then the fields") {
  Fixture f;
  const std::string name = "app.svc";
  f.log->write(
      LogLevel::warning, "dns_failed", "a name could not be resolved",
      {{"name", name}, {"retry_s", 0.5}, {"tries", 3}, {"left", -1L}, {"first", true}, {"why", "\"no\""}});
  CHECK(f.text() ==
        R"({"time":"2026-03-01T12:00:00.123Z","level":"warning","kind":"dns_failed",)"
        R"("message":"a name could not be resolved","name":"app.svc","retry_s":0.5,"tries":3,"left":-1,)"
        R"("first":true,"why":"\"no\""})"
        "\n");
}

TEST_CASE("daemon log: numbers at their limits are JSON") {
  Fixture f;
  f.log->write(LogLevel::info, "numbers", "",
               {{"most", std::numeric_limits<uint64_t>::max()},
                {"least", std::numeric_limits<int64_t>::min()},
                {"tiny", std::numeric_limits<double>::denorm_min()},
                {"huge", std::numeric_limits<double>::lowest()},
                {"none", std::nan("")},
                {"infinite", std::numeric_limits<double>::infinity()}});
  const auto lines = f.lines();
  REQUIRE(lines.size() == 1);
  CHECK(lines[0]["most"] == std::numeric_limits<uint64_t>::max());
  CHECK(lines[0]["least"] == std::numeric_limits<int64_t>::min());
  CHECK(lines[0]["tiny"] == std::numeric_limits<double>::denorm_min());
  CHECK(lines[0]["huge"] == std::numeric_limits<double>::lowest());
  CHECK(lines[0]["none"].is_null());
  CHECK(lines[0]["infinite"].is_null());
}

TEST_CASE("daemon log: lines below the level are not written") {
  Fixture f;
  const auto write_all = [&] {
    for (const LogLevel level : {LogLevel::debug, LogLevel::info, LogLevel::warning, LogLevel::error}) {
      f.log->write(level, "kind", to_string(level));
    }
    return f.lines();
  };
  CHECK(write_all().size() == 3);
  f.log->set_level(LogLevel::error);
  const auto lines = write_all();
  REQUIRE(lines.size() == 1);
  CHECK(lines[0]["level"] == "error");
  f.log->set_level(LogLevel::debug);
  CHECK(f.log->writes(LogLevel::debug));
  CHECK(write_all().size() == 4);
}

TEST_CASE("daemon log: the levels have the configuration's names") {
  for (const LogLevel level : {LogLevel::debug, LogLevel::info, LogLevel::warning, LogLevel::error}) {
    CHECK(parse_log_level(to_string(level)) == level);
  }
  CHECK_FALSE(parse_log_level("Info").has_value());
  CHECK_FALSE(parse_log_level("").has_value());
}

TEST_CASE("daemon log: a storm of one kind is cut and its size told when the window is over") {
  Fixture f;
  constexpr uint64_t kStorm = 100'000;
  for (uint64_t i = 0; i < kStorm; ++i) f.log->write(LogLevel::warning, "storm", "again", {{"i", i}});
  f.log->write(LogLevel::info, "calm", "another kind has a window of its own");
  auto lines = f.lines();
  REQUIRE(lines.size() == DaemonLog::kBurst + 1);
  CHECK(lines[DaemonLog::kBurst - 1]["i"] == DaemonLog::kBurst - 1);
  CHECK(lines.back()["kind"] == "calm");

  now_us += DaemonLog::kWindowUs - 1;
  f.log->write(LogLevel::warning, "storm", "again");
  f.log->write_suppressed();
  CHECK(f.lines().empty());

  // The next line of the kind says it first.
  now_us += 1;
  f.log->write(LogLevel::warning, "storm", "a new window");
  lines = f.lines();
  REQUIRE(lines.size() == 2);
  CHECK(lines[0]["kind"] == "suppressed");
  CHECK(lines[0]["of_kind"] == "storm");
  CHECK(lines[0]["suppressed"] == kStorm - DaemonLog::kBurst + 1);
  CHECK(lines[1]["message"] == "a new window");
}

TEST_CASE("daemon log: what has to be complete is written whatever the storm, and begins none") {
  Fixture f;
  for (uint32_t i = 0; i < 5 * DaemonLog::kBurst; ++i) {
    f.log->write_always(LogLevel::info, "admin_command", "answered", {{"i", i}});
  }
  CHECK(f.lines().size() == 5 * DaemonLog::kBurst);
  f.log->set_level(LogLevel::warning);
  f.log->write_always(LogLevel::info, "admin_command", "answered", {});
  CHECK(f.lines().empty());
}

TEST_CASE("daemon log: what was kept back is told when the storm is over, and at the end") {
  Fixture f;
  for (uint32_t i = 0; i < DaemonLog::kBurst + 5; ++i) f.log->write(LogLevel::error, "storm", "again");
  CHECK(f.lines().size() == DaemonLog::kBurst);
  now_us += DaemonLog::kWindowUs;
  f.log->write_suppressed();
  f.log->write_suppressed();
  auto lines = f.lines();
  REQUIRE(lines.size() == 1);
  CHECK(lines[0]["suppressed"] == 5);

  for (uint32_t i = 0; i < DaemonLog::kBurst + 2; ++i) f.log->write(LogLevel::error, "storm", "again");
  f.lines();
  f.log.reset();
  lines = f.lines();
  REQUIRE(lines.size() == 1);
  CHECK(lines[0]["suppressed"] == 2);
}

TEST_CASE("daemon log: a wall clock that is set back silences nothing") {
  Fixture f;
  for (uint32_t i = 0; i < DaemonLog::kBurst; ++i) f.log->write(LogLevel::info, "kind", "before");
  f.lines();
  now_us -= 3'600'000'000;
  f.log->write(LogLevel::info, "kind", "after");
  CHECK(f.lines().size() == 1);
}

TEST_CASE("daemon log: kinds without end share one window") {
  Fixture f;
  for (size_t i = 0; i < DaemonLog::kMostKinds * 4; ++i) {
    f.log->write(LogLevel::info, "kind " + std::to_string(i), "x");
  }
  CHECK(f.lines().size() == DaemonLog::kMostKinds - 1 + DaemonLog::kBurst);
}

TEST_CASE("daemon log: a line too long stays JSON, short enough, and says so") {
  Fixture f;
  const std::string controls(10'000, '\x01');
  f.log->write(LogLevel::info, controls, controls, {{"long", controls}, {"short", 1}});
  const std::string long_message = f.text();
  CHECK(long_message.size() <= DaemonLog::kMostLineBytes);
  const Json first = Json::parse(long_message);
  CHECK(first["truncated"] == true);
  CHECK(first["short"] == 1);  // what fits is kept
  CHECK_FALSE(first.contains("long"));

  const std::string plain(5000, 'x');
  f.log->write(LogLevel::info, "kind", plain, {{"a", plain}, {"b", plain}, {"c", plain}});
  const std::string long_fields = f.text();
  CHECK(long_fields.size() <= DaemonLog::kMostLineBytes);
  const Json second = Json::parse(long_fields);
  CHECK(second["message"] == plain.substr(0, DaemonLog::kMostTextBytes) + "\xe2\x80\xa6");
  CHECK(second.contains("b"));
  CHECK_FALSE(second.contains("c"));
  CHECK(second["truncated"] == true);
}

TEST_CASE("daemon log: lines of several threads never mix") {
  Fixture f;
  constexpr int kThreads = 4;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&f, i] {
      const std::string kind = "thread_" + std::to_string(i);
      for (uint32_t n = 0; n < DaemonLog::kBurst; ++n) {
        f.log->write(LogLevel::info, kind, std::string(500, static_cast<char>('a' + i)), {{"n", n}});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(f.lines().size() == kThreads * DaemonLog::kBurst);
  CHECK(f.log->lost_lines() == 0);
}

TEST_CASE("daemon log: a line that the descriptor refuses is counted") {
  Fixture f;
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  REQUIRE(full >= 0);
  {
    DaemonLog log(full, LogLevel::info, [] { return now_us; });
    log.write(LogLevel::error, "kind", "lost");
    CHECK(log.lost_lines() == 1);
  }
  ::close(full);
}

}  // namespace
}  // namespace sluice::proxy
