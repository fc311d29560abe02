// A proxy without traffic, and a client that keeps what it is answered.
//
//   TestProxy proxy(kTwoServices);
//   CHECK(proxy.ask("show split web") == "...");
//
// Control is the real one, with one worker and a listener on a port of the
// kernel's choice; commands run on its loop, which a test drives by waiting for
// an answer.
#pragma once

#include <uv.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "admin/command_table.h"
#include "admin/server.h"
#include "conf/parse.h"
#include "proxy/control.h"

namespace sluice::admin::test {

inline constexpr const char* kTwoServices = R"(
workers = 1
[log]
level = "error"
[[listener]]
bind = "127.0.0.1:0"
[[route]]
host = "web.example"
service = "web"
[[route]]
host = "plain.example"
service = "plain"
[service.web]
[service.web.blue]
endpoints = ["127.0.0.1:9", "unix:/nonexistent/app.sock"]
max_connections = 40
[service.web.green]
endpoints = ["127.0.0.1:10"]
[service.plain.blue]
endpoints = ["127.0.0.1:11"]
[cap.database]
members = ["web/blue", "web/green"]
max_connections = 100
)";

inline conf::Config config_of(const std::string& text) {
  conf::ParseOutcome outcome = conf::parse(text, "test.toml");
  INFO(outcome.to_string());
  REQUIRE(outcome.ok());
  return std::move(*outcome.config);
}

// Takes the place of a session.
class Recorder final : public Answer::Sink {
 public:
  explicit Recorder(Format format) : format_(format) {}

  void reply(const Outcome& outcome) override { end(render(outcome, format_)); }
  void partial(const Output& output) override { partials += render(output, format_) + "\n"; }
  void to_interactive() override { end("(interactive)"); }
  void quit() override { end("(quit)"); }

  std::optional<std::string> answer;
  std::string partials;

 private:
  void end(std::string text) {
    REQUIRE(!answer.has_value());
    answer = std::move(text);
  }
  const Format format_;
};

class TestProxy {
 public:
  explicit TestProxy(const std::string& text = kTwoServices)
      : control(config_of(text), "1.2.3"), server(control) {
    const conf::Status started = control.start();
    INFO((started.ok() ? "" : started.error().detail));
    REQUIRE(started.ok());
  }
  TestProxy(const TestProxy&) = delete;
  TestProxy& operator=(const TestProxy&) = delete;
  ~TestProxy() { end(); }

  // Stops everything; for what must go after the loop has ended.
  void end() {
    if (std::exchange(ended_, true)) return;
    control.shutdown({"test", ""});
    CHECK(control.run() == 0);
  }

  // Begins a command; its answer may come later.
  AnswerPtr begin(const std::string& text, Recorder& recorder) {
    conf::Result<ParsedCommand> parsed = parse_command(text);
    REQUIRE(parsed.ok());
    const AnswerPtr answer = std::make_shared<Answer>(recorder);
    const auto found = server.context().commands.find(parsed->words);
    if (const auto* refusal = std::get_if<Refusal>(&found)) {
      answer->finish(*refusal);
      return answer;
    }
    const auto& match = std::get<CommandTable::Match>(found);
    parsed->words.erase(parsed->words.begin(),
                        parsed->words.begin() + static_cast<std::ptrdiff_t>(match.name_words));
    const Call call{server.context(), {"admin", "uid 0 pid 1"}, parsed->format, std::move(parsed->words)};
    const proxy::Loop::Scope scope(control.loop());
    match.command->run(call, answer);
    return answer;
  }

  // The answer to a command, when it has come.
  std::string ask(const std::string& text) {
    const conf::Result<ParsedCommand> parsed = parse_command(text);
    Recorder recorder(parsed.ok() ? parsed->format : Format::text);
    const AnswerPtr answer = begin(text, recorder);
    run_until([&] { return recorder.answer.has_value(); });
    return *recorder.answer;
  }
  nlohmann::json ask_json(const std::string& text) { return nlohmann::json::parse(ask("json " + text)); }

  // Turns the loop until `done`, which must come true.
  template <typename Done>
  void run_until(Done done) {
    while (!done()) uv_run(control.loop().uv(), UV_RUN_ONCE);
  }

  proxy::Control control;
  Server server;

 private:
  bool ended_ = false;
};

}  // namespace sluice::admin::test
