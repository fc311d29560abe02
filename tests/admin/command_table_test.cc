// Also holds docs/admin.md to the table. After a change of it:
//   admin_tests "[write-reference]"
#include "admin/command_table.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

namespace sluice::admin {
namespace {

std::vector<std::string> words(const std::string& text) {
  return parse_command(text).value().words;
}

std::string refusal(const CommandTable& table, const std::string& text) {
  const auto found = table.find(words(text));
  const auto* why = std::get_if<Refusal>(&found);
  return why == nullptr ? "(found)" : why->code + ": " + why->message;
}

bool found(const CommandTable& table, const std::string& text, const std::string& name, size_t name_words) {
  const auto result = table.find(words(text));
  const auto* match = std::get_if<CommandTable::Match>(&result);
  return match != nullptr && match->command->name == name && match->name_words == name_words;
}

std::filesystem::path reference_path() {
  return std::filesystem::path(SLUICE_SOURCE_DIR) / "docs/admin.md";
}

TEST_CASE("command table: a command is found by its whole name, with its arguments counted") {
  const CommandTable table = make_command_table();
  CHECK(found(table, "show split", "show split", 2));
  CHECK(found(table, "show split web", "show split", 2));
  CHECK(found(table, "set weight web green=25 if-gen 3", "set weight", 2));
  CHECK(found(table, "wait 5 split web green=1", "wait", 1));
  CHECK(found(table, "drain", "drain", 1));
}

TEST_CASE("command table: too few and too many words are refused with the syntax") {
  const CommandTable table = make_command_table();
  CHECK(refusal(table, "set weight web") ==
        "usage: too few words behind 'set weight'; write: set weight SVC green=PERCENT [if-gen N]");
  CHECK(refusal(table, "show split a b") ==
        "usage: too many words behind 'show split'; write: show split [SVC]");
  CHECK(refusal(table, "drain now") == "usage: too many words behind 'drain'; write: drain");
}

TEST_CASE("command table: an unknown command gets the nearest known one as a hint") {
  const CommandTable table = make_command_table();
  CHECK(refusal(table, "show splt") == "usage: no command is called 'show splt'; did you mean 'show split'?");
  CHECK(refusal(table, "set wieght web green=1") ==
        "usage: no command is called 'set wieght'; did you mean 'set weight'?");
  CHECK(refusal(table, "show xyzzyxyzzy") ==
        "usage: no command is called 'show xyzzyxyzzy'; 'help show' lists what there is");
  CHECK(refusal(table, "xyzzyxyzzy") ==
        "usage: no command is called 'xyzzyxyzzy'; 'help' lists what there is");
  CHECK(refusal(table, "show") == "usage: no command is called 'show'; 'help show' lists what there is");
}

TEST_CASE("command table: what a hint shows of an unknown command is short and cuts no character") {
  const CommandTable table = make_command_table();
  CHECK(refusal(table, std::string(5000, 'x')).size() < 200);
  for (const char* const before : {"", "x"}) {
    std::string accents = before;
    for (int i = 0; i < 100; ++i) accents += "\xc3\xa9";
    CHECK(parse_command(refusal(table, accents)).ok());
  }
}

TEST_CASE("command table: names are unique and every row has help in whole sentences") {
  const CommandTable table = make_command_table();
  std::set<std::string> names;
  for (const CommandTable::Group& group : table.groups()) {
    for (const Command& command : group.commands) {
      INFO(command.name);
      CHECK(names.insert(command.name).second);
      CHECK(std::string_view(command.help).ends_with('.'));
    }
  }
}

TEST_CASE("command table: help lists all commands, or explains those with a prefix") {
  const CommandTable table = make_command_table();
  const std::string all = table.help();
  CHECK(all.find("set weight SVC green=PERCENT [if-gen N]") != std::string::npos);
  const auto one = table.help({"set", "weight"});
  REQUIRE(std::holds_alternative<std::string>(one));
  CHECK(std::get<std::string>(one).find("0.01") != std::string::npos);
  CHECK(std::get<std::string>(one).find("set maxconn") == std::string::npos);
  CHECK(std::get<std::string>(table.help({"set"})).find("set maxconn") != std::string::npos);
  CHECK(std::holds_alternative<Refusal>(table.help({"xyzzy"})));
}

TEST_CASE("command table: docs/admin.md is what the table says") {
  std::ifstream file(reference_path());
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  CHECK((text == make_command_table().markdown()));  // no expansion: it would print both whole
}

TEST_CASE("write docs/admin.md anew", "[.][write-reference]") {
  std::ofstream file(reference_path());
  file << make_command_table().markdown();
  REQUIRE(file.flush());
}

}  // namespace
}  // namespace sluice::admin
