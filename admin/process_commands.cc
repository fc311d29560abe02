// The commands about the process as a whole, and those that wait for it.
#include <fmt/format.h>
#include <uv.h>

#include "admin/command_table.h"
#include "admin/listing.h"
#include "admin/wait.h"
#include "conf/parse.h"
#include "conf/units.h"

namespace sluice::admin {
namespace {

Json changes_as_json(const std::vector<conf::Change>& changes) {
  Json list = Json::array();
  for (const conf::Change& change : changes) {
    list.push_back({{"key", change.path}, {"before", change.before}, {"after", change.after}});
  }
  return list;
}

Outcome describe(const proxy::ReloadReport& report, Format format) {
  std::string text = fmt::format("reloaded: {} changes in force, {} need a restart\n", report.applied.size(),
                                 report.needs_restart.size());
  for (const conf::Change& change : report.applied) text += "  " + change.to_string() + "\n";
  for (const conf::Change& change : report.needs_restart) text += "  " + change.to_string() + "\n";
  for (const conf::Change& change : report.next_start) {
    text +=
        "  " + change.to_string() + " (from the next start of the rollout, which goes on by its old plan)\n";
  }
  for (const std::string& value : report.run_time_values) text += "  kept: " + value + "\n";
  return either(format,
                {{"applied", changes_as_json(report.applied)},
                 {"needs_restart", changes_as_json(report.needs_restart)},
                 {"next_start", changes_as_json(report.next_start)},
                 {"kept", report.run_time_values}},
                text);
}

void reload(const Call& call, AnswerPtr answer) {
  call.control().reload(call.actor,
                        [answer = std::move(answer), call](const conf::Result<proxy::ReloadReport>& report) {
                          if (report.ok()) {
                            finish_once_durable(call, answer, describe(*report, call.format));
                          } else {
                            answer->finish(Refusal{report.error()});
                          }
                        });
}

// A file is read and checked on libuv's pool, since a file system may be slow.
struct Check {
  uv_work_t work{};
  proxy::Loop& loop;
  std::string file;
  Format format;
  AnswerPtr answer;
  conf::ParseOutcome outcome;
};

Outcome describe(const Check& check) {
  if (!check.outcome.ok()) {
    return Refusal{"invalid",
                   fmt::format("{} error{}; nothing was changed\n{}", check.outcome.errors.size(),
                               check.outcome.errors.size() == 1 ? "" : "s", check.outcome.to_string())};
  }
  return either(check.format, {{"file", check.file}, {"services", check.outcome.config->services.size()}},
                check.file + ": no errors");
}

void check(const Call& call, AnswerPtr answer) {
  const std::string* const file = call.argument(0);
  auto job = std::make_unique<Check>(Check{{},
                                           call.control().loop(),
                                           file != nullptr ? *file : call.control().config().file,
                                           call.format,
                                           std::move(answer),
                                           {}});
  job->work.data = job.get();
  const int error = uv_queue_work(
      call.control().loop().uv(), &job->work,
      [](uv_work_t* work) {
        Check& self = *static_cast<Check*>(work->data);
        self.outcome = conf::parse_file(self.file, conf::Patience::regular_files);
      },
      [](uv_work_t* work, int) {
        const std::unique_ptr<Check> self(static_cast<Check*>(work->data));
        const proxy::Loop::Scope scope(self->loop);
        self->answer->finish(describe(*self));
      });
  if (error != 0) {
    job->answer->finish(Refusal{"internal", uv_strerror(error)});
    return;
  }
  static_cast<void>(job.release());  // whom the work tells owns it
}

Outcome drain(const Call& call) {
  if (call.control().state() != proxy::RunState::running) {
    return Refusal{"refused", fmt::format("the process is {} already", to_string(call.control().state()))};
  }
  call.control().drain(call.actor);
  return either(call.format, {{"state", to_string(call.control().state())}},
                "draining: no new connections; the process ends when the requests under way have finished");
}

void shut_down(const Call& call, AnswerPtr answer) {
  // First the answer: what follows may close its session.
  answer->finish(either(call.format, {{"state", "stopped"}}, "stopping"));
  call.control().shutdown(call.actor);
}

// All of them with their arguments, each between `quotes`.
std::string known_conditions(std::string_view quotes) {
  std::string known;
  for (const WaitCondition& condition : wait_conditions()) {
    known += fmt::format("{}{}{}{}{}{}", known.empty() ? "" : "; ", quotes, condition.name,
                         *condition.arguments == '\0' ? "" : " ", condition.arguments, quotes);
  }
  return known;
}

void wait(const Call& call, AnswerPtr answer) {
  const std::optional<uint64_t> seconds = conf::parse_unsigned(call.arguments[0]);
  if (!seconds.has_value() || *seconds > Waits::kMostSeconds) {
    answer->finish(Refusal{
        "usage", fmt::format("the time is a whole number of seconds, at most {}", Waits::kMostSeconds)});
    return;
  }
  for (const WaitCondition& condition : wait_conditions()) {
    if (call.arguments[1] != condition.name) continue;
    auto made = condition.make(call, std::span(call.arguments).subspan(2));
    if (const auto* refusal = std::get_if<Refusal>(&made)) {
      answer->finish(*refusal);
    } else {
      call.context.waits.begin(std::move(*std::get_if<WaitCheck>(&made)), *seconds * 1000, std::move(answer));
    }
    return;
  }
  answer->finish(Refusal{"usage", "unknown condition; there are: " + known_conditions("")});
}

const char* wait_help() {
  static const std::string text =
      "Waits until the condition holds, at most so many seconds. A wait that runs out of time, or whose "
      "condition can no longer come true, is refused. CONDITION is one of: " +
      known_conditions("`") + ".";
  return text.c_str();
}

}  // namespace

std::span<const Command> process_commands() {
  static const Command commands[] = {
      {"reload", "",
       "Reads the configuration file again and puts it in force, whole or not at all. The reply lists what "
       "changed, "
       "what needs a restart, and values set at run time that the file would set differently; those stay.",
       true, reload},
      {"check", "[FILE]",
       "Checks a configuration file without using it, by default the one in use. The reply lists every error.",
       false, check},
      {"drain", "",
       "Stops accepting, lets requests under way finish, then ends the process with exit code 0. /ready "
       "answers 503 "
       "from then on.",
       true, at_once<drain>},
      {"shutdown", "", "Ends the process at once. Requests under way are cut off.", true, shut_down},
      {"wait", "SECONDS CONDITION...", wait_help(), false, wait},
  };
  return commands;
}

}  // namespace sluice::admin
