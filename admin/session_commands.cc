// The commands about the session itself.
#include "admin/command_table.h"
#include "admin/listing.h"

namespace sluice::admin {
namespace {

Outcome help(const Call& call) {
  const CommandTable& commands = call.context.commands;
  if (call.arguments.empty()) return either(call.format, {{"help", commands.help()}}, commands.help());
  const auto found = commands.help(call.arguments);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  const std::string& text = std::get<std::string>(found);
  return either(call.format, {{"help", text}}, text);
}

constexpr Command kCommands[] = {
    {"help", "[CMD...]", "Lists the commands, or explains those that begin with CMD.", false, at_once<help>},
    {"prompt", "", "Keeps the session open and prompts with '> ' for each further line.", false,
     [](const Call&, AnswerPtr answer) { answer->make_interactive(); }},
    {"quit", "", "Ends the session.", false, [](const Call&, AnswerPtr answer) { answer->quit(); }},
};

}  // namespace

std::span<const Command> session_commands() {
  return kCommands;
}

}  // namespace sluice::admin
