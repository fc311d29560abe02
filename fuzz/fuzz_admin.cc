// The admin command line: any line, against the real table and a real Control
// that carries no traffic.
//
// Invariants: words survive quoting; every command is answered once, at once or
// after it was given up; a text reply has no empty line inside, which would end
// it, and a JSON reply is one line that parses. Commands that end the process or
// read files are left out.
#include <uv.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "admin/command_table.h"
#include "admin/server.h"
#include "conf/parse.h"
#include "fuzz/fuzz.h"
#include "proxy/control.h"

namespace sluice::fuzz {
namespace {

using namespace admin;

constexpr const char* kConfig = R"(
workers = 1
[log]
level = "error"
[[listener]]
bind = "127.0.0.1:0"
[service.web]
[service.web.blue]
endpoints = ["127.0.0.1:9", "unix:/nonexistent/app.sock"]
max_connections = 40
[service.web.green]
endpoints = ["127.0.0.1:10"]
[cap.database]
members = ["web/blue", "web/green"]
max_connections = 100
)";

void check_reply(const std::string& reply, Format format) {
  if (format == Format::text) {
    must(!reply.empty() && reply.find("\n\n") == std::string::npos && !reply.ends_with('\n'),
         "a text reply with an empty line", reply);
    return;
  }
  must(reply.find('\n') == std::string::npos, "a JSON reply of several lines", reply);
  const nlohmann::json parsed = nlohmann::json::parse(reply, nullptr, false);
  must(parsed.is_object() && parsed.contains("ok") && parsed["ok"].is_boolean(), "no JSON reply", reply);
}

// Takes the place of a session.
class Asker final : public Answer::Sink {
 public:
  explicit Asker(Format format) : format_(format) {}
  void reply(const Outcome& outcome) override {
    check_reply(render(outcome, format_), format_);
    ++answers;
  }
  void partial(const Output& output) override { check_reply(render(output, format_), format_); }
  void to_interactive() override { ++answers; }
  void quit() override { ++answers; }

  int answers = 0;

 private:
  const Format format_;
};

// One for all inputs; it ends with the process.
class Proxy {
 public:
  Proxy() : control_(*conf::parse(kConfig, "/nonexistent.toml").config, "1.0"), server_(control_) {
    must(control_.start().ok(), "the proxy does not start");
  }

  void ask(std::string_view text) {
    conf::Result<ParsedCommand> parsed = parse_command(text);
    if (!parsed.ok()) return;
    check_quoting(parsed->words);
    const auto found = server_.context().commands.find(parsed->words);
    if (const auto* refusal = std::get_if<Refusal>(&found)) {
      check_reply(render(*refusal, parsed->format), parsed->format);
      return;
    }
    const auto& match = std::get<CommandTable::Match>(found);
    if (is_left_out(match.command->name)) return;
    parsed->words.erase(parsed->words.begin(),
                        parsed->words.begin() + static_cast<std::ptrdiff_t>(match.name_words));
    Asker asker(parsed->format);
    const AnswerPtr answer = std::make_shared<Answer>(asker);
    const Call call{server_.context(), {"admin", "fuzz"}, parsed->format, std::move(parsed->words)};
    {
      const proxy::Loop::Scope scope(control_.loop());
      match.command->run(call, answer);
      uv_run(control_.loop().uv(), UV_RUN_NOWAIT);
      answer->abandon();
    }
    must(asker.answers <= 1, "two answers", text);
  }

 private:
  static bool is_left_out(std::string_view name) {
    for (const std::string_view one : {"shutdown", "drain", "check", "upgrade"}) {
      if (name == one) return true;
    }
    return false;
  }

  static void check_quoting(const std::vector<std::string>& words) {
    std::string line;
    for (const std::string& word : words) line += quote_word(word) + " ";
    const std::vector<std::string_view> commands = split_commands(line);
    if (words.empty() || words.front() == "json") return;
    must(commands.size() == 1, "quoting divides a command", line);
    const conf::Result<ParsedCommand> again = parse_command(commands.front());
    must(again.ok() && again->words == words, "quoting changes a word", line);
  }

  proxy::Control control_;
  Server server_;
};

}  // namespace
}  // namespace sluice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice;
  // Never destroyed: its threads run as long as the process.
  static fuzz::Proxy& proxy = *new fuzz::Proxy;
  const std::string text(reinterpret_cast<const char*>(data), std::min(size, admin::kMaxLineBytes));
  const std::string line = text.substr(0, text.find('\n'));
  for (const std::string_view command : admin::split_commands(line)) proxy.ask(command);
  return 0;
}
