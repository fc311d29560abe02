#include "proxy/access_log.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <thread>
#include <vector>

#include "access_log_fixtures.h"

namespace sluice::proxy {
namespace {

using namespace access_log_test;

TEST_CASE("access log: workers' lines are all there, each whole and in its worker's order") {
  const TemporaryFolder folder;
  constexpr uint32_t kWorkers = 3;
  const uint64_t each = 5 * AccessLog::buffer_bytes(kWorkers) / line_bytes();  // several are handed over
  AccessLog log(kWorkers, kSeed);
  REQUIRE(log.configure(to(folder.file("log"))).ok());
  std::vector<std::thread> workers;
  for (uint32_t i = 0; i < kWorkers; ++i) {
    workers.emplace_back([&log, each, i] {
      const std::string name = std::to_string(i);
      AccessRecord record = example();
      record.service = name;
      for (uint64_t n = 0; n < each; ++n) {
        record.generation = n;
        log.writer(i).record(record, kWallUs);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  CHECK(log.close());
  const AccessLog::Stats stats = log.stats();
  CHECK(stats.lines + stats.dropped == kWorkers * each);
  CHECK(stats.lost == 0);
  CHECK(stats.written == stats.lines);
  const auto lines = read_lines(folder.file("log"));
  CHECK(lines.size() == stats.lines);
  std::map<std::string, int64_t> last;
  size_t disordered = 0;
  for (const Json& line : lines) {
    const auto [known, first] = last.try_emplace(line["service"].get<std::string>(), -1);
    if (line["split_generation"].get<int64_t>() <= known->second) ++disordered;
    known->second = line["split_generation"].get<int64_t>();
  }
  CHECK(disordered == 0);
}

// A FIFO whose reader is the test: a disk as slow as one likes.
class Fifo {
 public:
  explicit Fifo(const std::string& path) {
    REQUIRE(mkfifo(path.c_str(), 0600) == 0);
    fd_ = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    REQUIRE(fd_ >= 0);
  }
  Fifo(const Fifo&) = delete;
  Fifo& operator=(const Fifo&) = delete;
  ~Fifo() { close(); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void wait_for_data() const {
    pollfd wait{fd_, POLLIN, 0};
    REQUIRE(poll(&wait, 1, -1) == 1);
  }
  std::string read_until(size_t lines) {
    std::string text;
    for (size_t seen = 0; seen < lines;) {
      wait_for_data();
      char bytes[65536];
      const ssize_t got = read(fd_, bytes, sizeof(bytes));
      REQUIRE(got > 0);
      seen += static_cast<size_t>(std::count(bytes, bytes + got, '\n'));
      text.append(bytes, static_cast<size_t>(got));
    }
    return text;
  }

 private:
  int fd_ = -1;
};

TEST_CASE("access log: aged lines are handed over, younger ones wait") {
  const TemporaryFolder folder;
  Fifo fifo(folder.file("fifo"));
  AccessLog log(1, kSeed);
  REQUIRE(log.configure(to(folder.file("fifo"))).ok());
  AccessLog::Writer& writer = log.writer(0);
  writer.flush_aged(1);
  writer.record(example(), kWallUs);
  writer.flush_aged(1'000'000);
  writer.record(example(), kWallUs);
  writer.flush_aged(1'000'000 + AccessLog::kMostAgeUs - 1);
  writer.flush_aged(1'000'000 + AccessLog::kMostAgeUs);
  // Both in one write; a third is not old enough to come with them.
  writer.record(example(), kWallUs);
  writer.flush_aged(9'000'000);
  fifo.wait_for_data();
  CHECK(parse_lines(fifo.read_until(2)).size() == 2);
  CHECK(log.stats().lines == 3);
  CHECK(log.stats().written <= 2);
  log.close();
  CHECK(parse_lines(fifo.read_until(1)).size() == 1);
  CHECK(log.stats().written == 3);
}

TEST_CASE("access log: when the disk is slow lines are dropped and counted, nobody waits") {
  const uint32_t workers = GENERATE(1, 8, 64);
  const TemporaryFolder folder;
  Fifo fifo(folder.file("fifo"));
  AccessLog log(workers, kSeed);
  REQUIRE(log.configure(to(folder.file("fifo"))).ok());
  uint64_t records = 0;
  // All buffers are full at last; that this ends shows that record() returns.
  for (uint32_t i = 0; i < workers; ++i) {
    const uint64_t enough = log.stats().dropped + 100;
    for (uint64_t now_us = 0; log.stats().dropped < enough; ++now_us) {
      log.writer(i).record(example(), kWallUs);
      log.writer(i).flush_aged(now_us);
      ++records;
    }
  }
  AccessLog::Writer& writer = log.writer(0);
  const AccessLog::Stats stats = log.stats();
  CHECK(stats.lines + stats.dropped == records);
  const size_t most = std::max(AccessLog::kMostBytes, workers * 3 * AccessLog::kLeastBufferBytes);
  // A buffer's last line begins before it is full and may end behind that.
  CHECK(stats.lines * line_bytes() < most + 2 * AccessLog::buffer_bytes(workers));
  CHECK(stats.lines * line_bytes() > most / 2);

  // Once it is read again all that was taken arrives, and lines are taken again.
  const std::string text = fifo.read_until(stats.lines);
  CHECK(static_cast<uint64_t>(std::count(text.begin(), text.end(), '\n')) == stats.lines);
  CHECK(Json::accept(text.substr(text.rfind('{'))));
  while (log.stats().lines == stats.lines) writer.record(example(), kWallUs);
  CHECK(log.close());
  CHECK(log.stats().lost == 0);
}

TEST_CASE("access log: a disk that hangs does not keep the process from ending") {
  const TemporaryFolder folder;
  Fifo fifo(folder.file("fifo"));
  AccessLog log(1, kSeed);
  REQUIRE(log.configure(to(folder.file("fifo"))).ok());
  while (log.stats().dropped == 0) log.writer(0).record(example(), kWallUs);
  CHECK_FALSE(log.close(1));
  CHECK(log.close(1));  // there is nothing more to wait for
}

// The daemon's log into a pipe, at a time that the test sets.
struct DaemonLogFixture {
  DaemonLogFixture() { REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0); }
  ~DaemonLogFixture() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  std::vector<Json> lines() {
    char bytes[65536];
    const ssize_t got = read(ends[0], bytes, sizeof(bytes));
    return parse_lines(std::string(bytes, got > 0 ? static_cast<size_t>(got) : 0));
  }
  int ends[2];
};

TEST_CASE("access log: a full disk is counted, told once a minute and not fatal") {
  AccessLog log(1, kSeed);
  REQUIRE(log.configure(to("/dev/full")).ok());
  CHECK(!log.take_loss(1).has_value());

  const auto fail_some = [&] {
    // The writer's thread counts the error first and what was lost by it after.
    const AccessLog::Stats before = log.stats();
    const auto counted = [&] {
      const AccessLog::Stats now = log.stats();
      return now.write_errors > before.write_errors && now.lost > before.lost;
    };
    while (!counted()) log.writer(0).record(example(), kWallUs);
  };
  fail_some();
  const auto first = log.take_loss(1'000'000);
  REQUIRE(first.has_value());
  CHECK(first->write_errors >= 1);
  CHECK(first->lost >= 1);
  CHECK(first->dropped == log.stats().dropped);
  CHECK(first->last_error == std::strerror(ENOSPC));

  fail_some();
  CHECK(!log.take_loss(1'000'000 + AccessLog::kReportUs - 1).has_value());
  CHECK(log.take_loss(1'000'000 + AccessLog::kReportUs).has_value());
  CHECK(log.close());
  // All that was taken is accounted for.
  CHECK(log.stats().lost == log.stats().lines);
}

TEST_CASE("access log: a line counts as written when the write took it, and never before") {
  AccessLog log(1, kSeed);
  REQUIRE(log.configure(to("/dev/full")).ok());
  log.writer(0).record(example(), kWallUs);
  CHECK(log.stats().lines == 1);
  CHECK(log.stats().written == 0);
  CHECK(log.close());
  CHECK(log.stats().lost == 1);
  CHECK(log.stats().written == 0);
}

TEST_CASE("access log: a reader that has gone is an error like any other") {
  const TemporaryFolder folder;
  Fifo fifo(folder.file("fifo"));
  AccessLog log(1, kSeed);
  REQUIRE(log.configure(to(folder.file("fifo"))).ok());
  fifo.close();
  log.writer(0).record(example(), kWallUs);
  CHECK(log.close());
  CHECK(log.stats().write_errors == 1);
  CHECK(log.stats().lost == 1);
}

// While it lives a file may not grow past the limit: a full disk that a test
// can empty again. The log's thread blocks SIGXFSZ with all other signals.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &saved_);
    const rlimit limit{bytes, saved_.rlim_max};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &saved_); }

 private:
  rlimit saved_{};
};

TEST_CASE("access log: after a torn line the next one begins on a line of its own") {
  const TemporaryFolder folder;
  AccessLog log(1, kSeed);
  REQUIRE(log.configure(to(folder.file("log"))).ok());
  AccessLog::Writer& writer = log.writer(0);
  const size_t two_lines_and_a_half = line_bytes() * 5 / 2;
  {
    const FileSizeLimit limit(two_lines_and_a_half);
    for (int i = 0; i < 5; ++i) writer.record(example(), kWallUs);
    writer.flush_aged(1);
    writer.flush_aged(1 + AccessLog::kMostAgeUs);
    while (log.stats().write_errors == 0) std::this_thread::yield();
  }
  writer.record(example(), kWallUs);
  CHECK(log.close());
  CHECK(log.stats().lost == 3);
  CHECK(log.stats().written == 3);
  std::istringstream text(contents(folder.file("log")));
  size_t whole = 0;
  size_t torn = 0;
  for (std::string line; std::getline(text, line);) ++(Json::accept(line) ? whole : torn);
  CHECK(whole == 3);
  CHECK(torn == 1);
}

TEST_CASE("access log: reopen follows a rotated file, from the next line on") {
  const TemporaryFolder folder;
  const std::string path = folder.file("log");
  Fifo fifo(path);  // so that the test can wait for what was written
  AccessLog log(1, kSeed);
  REQUIRE(log.configure(to(path)).ok());
  uint64_t now_us = 1;
  const auto hand_over = [&](uint64_t number) {
    AccessRecord record = example();
    record.generation = number;
    log.writer(0).record(record, kWallUs);
    log.writer(0).flush_aged(now_us);
    log.writer(0).flush_aged(now_us += AccessLog::kMostAgeUs);
  };
  hand_over(1);
  CHECK(parse_lines(fifo.read_until(1))[0]["split_generation"] == 1);
  hand_over(2);
  std::filesystem::rename(path, path + ".1");
  REQUIRE(log.reopen().ok());
  AccessRecord last = example();
  last.generation = 3;
  log.writer(0).record(last, kWallUs);
  CHECK(log.close());
  CHECK(parse_lines(fifo.read_until(1))[0]["split_generation"] == 2);
  const auto lines = read_lines(path);
  REQUIRE(lines.size() == 1);
  CHECK(lines[0]["split_generation"] == 3);
}

TEST_CASE("access log: off takes nothing, and a bad path changes nothing") {
  const TemporaryFolder folder;
  AccessLog log(1, kSeed);
  REQUIRE(log.configure(to(folder.file("log"))).ok());
  const conf::Status bad = log.configure(to(folder.file("missing/log")));
  REQUIRE_FALSE(bad.ok());
  CHECK_THAT(bad.error().detail, Catch::Contains("missing/log") && Catch::Contains(std::strerror(ENOENT)));
  CHECK(log.enabled());
  log.writer(0).record(example(), kWallUs);
  REQUIRE(mkfifo(folder.file("unread").c_str(), 0600) == 0);
  CHECK_FALSE(log.configure(to(folder.file("unread"))).ok());
  REQUIRE(log.reopen().ok());
  CHECK(log.close());
  CHECK(read_lines(folder.file("log")).size() == 1);

  AccessLog off(1, kSeed);
  REQUIRE(off.configure(to("off")).ok());
  CHECK_FALSE(off.enabled());
  CHECK(off.reopen().ok());
}

TEST_CASE("access log: stdout is standard output") {
  const TemporaryFolder folder;
  const int file = open(folder.file("log").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const int saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  fflush(stdout);
  dup2(file, STDOUT_FILENO);
  AccessLog log(1, kSeed);
  const bool configured = log.configure(to("stdout")).ok();
  dup2(saved, STDOUT_FILENO);
  ::close(saved);
  ::close(file);
  REQUIRE(configured);
  log.writer(0).record(example(), kWallUs);
  CHECK(log.close());
  CHECK(read_lines(folder.file("log")).size() == 1);
}

TEST_CASE("access log: a sample takes its share of the requests") {
  const TemporaryFolder folder;
  AccessLog log(1, kSeed);
  constexpr uint64_t kRequests = 4000;
  const AccessRecord good = good_example();
  REQUIRE(log.configure(to(folder.file("log"), 0.25)).ok());
  for (uint64_t i = 0; i < kRequests; ++i) log.writer(0).record(good, kWallUs);
  const uint64_t taken = log.stats().lines + log.stats().dropped;
  CHECK(taken > kRequests / 5);
  CHECK(taken < kRequests * 3 / 10);
  REQUIRE(log.configure(to(folder.file("log"), 0)).ok());
  for (uint64_t i = 0; i < kRequests; ++i) log.writer(0).record(good, kWallUs);
  CHECK(log.stats().lines + log.stats().dropped == taken);
}

TEST_CASE("access log: what failed is in every sample") {
  const TemporaryFolder folder;
  AccessLog log(1, kSeed);
  REQUIRE(log.configure(to(folder.file("log"), 0)).ok());
  const auto lines_after = [&](auto change) {
    AccessRecord record = good_example();
    change(record);
    const uint64_t before = log.stats().lines;
    log.writer(0).record(record, kWallUs);
    return log.stats().lines - before;
  };
  CHECK(lines_after([](AccessRecord&) {}) == 0);
  CHECK(lines_after([](AccessRecord& record) { record.status = 404; }) == 0);
  CHECK(lines_after([](AccessRecord& record) { record.status = 503; }) == 1);
  CHECK(lines_after([](AccessRecord& record) { record.status = 0; }) == 1);
  CHECK(lines_after([](AccessRecord& record) { record.retried = true; }) == 1);
  CHECK(lines_after([](AccessRecord& record) { record.rescued = true; }) == 1);
  CHECK(lines_after([](AccessRecord& record) { record.aborted = true; }) == 1);
}

}  // namespace
}  // namespace sluice::proxy
