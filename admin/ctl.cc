#include "admin/ctl.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "admin/client.h"
#include "admin/command_line.h"
#include "admin/command_table.h"
#include "admin/json.h"
#include "admin/screen.h"
#include "conf/result.h"
#include "proxy/loop.h"

namespace sluice::admin {
namespace {

constexpr int kDone = 0;
constexpr int kRefused = 1;
constexpr int kUsage = 2;

// What went wrong before or instead of an answer, in the form that was asked for.
int complain(bool json, const char* code, const std::string& message) {
  if (json) {
    std::printf("%s\n", render(Refusal{code, message}, Format::json).c_str());
  } else {
    std::fprintf(stderr, "sluice ctl: %s\n", message.c_str());
  }
  return kUsage;
}

// Prints the replies as they come, and keeps the worst of them. Replies are
// told apart by the empty line that ends each, refusals by how they begin.
class Printer {
 public:
  explicit Printer(bool json) : json_(json) {}

  void add(std::string_view data) {
    while (!data.empty()) {
      const size_t feed = data.find('\n');
      pending_.append(data.substr(0, feed));
      if (feed == std::string_view::npos) return;
      line();
      data.remove_prefix(feed + 1);
    }
    std::fflush(stdout);
  }
  int exit_code() const { return replies_ == 0 ? kUsage : worst_; }
  size_t replies() const { return replies_; }

 private:
  void line() {
    const std::string text = std::move(pending_);
    pending_.clear();
    if (text.empty()) {
      at_start_ = true;
      ++replies_;
      return;
    }
    if (std::exchange(at_start_, false)) complains_ = judge(text);
    std::fprintf(complains_ ? stderr : stdout, "%s\n", text.c_str());
  }

  // A line may ask for JSON itself. Returns whether the reply is a complaint in
  // words.
  bool judge(const std::string& text) {
    const bool in_json = text.starts_with(R"({"ok":false)");
    const bool in_words = !json_ && text.starts_with("error: ");
    if (!in_json && !in_words) return false;
    const bool usage =
        text.starts_with(in_json ? R"({"ok":false,"error":{"code":"usage")" : "error: usage: ");
    worst_ = std::max(worst_, usage ? kUsage : kRefused);
    return in_words;
  }

