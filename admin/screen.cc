#include "admin/screen.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace sluice::admin {
namespace {

bool begins_a_point(char octet) {
  return (static_cast<unsigned char>(octet) & 0xC0) != 0x80;
}

// Those that a line takes where it is wrapped.
size_t rows_of(std::string_view line, size_t columns) {
  const auto points = static_cast<size_t>(std::count_if(line.begin(), line.end(), begins_a_point));
  return std::max<size_t>(1, (points + columns - 1) / columns);
}

// Its first `points` code points.
std::string head_of(const std::string& line, size_t points) {
  size_t at = 0;
  for (; at < line.size(); ++at) {
    if (begins_a_point(line[at]) && points-- == 0) break;
  }
  return line.substr(0, at);
}

struct Fitted {
  std::string text;
  size_t rows = 0;
};

// As many whole lines as fit in `most` rows, the last of which says how many do not.
Fitted fit(std::string_view text, size_t most, size_t columns) {
  Fitted whole;
  Fitted cut;
  size_t left = 0;
  while (true) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    const size_t rows = rows_of(line, columns);
    const bool first = whole.rows == 0;
    whole.rows += rows;
    whole.text += first ? "" : "\n";
    whole.text += line;
    if (left == 0 && whole.rows < most) {
      cut = whole;
    } else {
      ++left;
    }
    if (end == text.size()) break;
    text.remove_prefix(end + 1);
  }
  if (whole.rows <= most) return whole;
  if (cut.rows == 0) {
    cut.text = head_of(whole.text.substr(0, whole.text.find('\n')), (most - 1) * columns);
    cut.rows = rows_of(cut.text, columns);
  }
  const std::string rest = "(" + std::to_string(left) + " more)";
  cut.text += "\n" + rest;
  cut.rows += rows_of(rest, columns);
  return cut;
}

}  // namespace

bool wants_colours() {
  const char* const no_color = std::getenv("NO_COLOR");
  return no_color == nullptr || *no_color == '\0';
}

std::string Screen::show(const std::string& text, TerminalSize terminal, bool last) {
  const bool is_terminal = terminal.rows > 0 && terminal.columns > 0;
  // The cursor stands below what was printed.
  const size_t most = !is_terminal || last ? text.size() + 1 : std::max<size_t>(2, terminal.rows - 1);
  Fitted fitted = fit(text, most, is_terminal ? terminal.columns : text.size() + 1);
  if (fitted.text == shown_ && !empty()) return {};
  std::string printed;
  if (is_terminal && !empty()) printed = "\033[" + std::to_string(shown_rows_) + "F\033[J";
  printed += fitted.text + "\n";
  shown_ = std::move(fitted.text);
  shown_rows_ = fitted.rows;
  return printed;
}

}  // namespace sluice::admin
