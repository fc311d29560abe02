// Diagnostics: the errors of one configuration, gathered rather than stopped at.
//
// Each says what is wrong, where, and what to do; a hint adds a guess at what
// was meant. At most kMaxErrors are kept, in a last one that says so.
#pragma once

#include <string>
#include <vector>

#include "conf/config.h"

namespace sluice::conf {

struct Diagnostic {
  Position position;
  std::string message;
  std::string hint;  // empty: none

  // FILE:LINE:COL: error: MESSAGE, and a second line with the hint.
  std::string to_string(const std::string& file) const;
};

class Diagnostics {
 public:
  static constexpr size_t kMaxErrors = 500;

  void add(Position position, std::string message, std::string hint = {});
  bool has_at(Position position) const;
  bool full() const { return errors_.size() > kMaxErrors; }
  // In the order of the file; leaves none behind.
  std::vector<Diagnostic> take();

 private:
  std::vector<Diagnostic> errors_;
};

}  // namespace sluice::conf