  const bool json_;
  std::string pending_;
  bool at_start_ = true;
  bool complains_ = false;
  int worst_ = kDone;
  size_t replies_ = 0;
};

bool send_all(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    // It may have refused already, and the reason can still be read.
    if (sent < 0) return errno == EPIPE || errno == ECONNRESET;
    data.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

// Hands over what comes until the other side ends; asks `goes_on` after each
// second without a word. An errno, or 0.
template <typename Take, typename GoesOn>
int read_all(int fd, Take take, GoesOn goes_on) {
  constexpr int kSecondMs = 1000;
  char buffer[16 * 1024];
  while (true) {
    pollfd readable{fd, POLLIN, 0};
    const int ready = poll(&readable, 1, kSecondMs);
    if (ready == 0 && !goes_on()) return ETIMEDOUT;
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    const ssize_t size = read(fd, buffer, sizeof(buffer));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return size == 0 ? 0 : errno;
    take(std::string_view{buffer, static_cast<size_t>(size)});
  }
}

// The time without an answer: on a terminal it is shown, and for most commands
// it is limited.
class Silence {
 public:
  static constexpr uint32_t kMostSeconds = 10;

  explicit Silence(const std::string& line)
      : is_watch_(line.find(" -w") != std::string::npos),
        is_limited_(!is_watch_ && line.find("wait ") == std::string::npos),
        is_shown_(!is_watch_ && isatty(STDERR_FILENO) == 1) {}

  bool is_limited() const { return is_limited_; }
  // Another second has passed. False: that is enough.
  bool goes_on() {
    ++seconds_;
    if (is_shown_) show(fmt::format("waiting, {} s", seconds_));
    return !is_limited_ || seconds_ < kMostSeconds;
  }
  void end() {
    if (std::exchange(seconds_, 0) != 0 && is_shown_) show("");
  }

 private:
  // In place of what was shown before, which was never longer than kWidth.
  static void show(const std::string& text) {
    constexpr int kWidth = 24;
    std::fprintf(stderr, "\r%-*s\r%s", kWidth, "", text.c_str());
    std::fflush(stderr);
  }

  const bool is_watch_;
  const bool is_limited_;
  const bool is_shown_;
  uint32_t seconds_ = 0;
};

// Nothing: there was no answer.
std::optional<int> converse(int fd, const std::string& line, bool json, Silence& silence) {
  if (!send_all(fd, line)) return std::nullopt;
  shutdown(fd, SHUT_WR);  // no dialogue: also `prompt` ends with its line
  Printer printer(json);
  const auto take = [&](std::string_view data) { silence.end(), printer.add(data); };
  const int error = read_all(fd, take, [&] { return silence.goes_on(); });
  silence.end();
  if (error == ETIMEDOUT)
    return complain(json, "unavailable",
                    "no answer within 10 s: is the process stopped, or is it not sluice's socket?");
  if (printer.replies() == 0) return std::nullopt;
  const size_t asked = split_commands(std::string_view(line).substr(0, line.size() - 1)).size();
  if (printer.replies() >= asked) return printer.exit_code();
  return complain(
      json, "unavailable",
      fmt::format(
          "the server closed the connection after {} of {} answers: the rest may not be done; see its log",
          printer.replies(), asked));
}

// A line of one command, without its `json`.
std::string_view command_in(std::string_view line) {
  constexpr std::string_view kJson = "json ";
  return line.starts_with(kJson) ? line.substr(kJson.size()) : line;
}

// May it be asked twice?
bool is_question(const std::string& line) {
  const auto commands = split_commands(line);
  return std::all_of(commands.begin(), commands.end(), [](std::string_view command) {
    const std::string_view word = command_in(command).substr(0, command_in(command).find(' '));
    return word == "show" || word == "wait" || word == "help";
  });
}

bool asks_for_dialogue(const std::string& line) {
  const auto commands = split_commands(std::string_view(line).substr(0, line.size() - 1));
  return std::any_of(commands.begin(), commands.end(), [](std::string_view command) {
    return command_in(command) == "prompt" || command_in(command) == "quit";
  });
}

// `line`, or a lone `wait SECONDS` in it with what is left of the time.
std::string with_time_left(const std::string& line, uint64_t passed_us) {
  constexpr std::string_view kWait = "wait ";
  const std::string_view command = command_in(line);
  if (!command.starts_with(kWait) || split_commands(line).size() != 1) return line;
  const std::string_view rest = command.substr(kWait.size());
  uint64_t seconds = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), seconds);
  if (error != std::errc()) return line;
  return fmt::format("{}{}{}{}", line.substr(0, line.size() - command.size()), kWait,
                     seconds - std::min(seconds, passed_us / 1'000'000),
                     std::string_view(end, rest.data() + rest.size()));
}

// A process that hands over to a new one closes its admin connections. Whoever
// only asked asks again, and is heard by the successor, who has the same socket.
int ask_until_answered(const std::string& path, const std::string& line, bool json) {
  constexpr int kMostTries = 5;
  const uint64_t began_us = proxy::Loop::wall_clock_us();
  for (int tries = 1;; ++tries) {
    const conf::Result<int> fd = connect_to_admin(path);
    if (!fd.ok()) return complain(json, "unavailable", fd.error().detail);
    Silence silence(line);
    if (silence.is_limited()) {
      constexpr timeval kPatience{Silence::kMostSeconds, 0};
      setsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof(kPatience));
    }
    const std::string now = with_time_left(line, std::max(proxy::Loop::wall_clock_us(), began_us) - began_us);
    const std::optional<int> code = converse(*fd, now, json, silence);
    close(*fd);
    if (code) return *code;
    if (tries == kMostTries || !is_question(line)) {
      return complain(json, "unavailable", "the server closed the connection without an answer; see its log");
    }
  }
}

// ---- rollout status [SVC] -w

constexpr std::string_view kWatchable = "rollout status";
constexpr std::string_view kWatch = " -w";

// The answer to `line`, or why there is none.
conf::Result<std::string> ask(const std::string& path, const std::string& line) {
  const conf::Result<int> fd = connect_to_admin(path);
  if (!fd.ok()) return fd.error();
  std::string answer;
  if (send_all(*fd, line)) {
    read_all(
        *fd, [&](std::string_view data) { answer += data; }, [] { return true; });
  }
  close(*fd);
  if (answer.empty()) return admin_failure("the server closed the connection without an answer; see its log");
  while (answer.ends_with('\n')) answer.pop_back();
  return answer;
}

bool is_refusal(std::string_view answer, bool json) {
  return answer.starts_with(json ? R"({"ok":false)" : "error: ");
}

TerminalSize size_of_terminal() {
  winsize window{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0) return {};
  return {window.ws_row, window.ws_col};
}

// Whether what is watched goes on, and how it ended.
class Watched {
 public:
  // `answer` is that of `json rollout status`. False: it is none.
  bool take(const std::string& answer) {
    const Json found = Json::parse(answer, nullptr, false);
    if (!found.is_object() || !found.contains("rollout")) return false;
    states_.clear();
    for (const Json& row : found["rollout"]) {
      const std::string service = row.value("service", "");
      states_[service] = row.value("state", "");
      if (runs(states_[service])) ran_.insert(service);
    }
    return true;
  }
  bool over() const {
    return std::none_of(states_.begin(), states_.end(), [](const auto& one) { return runs(one.second); });
  }
  // Did all complete that ran while they were watched, or, if none did, before?
  bool completed() const {
    bool any = false;
    for (const auto& [service, state] : states_) {
      if (ran_.empty() ? state == "idle" : !ran_.contains(service)) continue;
      if (state != "completed") return false;
      any = true;
    }
    const bool all_there = std::all_of(ran_.begin(), ran_.end(),
                                       [&](const std::string& service) { return states_.contains(service); });
    return any && all_there;
  }

