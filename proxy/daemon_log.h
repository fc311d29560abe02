// DaemonLog: what the daemon says of itself: one JSON object a line, to
// standard error, where service managers and container runtimes collect it.
//
//   log.write(LogLevel::warning, "dns_failed", "a name could not be resolved",
//             {{"name", name}, {"retry_s", 0.5}});
//   {"time":"2026-03-01T12:00:00.000Z","level":"warning","kind":"dns_failed",
//    "message":"a name could not be resolved","name":"app.svc","retry_s":0.5}
//
// A storm cannot fill a disk: of each kind at most kBurst lines are written in
// a window of kWindowUs; the rest is counted, and the count is written when the
// window is over (by the next line of that kind, by write_suppressed(), or by
// the destructor). Kinds are words of ours, not input; past kMostKinds of them
// the further ones share one window.
//
// A line is written with one write(2) of at most kMostLineBytes, so that lines
// of several threads or processes never mix, in a file or in a pipe. What does
// not fit is left out and the line says `"truncated":true`. A line that the
// descriptor refuses is lost and counted.
//
// Thread: any; a lock is held around the write, so whoever must not wait for a
// slow descriptor (a worker) has the control thread write for it. The process
// must ignore SIGPIPE. Owner: the composition root, which outlives all users.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "proxy/json_line.h"
#include "proxy/loop.h"

namespace sluice::proxy {

enum class LogLevel : uint8_t { debug, info, warning, error };
constexpr const char* to_string(LogLevel level) {
  constexpr const char* names[] = {"debug", "info", "warning", "error"};
  return names[static_cast<size_t>(level)];
}
// The names that [log] level takes; nothing for any other.
std::optional<LogLevel> parse_log_level(std::string_view name);

// A key, in snake_case with its unit, and a value; valid during the call only.
struct LogField {
  LogField(std::string_view name, std::string_view text) : key(name), value(text) {}
  LogField(std::string_view name, const std::string& text) : key(name), value(std::string_view(text)) {}
  LogField(std::string_view name, const char* text) : key(name), value(std::string_view(text)) {}
  LogField(std::string_view name, bool flag) : key(name), value(flag) {}
  LogField(std::string_view name, double number) : key(name), value(number) {}
  template <std::unsigned_integral T>
  LogField(std::string_view name, T number) : key(name), value(uint64_t{number}) {}
  template <std::signed_integral T>
  LogField(std::string_view name, T number) : key(name), value(int64_t{number}) {}

  std::string_view key;
  std::variant<std::string_view, bool, uint64_t, int64_t, double> value;
};

class DaemonLog {
 public:
  static constexpr size_t kMostLineBytes = 4096;  // PIPE_BUF on Linux
  static constexpr size_t kMostTextBytes = 1024;  // of a message or a value
  static constexpr uint64_t kWindowUs = 10'000'000;
  static constexpr uint32_t kBurst = 20;
  static constexpr size_t kMostKinds = 256;

  // Microseconds since the epoch; tests pass a clock of their own.
  using Clock = uint64_t (*)();

  // The descriptor stays the caller's.
  explicit DaemonLog(int descriptor, LogLevel level = LogLevel::info, Clock clock = Loop::wall_clock_us);
  DaemonLog(const DaemonLog&) = delete;
  DaemonLog& operator=(const DaemonLog&) = delete;
  ~DaemonLog();

  void set_level(LogLevel level) { level_.store(level, std::memory_order_relaxed); }
  bool writes(LogLevel level) const { return level >= level_.load(std::memory_order_relaxed); }

  void write(LogLevel level, std::string_view kind, std::string_view message,
             std::span<const LogField> fields = {});
  void write(LogLevel level, std::string_view kind, std::string_view message,
             std::initializer_list<LogField> fields) {
    write(level, kind, message, std::span<const LogField>(fields.begin(), fields.size()));
  }

  // As write(), but no storm keeps it back: who changed what has to be complete.
  // For what somebody caused who may do so, once for each time.
  void write_always(LogLevel level, std::string_view kind, std::string_view message,
                    std::initializer_list<LogField> fields);

  // Says what was kept back in windows that are over; to be called every few
  // seconds.
  void write_suppressed();

  uint64_t lost_lines() const { return lost_lines_.load(std::memory_order_relaxed); }

 private:
  struct Window {
    uint64_t began_us = 0;
    uint32_t lines = 0;
    uint64_t suppressed = 0;
  };
  using Windows = std::map<std::string, Window, std::less<>>;

  // With mutex_ held.
  Windows::value_type& window_of(std::string_view kind);
  void end_window(Windows::value_type& window, uint64_t now_us);
  void write_line(uint64_t now_us, LogLevel level, std::string_view kind, std::string_view message,
                  std::span<const LogField> fields);

  const int descriptor_;
  const Clock clock_;
  std::atomic<LogLevel> level_;
  std::atomic<uint64_t> lost_lines_{0};
  std::mutex mutex_;
  Windows windows_;  // guarded by mutex_
};

}  // namespace sluice::proxy
