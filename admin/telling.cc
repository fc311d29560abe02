#include "admin/telling.h"

#include <memory>
#include <optional>

#include "admin/command_table.h"

namespace sluice::admin {
namespace {

// Takes the place of a session for a command that answers at once.
class Listener final : public Answer::Sink {
 public:
  void reply(const Outcome& outcome) override {
    if (const auto* output = std::get_if<Output>(&outcome)) members = output->body;
  }
  void partial(const Output&) override {}
  void to_interactive() override {}
  void quit() override {}

  std::string members;
};

constexpr const char* kOfTheProcess[] = {"show info", "show services", "show caps"};
constexpr const char* kOfAService[] = {"show split",   "show upstreams", "show endpoints", "show trip",
                                       "show rollout", "show latency",   "show slo"};

}  // namespace

std::string told(Context& context, std::string_view command) {
  conf::Result<ParsedCommand> parsed = parse_command(command);
  if (!parsed.ok()) return {};
  const auto found = context.commands.find(parsed->words);
  const auto* const match = std::get_if<CommandTable::Match>(&found);
  if (match == nullptr || match->command->changes) return {};
  std::vector<std::string>& words = parsed->words;
  words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(match->name_words));
  const Call call{context, {}, Format::json, std::move(words)};
  Listener listener;
  const auto answer = std::make_shared<Answer>(listener);
  match->command->run(call, answer);
  answer->abandon();
  return listener.members;
}

std::string tell_everything(Context& context, const std::string& service) {
  std::string object;
  const auto add = [&](const std::string& command) {
    const std::string members = told(context, command);
    if (!members.empty()) object += (object.empty() ? "" : ",") + members;
  };
  for (const char* const command : kOfTheProcess) add(command);
  for (const char* const command : kOfAService) add(std::string(command) + " " + quote_word(service));
  return "{" + object + "}";
}

}  // namespace sluice::admin