 private:
  static bool runs(std::string_view state) {
    return state == "preflight" || state == "holding" || state == "paused" || state == "returning";
  }

  std::map<std::string, std::string> states_;  // by service
  std::set<std::string> ran_;
};

// Asks once a second until no rollout that it shows runs any more: 0 when all
// are complete. `line` is the command without its `json`.
int watch(const std::string& path, const std::string& line, bool json) {
  constexpr int kMostSilences = 5;  // a process that takes over answers in that time
  // One line of both, so that the text and the states are of the same moment.
  const std::string both = (json ? "" : line + "; ") + "json " + line + "\n";
  Screen screen;
  Watched watched;
  for (int silences = 0;; sleep(1)) {
    const conf::Result<std::string> answer = ask(path, both);
    const std::string text = answer.ok() ? *answer : std::string();
    const size_t end = json ? 0 : text.rfind("\n\n");
    const bool refused = is_refusal(text, json);
    if (refused) {
      std::fprintf(json ? stdout : stderr, "%s\n", text.substr(0, json ? text.size() : end).c_str());
      return kRefused;
    }
    if (end == std::string::npos || !watched.take(text.substr(json ? 0 : end + 2))) {
      if (screen.empty() || ++silences == kMostSilences) {
        return complain(json, "unavailable",
                        answer.ok() ? "the server's answer is cut off; see its log" : answer.error().detail);
      }
      continue;
    }
    silences = 0;
    const bool last = watched.over();
    const std::string shown =
        json ? screen.show(text, {}, last) : screen.show(text.substr(0, end), size_of_terminal(), last);
    std::fwrite(shown.data(), 1, shown.size(), stdout);
    std::fflush(stdout);
    if (last) return watched.completed() ? kDone : kRefused;
  }
}

// `line` without its end, `json` and -w, if it asks to watch rollouts.
std::string watched_command(const std::string& line) {
  std::string command(command_in(std::string_view(line).substr(0, line.size() - 1)));
  if (!command.starts_with(kWatchable)) return {};
  const std::string_view rest = std::string_view(command).substr(kWatchable.size());
  const bool asks = rest.ends_with(kWatch) || rest.starts_with(std::string(kWatch) + " ");
  return asks ? command.erase(command.find(kWatch), kWatch.size()) : std::string();
}

// What this binary knows itself, where there is no process to ask.
int help_offline(const CtlOptions& options) {
  const CommandTable table = make_command_table();
  const std::vector<std::string> about(options.words.begin() + 1, options.words.end());
  const std::variant<std::string, Refusal> found =
      about.empty() ? std::variant<std::string, Refusal>(table.help()) : table.help(about);
  if (const auto* const refusal = std::get_if<Refusal>(&found)) {
    std::fprintf(stderr, "error: %s\n", refusal->message.c_str());
    return kRefused;
  }
  std::printf("%s\n", std::get<std::string>(found).c_str());
  return kDone;
}

}  // namespace

std::string ctl_line(const CtlOptions& options) {
  std::string line;
  if (options.words.size() == 1) {
    line = options.words.front();
  } else {
    for (const std::string& word : options.words) {
      line += (line.empty() ? "" : " ") + (word == ";" ? word : quote_word(word));
    }
  }
  std::replace(line.begin(), line.end(), '\n', ' ');
  if (!options.json) return line + "\n";
  std::string all;
  for (const std::string_view command : split_commands(line)) {
    all += (all.empty() ? "json " : "; json ") + std::string(command);
  }
  return all + "\n";
}

int run_ctl(const CtlOptions& options) {
  // The first process of a container does not end by a signal that nobody minds.
  for (const int number : {SIGINT, SIGTERM, SIGHUP})
    std::signal(number, [](int signal) { _exit(128 + signal); });
  const std::string line = ctl_line(options);
  const bool nothing = std::all_of(options.words.begin(), options.words.end(),
                                   [](const std::string& word) { return word.empty(); });
  if (nothing || split_commands(std::string_view(line).substr(0, line.size() - 1)).empty()) {
    return complain(options.json, "usage", "no command was given; 'sluice ctl help' lists them");
  }
  if (asks_for_dialogue(line)) {
    return complain(options.json, "usage",
                    "prompt and quit are for a dialogue on the socket itself: socat - UNIX-CONNECT:SOCKET");
  }
  const conf::Result<std::string> path = admin_socket_path(options.socket);
  if (!path.ok() && options.words.front() == "help" && !options.json) return help_offline(options);
  if (!path.ok()) return complain(options.json, conf::to_string(path.error().kind), path.error().detail);
  if (const std::string watching = watched_command(line); !watching.empty()) {
    return watch(*path, watching, options.json);
  }
  return ask_until_answered(*path, line, options.json);
}

}  // namespace sluice::admin
