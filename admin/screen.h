// Screen: a text that is shown again and again, on a terminal over the one before.
//
// What is printed is the caller's to write; the class knows only texts and sizes.
// Columns are counted as code points (UTF-8), which is what status texts consist of.
#pragma once

#include <cstddef>
#include <string>

namespace sluice::admin {

struct TerminalSize {
  size_t rows = 0;  // 0: unknown, or no terminal
  size_t columns = 0;
};

// May a terminal get colours? Not where NO_COLOR is set to something
// (https://no-color.org).
bool wants_colours();

class Screen {
 public:
  bool empty() const { return shown_rows_ == 0; }

  // What to print so that `text`, which has no end of line, is what one sees. Nothing
  // where it is what one sees already. A text that is higher than the terminal would
  // scroll away from under the next one: it is cut, and says so, unless it is the
  // `last`. Without a terminal every text that differs is printed whole.
  std::string show(const std::string& text, TerminalSize terminal, bool last);

 private:
  std::string shown_;
  size_t shown_rows_ = 0;  // at the terminal's width then
};

}  // namespace sluice::admin
