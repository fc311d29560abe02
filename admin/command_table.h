// CommandTable: every command of the admin socket once, with its syntax and its
// help. Parsing, `help`, the hints for unknown commands and docs/admin.md all
// come from it.
//
// Thread: immutable after it was made; any.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "admin/command.h"

namespace sluice::admin {

class CommandTable {
 public:
  // A group is what one part of the process adds, with a heading for the help.
  // The rows must live as long as the table.
  struct Group {
    const char* title;
    std::span<const Command> commands;
  };
  explicit CommandTable(std::vector<Group> groups) : groups_(std::move(groups)) {}

  // The command that the words begin with, the longest name winning; or why
  // there is none: unknown (with the nearest known one), or too few or too many
  // words behind its name.
  struct Match {
    const Command* command;
    size_t name_words;
  };
  std::variant<Match, Refusal> find(const std::vector<std::string>& words) const;

  // All commands in a line each, or all that begin with `prefix`, in full.
  std::string help() const;
  std::variant<std::string, Refusal> help(const std::vector<std::string>& prefix) const;
  // docs/admin.md.
  std::string markdown() const;

  const std::vector<Group>& groups() const { return groups_; }

 private:
  Refusal unknown(const std::vector<std::string>& words) const;

  std::vector<Group> groups_;
};

// The commands of this process, in the order of the help.
CommandTable make_command_table();

// Groups, one for each file of functions.
std::span<const Command> show_commands();
std::span<const Command> certificate_commands();
std::span<const Command> latency_commands();
std::span<const Command> traffic_commands();
std::span<const Command> change_commands();
std::span<const Command> trip_commands();
std::span<const Command> rollout_commands();
std::span<const Command> process_commands();
std::span<const Command> session_commands();

}  // namespace sluice::admin
