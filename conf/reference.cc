#include "conf/reference.h"

#include <algorithm>
#include <vector>

#include "conf/schema.h"

namespace sluice::conf {
namespace {

constexpr const char* kIntroduction =
    "# Configuration\n"
    "\n"
    "<!-- Made from the table in conf/schema.cc; to write it anew: conf_tests \"[write-reference]\" -->\n"
    "\n"
    "The configuration is one TOML 1.0 file of at most 16 MiB. `sluice check FILE` reports every error in it "
    "with line "
    "and column. A key that is not listed here is an error.\n"
    "\n"
    "*Applies* says when a change takes effect in a running process:\n"
    "\n"
    "- **reload**: at once, by `reload` on the admin socket or by SIGHUP;\n"
    "- **restart**: in the next process, by a restart or by an upgrade with SIGUSR2;\n"
    "- **first start**: only where `state_dir` does not remember a value yet.\n"
    "\n"
    "A file that is enough to begin with:\n"
    "\n"
    "```toml\n"
    "[[listener]]\n"
    "bind = \"0.0.0.0:8080\"\n"
    "\n"
    "[service.web.blue]\n"
    "endpoints = [\"127.0.0.1:9001\"]\n"
    "[service.web.green]\n"
    "endpoints = [\"127.0.0.1:9002\"]\n"
    "```\n"
    "\n";

std::string default_of(const Key& key) {
  if (key.fallback == kRequired) return "required";
  if (key.fallback.empty()) return "absent";
  const char* mark = key.access.type->quoted ? "\"" : "";
  return "`" + (mark + std::string(key.fallback)) + mark + "`";
}

// A "|" ends a table's cell wherever it stands, so no text may have one.
std::string row(const Key& key) {
  const std::string range = to_string(key.range, *key.access.type);
  return "| `" + std::string(key.name()) + "` | " + key.access.type->name + (range.empty() ? "" : ", ") +
         range + " | " + default_of(key) + " | " + to_string(key.applies) + " | " + std::string(key.help) +
         " |\n";
}

std::string section_text(const Node& node) {
  const Section& section = *node.section;
  std::string out =
      "## " + (section.path.empty() ? "The top of the file" : "`" + section.heading() + "`") + "\n\n";
  out.append(section.help).append("\n\n");
  if (!section.keys_of.empty()) return out;
  out += "| key | type | default | applies | what it is |\n| --- | --- | --- | --- | --- |\n";
  for (const Key* key : node.keys) out += row(*key);
  return out + "\n";
}

std::string types_text() {
  std::vector<const TypeInfo*> types;
  for (const Key& key : all_keys()) {
    if (std::find(types.begin(), types.end(), key.access.type) == types.end())
      types.push_back(key.access.type);
  }
  std::string out = "## Types\n\n| type | how it is written |\n| --- | --- |\n";
  for (const TypeInfo* type : types)
    out += std::string("| ") + type->name + " | " + type->description + " |\n";
  return out;
}

}  // namespace

std::string render_reference() {
  std::string out = kIntroduction;
  for (const Node& node : all_nodes()) {
    // The sections inside green are those inside blue.
    if (node.section->path != "service.*.green.tls") out += section_text(node);
  }
  return out + types_text();
}

}  // namespace sluice::conf
