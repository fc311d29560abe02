#include "conf/manual.h"

#include <algorithm>
#include <vector>

#include "conf/schema.h"

namespace sluice::conf {
namespace {

constexpr const char* kIntroduction =
    ".\\\" Made from the table in conf/schema.cc; to write it anew: conf_tests \"[write-reference]\"\n"
    ".TH SLUICE.TOML 5 \"\" sluice \"File formats\"\n"
    ".SH NAME\n"
    "sluice.toml \\- configuration of sluice\n"
    ".SH DESCRIPTION\n"
    "One TOML 1.0 file of at most 16 MiB.\n"
    ".B sluice check\n"
    "reports every error in it with line and column.\n"
    "A key that is not listed here is an error.\n"
    ".PP\n"
    "Each key says when a change takes effect: at once by a reload, in the next process (restart),\n"
    "or only where the state folder does not remember a value yet (first start).\n";

std::string key_text(const Key& key) {
  const std::string range = to_string(key.range, *key.access.type);
  std::string traits = key.access.type->name;
  if (!range.empty()) traits += ", " + range;
  if (key.fallback == kRequired) {
    traits += "; required";
  } else if (!key.fallback.empty()) {
    traits += "; default " + std::string(key.fallback);
  }
  return ".TP\n.B " + roff(key.name()) + "\n" + roff(key.help) + "\n.br\n" +
         roff("(" + traits + "; " + to_string(key.applies) + ")") + "\n";
}

std::string types_text() {
  std::vector<const TypeInfo*> types;
  std::string out = ".SH TYPES\n";
  for (const Key& key : all_keys()) {
    const TypeInfo* const type = key.access.type;
    if (std::find(types.begin(), types.end(), type) != types.end()) continue;
    types.push_back(type);
    out += ".TP\n.B " + roff(type->name) + "\n" + roff(type->description) + "\n";
  }
  return out;
}

}  // namespace

std::string roff(std::string_view text) {
  std::string out;
  if (text.starts_with('.') || text.starts_with('\'')) out += "\\&";
  for (const char c : text) {
    switch (c) {
      case '\\':
        out += "\\e";
        break;
      case '-':
        out += "\\-";
        break;
      case '"':
        out += "\\(dq";
        break;
      case '`':
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string render_manual() {
  std::string out = kIntroduction;
  for (const Node& node : all_nodes()) {
    const Section& section = *node.section;
    // The sections inside green are those inside blue.
    if (section.path == "service.*.green.tls") continue;
    out += ".SH \"" + roff(section.path.empty() ? "The top of the file" : section.heading()) + "\"\n" +
           roff(section.help) + "\n";
    if (!section.keys_of.empty()) continue;
    for (const Key* key : node.keys) out += key_text(*key);
  }
  return out + types_text() + ".SH SEE ALSO\n.BR sluice (1),\n.BR sluice-ctl (1)\n";
}

}  // namespace sluice::conf
