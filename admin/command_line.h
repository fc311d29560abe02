// How a line of the admin socket divides into commands and words.
//
//   line     = command *( ";" command )
//   command  = [ "json " ] word *( blank word )
//   word     = 1*( any character but blank, ";" and quote ) or
//              a quoted string: "…" with \" and \\ in it, where blanks and
//              semicolons stand for themselves
//
// A command is UTF-8 without control characters.
//
// Pure functions; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "conf/result.h"

namespace sluice::admin {

inline constexpr size_t kMaxLineBytes = 16 * 1024;

enum class Format : uint8_t { text, json };

// The commands of a line, without the blanks around them; empty ones are left
// out. Views into `line`.
std::vector<std::string_view> split_commands(std::string_view line);

struct ParsedCommand {
  Format format = Format::text;
  std::vector<std::string> words;
};
// Errors: what is no text, and a quoted string without an end.
conf::Result<ParsedCommand> parse_command(std::string_view command);

// The first `most` octets of what parse_command has let pass, or fewer so that
// no character is cut.
std::string_view clip(std::string_view text, size_t most);

// `word` as parse_command reads it back, quoted where it must be.
std::string quote_word(std::string_view word);

}  // namespace sluice::admin
