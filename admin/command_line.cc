#include "admin/command_line.h"

#include "proxy/json_text.h"

namespace sluice::admin {
namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

// UTF-8 without control characters: what is repeated in replies, events and logs
// must do no harm there.
bool is_text(std::string_view text) {
  while (!text.empty()) {
    const auto octet = static_cast<unsigned char>(text.front());
    const bool plain = (octet >= 0x20 && octet < 0x7f) || is_blank(text.front());
    const size_t length = plain ? 1 : octet < 0x80 ? 0 : proxy::utf8_length(text);
    const bool is_c1_control = length == 2 && octet == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0;
    if (length == 0 || is_c1_control) return false;
    text.remove_prefix(length);
  }
  return true;
}

conf::Error usage(const char* detail) {
  return {conf::Error::Kind::invalid, conf::Error::Source::operator_, false, detail};
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
  if (!is_text(command)) return usage("a command is UTF-8 text without control characters");
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
  if (quoted) return usage("a quoted word has no end; close it with \"");
  end_word();
  if (!parsed.words.empty() && parsed.words.front() == "json") {
    parsed.format = Format::json;
    parsed.words.erase(parsed.words.begin());
  }
  return parsed;
}

std::string_view clip(std::string_view text, size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
  return text.substr(0, most);
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
