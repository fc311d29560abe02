// The configuration's front door: from text or a file to a Config that is valid
// as a whole, or to every error in it.
//
//   text ── parse_document ── Value ── read_config ── Config ── validate
//             syntax            unknown keys, types,    references,
//                               ranges; all errors      duplicates; all errors
//
// Behind an error of syntax the other lines are read as far as they can be.
//
// Nothing is looked up, opened or bound but the file itself: whether a
// certificate exists shows when it is loaded. Any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/config.h"
#include "conf/diagnostic.h"

namespace sluice::conf {

struct ParseOutcome {
  std::string file;
  std::optional<Config> config;    // there exactly when there are no errors
  std::vector<Diagnostic> errors;  // in the order of the file
  // [admin] socket as far as it could be read, whatever errors are elsewhere: by it
  // a process is reached whose file has been spoilt since. Empty: none was found.
  std::string admin_socket;

  bool ok() const { return config.has_value(); }
  // A line for each error, one more for each hint; without a last newline.
  std::string to_string() const;
};

// `file` is only what the errors and the Config call it.
ParseOutcome parse(std::string_view text, const std::string& file);

// A file that cannot be read is one error, at line 1, column 1. Reads at most
// kMaxFileBytes (conf/document.h); pipes and devices are read to their end, or,
// by somebody whom nobody may keep waiting, not at all.
enum class Patience : uint8_t { any_file, regular_files };
ParseOutcome parse_file(const std::string& path, Patience patience = Patience::any_file);

}  // namespace sluice::conf
