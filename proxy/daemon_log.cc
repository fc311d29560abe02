#include "proxy/daemon_log.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

namespace sluice::proxy {

namespace {

constexpr std::string_view kOtherKinds = "other";
constexpr size_t kMostKindBytes = 64;

void put(JsonLine& line, const LogField& field) {
  if (const auto* text = std::get_if<std::string_view>(&field.value)) {
    line.text(field.key, *text, DaemonLog::kMostTextBytes);
  } else if (const auto* flag = std::get_if<bool>(&field.value)) {
    line.boolean(field.key, *flag);
  } else if (const auto* natural = std::get_if<uint64_t>(&field.value)) {
    line.number(field.key, *natural);
  } else if (const auto* integer = std::get_if<int64_t>(&field.value)) {
    line.number(field.key, *integer);
  } else if (const auto* real = std::get_if<double>(&field.value)) {
    line.number(field.key, *real);
  }
}

}  // namespace

std::optional<LogLevel> parse_log_level(std::string_view name) {
  for (const LogLevel level : {LogLevel::debug, LogLevel::info, LogLevel::warning, LogLevel::error}) {
    if (name == to_string(level)) return level;
  }
  return std::nullopt;
}

DaemonLog::DaemonLog(int descriptor, LogLevel level, Clock clock)
    : descriptor_(descriptor), clock_(clock), level_(level) {}

DaemonLog::~DaemonLog() {
  const std::lock_guard<std::mutex> lock(mutex_);
  const uint64_t now_us = clock_();
  for (auto& window : windows_) end_window(window, now_us);
}

DaemonLog::Windows::value_type& DaemonLog::window_of(std::string_view kind) {
  const auto known = windows_.find(kind);
  if (known != windows_.end()) return *known;
  const bool room = windows_.size() + 1 < kMostKinds;
  return *windows_.try_emplace(std::string(room ? kind : kOtherKinds)).first;
}

void DaemonLog::end_window(Windows::value_type& window, uint64_t now_us) {
  const uint64_t suppressed = window.second.suppressed;
  window.second = Window{now_us, 0, 0};
  if (suppressed == 0) return;
  const LogField fields[] = {{"of_kind", window.first}, {"suppressed", suppressed}};
  write_line(now_us, LogLevel::warning, "suppressed", "further messages of one kind were left out", fields);
}

void DaemonLog::write(LogLevel level, std::string_view kind, std::string_view message,
                      std::span<const LogField> fields) {
  if (!writes(level)) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  const uint64_t now_us = clock_();
  Windows::value_type& window = window_of(kind);
  // The wall clock may have been set back, which ends the window as well.
  if (now_us - window.second.began_us >= kWindowUs) end_window(window, now_us);
  if (window.second.lines >= kBurst) {
    ++window.second.suppressed;
    return;
  }
  ++window.second.lines;
  write_line(now_us, level, kind, message, fields);
}

void DaemonLog::write_always(LogLevel level, std::string_view kind, std::string_view message,
                             std::initializer_list<LogField> fields) {
  if (!writes(level)) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  write_line(clock_(), level, kind, message, std::span<const LogField>(fields.begin(), fields.size()));
}

void DaemonLog::write_suppressed() {
  const std::lock_guard<std::mutex> lock(mutex_);
  const uint64_t now_us = clock_();
  for (auto& window : windows_) {
    if (now_us - window.second.began_us >= kWindowUs) end_window(window, now_us);
  }
}

void DaemonLog::write_line(uint64_t now_us, LogLevel level, std::string_view kind, std::string_view message,
                           std::span<const LogField> fields) {
  char buffer[kMostLineBytes];
  JsonLine line(buffer, buffer + sizeof(buffer));
  line.time("time", now_us);
  line.text("level", to_string(level));
  line.text("kind", kind, kMostKindBytes);
  bool truncated = false;
  const auto add = [&](const LogField& field) {
    JsonLine longer = line;
    put(longer, field);
    truncated = truncated || longer.overflowed();
    if (!longer.overflowed()) line = longer;
  };
  add({"message", message});
  for (const LogField& field : fields) add(field);
  const auto size = line.finish(truncated) - buffer;
  // Whoever reads this and has stopped must not hold up those who judge. A pipe
  // that can be written takes PIPE_BUF at once (poll(2), pipe(7)).
  static_assert(kMostLineBytes <= PIPE_BUF);
  pollfd room{descriptor_, POLLOUT, 0};
  if (poll(&room, 1, 0) == 0) {
    lost_lines_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  ssize_t written = 0;
  do {
    written = ::write(descriptor_, buffer, static_cast<size_t>(size));
  } while (written < 0 && errno == EINTR);
  if (written != size) lost_lines_.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace sluice::proxy
