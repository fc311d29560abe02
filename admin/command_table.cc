#include "admin/command_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "conf/edit_distance.h"

namespace sluice::admin {
namespace {

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const size_t blank = text.find(' ');
    if (blank != 0) words.push_back(text.substr(0, blank));
    if (blank == std::string_view::npos) break;
    text.remove_prefix(blank + 1);
  }
  return words;
}

bool begins_with(const std::vector<std::string>& words, std::string_view name) {
  const std::vector<std::string_view> wanted = words_of(name);
  return words.size() >= wanted.size() && std::equal(wanted.begin(), wanted.end(), words.begin());
}

struct Arity {
  size_t least = 0;
  size_t most = 0;
};

// Read off the syntax: what stands in brackets may be left out. A bracket
// within a word, as in SVC[/UPSTREAM], leaves it one word.
Arity arity_of(std::string_view syntax) {
  Arity arity;
  bool optional = false;
  for (const std::string_view word : words_of(syntax)) {
    if (word.front() == '[') optional = true;
    if (word.ends_with("...") || word.ends_with("...]")) {
      arity.most = std::numeric_limits<size_t>::max();
      if (!optional) ++arity.least;
      return arity;
    }
    ++arity.most;
    if (!optional) ++arity.least;
    const auto opened = std::count(word.begin(), word.end(), '[');
    const auto closed = std::count(word.begin(), word.end(), ']');
    if (optional && closed > 0 && closed >= opened) optional = false;
  }
  return arity;
}

std::string usage_of(const Command& command) {
  return *command.arguments == '\0' ? std::string(command.name)
                                    : fmt::format("{} {}", command.name, command.arguments);
}

// Without its full stop, which a blank follows where it is not the last.
std::string_view first_sentence(std::string_view help) {
  const size_t end = help.find(". ");
  return end == std::string_view::npos ? help.substr(0, help.size() - 1) : help.substr(0, end);
}

std::string joined(const std::vector<std::string>& words, size_t count) {
  std::string text;
  for (size_t i = 0; i < std::min(count, words.size()); ++i) text += (i == 0 ? "" : " ") + words[i];
  return text;
}

// What the client wrote is shown back only as far as it is reasonable.
std::string shown(const std::string& text) {
  constexpr size_t kMostShown = 64;
  const std::string_view part = clip(text, kMostShown);
  return std::string(part) + (part.size() < text.size() ? "..." : "");
}

constexpr std::string_view kMarkdownHead =
    "# The admin socket\n\n"
    "<!-- Made from the command table by: admin_tests \"[write-reference]\" -->\n\n"
    "One command a line; several are joined by `;` and answered in order, each whatever became of the\n"
    "one before. A reply is lines of text that an empty line ends; then the connection closes, unless the\n"
    "session began with `prompt`. A command behind `json ` is answered by one JSON object on one line:\n"
    "`{\"ok\":true,...}` or `{\"ok\":false,\"error\":{\"code\":\"...\",\"message\":\"...\"}}`. A refusal as "
    "text is\n"
    "`error: CODE: MESSAGE`. Words with blanks or semicolons go in double quotes. A line has at most\n"
    "16 KiB. In the syntax, `[...]` may be left out and `a|b` is a choice.\n\n"
    "`sluice ctl CMD` exits 0 when all was done, 1 when something was refused, and 2 for the code `usage`\n"
    "or when the socket can't be reached.\n\n"
    "Codes: `usage`, `invalid`, `not_found`, `conflict`, `refused`, `unavailable`, `timeout`, `io`,\n"
    "`internal`.\n";

}  // namespace

std::variant<CommandTable::Match, Refusal> CommandTable::find(const std::vector<std::string>& words) const {
  Match best{nullptr, 0};
  for (const Group& group : groups_) {
    for (const Command& command : group.commands) {
      const size_t name_words = words_of(command.name).size();
      if (name_words > best.name_words && begins_with(words, command.name)) best = {&command, name_words};
    }
  }
  if (best.command == nullptr) return unknown(words);
  const Arity arity = arity_of(best.command->arguments);
  const size_t given = words.size() - best.name_words;
  if (given < arity.least || given > arity.most) {
    return Refusal{
        "usage", fmt::format("{} words behind '{}'; write: {}", given < arity.least ? "too few" : "too many",
                             best.command->name, usage_of(*best.command))};
  }
  return best;
}

Refusal CommandTable::unknown(const std::vector<std::string>& words) const {
  if (words.empty()) return {"usage", "no command; 'help' lists them"};
  std::string_view nearest;
  size_t least = std::numeric_limits<size_t>::max();
  bool first_word_known = false;
  for (const Group& group : groups_) {
    for (const Command& command : group.commands) {
      const size_t count = words_of(command.name).size();
      const std::string asked = joined(words, count);
      if (words_of(command.name).front() == words.front()) first_word_known = true;
      if (asked.size() > conf::kMaxHintedWord) continue;
      const size_t distance = conf::edit_distance(asked, command.name);
      if (distance >= least || distance > std::max<size_t>(1, asked.size() / 3)) continue;
      least = distance;
      nearest = command.name;
    }
  }
  std::string message = fmt::format("no command is called '{}'", shown(joined(words, 2)));
  if (!nearest.empty()) {
    message += fmt::format("; did you mean '{}'?", nearest);
  } else if (first_word_known) {
    message += fmt::format("; 'help {}' lists what there is", shown(words.front()));
  } else {
    message += "; 'help' lists what there is";
  }
  return {"usage", message};
}

std::string CommandTable::help() const {
  size_t width = 0;
  for (const Group& group : groups_) {
    for (const Command& command : group.commands) width = std::max(width, usage_of(command).size());
  }
  std::string text;
  for (const Group& group : groups_) {
    text += fmt::format("{}:\n", group.title);
    for (const Command& command : group.commands) {
      text += fmt::format("  {:<{}}  {}\n", usage_of(command), width, first_sentence(command.help));
    }
  }
  return text + "'help CMD' says more; a command behind 'json' is answered in JSON.";
}

std::variant<std::string, Refusal> CommandTable::help(const std::vector<std::string>& prefix) const {
  std::string text;
  const std::string wanted = joined(prefix, prefix.size());
  for (const Group& group : groups_) {
    for (const Command& command : group.commands) {
      const std::string_view name = command.name;
      if (name != wanted && !name.starts_with(wanted + " ")) continue;
      text += fmt::format("{}\n  {}\n", usage_of(command), command.help);
    }
  }
  if (text.empty()) return unknown(prefix);
  return text;
}

std::string CommandTable::markdown() const {
  std::string text(kMarkdownHead);
  for (const Group& group : groups_) {
    text += fmt::format("\n## {}\n", group.title);
    for (const Command& command : group.commands) {
      text += fmt::format("\n`{}`{}\n\n{}\n", usage_of(command), command.changes ? " (changes state)" : "",
                          command.help);
    }
  }
  return text;
}

CommandTable make_command_table() {
  return CommandTable({{"What there is", show_commands()},
                       {"Certificates", certificate_commands()},
                       {"How long it takes", latency_commands()},
                       {"What goes on", traffic_commands()},
                       {"Changes of traffic", change_commands()},
                       {"The judge", trip_commands()},
                       {"Rollouts", rollout_commands()},
                       {"The process", process_commands()},
                       {"The session", session_commands()}});
}

}  // namespace sluice::admin
