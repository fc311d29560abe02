#include "admin/command_line.h"

namespace sluice::admin {
namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace

std::vector<std::string_view> split_commands(std::string_view line) {
  std::vector<std::string_view> commands;
  bool quoted = false;
  size_t begin = 0;
  for (size_t i = 0; i <= line.size(); ++i) {
    if (i < line.size()) {
      if (quoted && line[i] == '\\' && i + 1 < line.size()) {
        ++i;
        continue;
      }
      if (line[i] == '"') quoted = !quoted;
      if (line[i] != ';' || quoted) continue;
    }
    if (const std::string_view command = trim(line.substr(begin, i - begin)); !command.empty()) {
      commands.push_back(command);
    }
    begin = i + 1;
  }
  return commands;
}

conf::Result<ParsedCommand> parse_command(std::string_view command) {
  ParsedCommand parsed;
  std::string word;
  bool in_word = false;
  bool quoted = false;
  const auto end_word = [&] {
    if (in_word) parsed.words.push_back(std::move(word));
    word.clear();
    in_word = false;
  };
  for (size_t i = 0; i < command.size(); ++i) {
    const char c = command[i];
    if (quoted && c == '\\' && i + 1 < command.size() && (command[i + 1] == '"' || command[i + 1] == '\\')) {
      word += command[++i];
    } else if (c == '"') {
      quoted = !quoted;
      in_word = true;
    } else if (!quoted && is_blank(c)) {
      end_word();
    } else {
      word += c;
      in_word = true;
    }
  }
  if (quoted) {
    return conf::Error{conf::Error::Kind::invalid, conf::Error::Source::operator_, false,
                       "a quoted word has no end; close it with \""};
  }
  end_word();
  if (!parsed.words.empty() && parsed.words.front() == "json") {
    parsed.format = Format::json;
    parsed.words.erase(parsed.words.begin());
  }
  return parsed;
}

std::string quote_word(std::string_view word) {
  if (!word.empty() && word.find_first_of(" \t\r;\"") == std::string_view::npos) return std::string(word);
  std::string quoted = "\"";
  for (const char c : word) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

}  // namespace sluice::admin
