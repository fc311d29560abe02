#include "conf/diagnostic.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace sluice::conf {

std::string Diagnostic::to_string(const std::string& file) const {
  std::string out = file + ":" + std::to_string(position.line) + ":" + std::to_string(position.column) +
                    ": error: " + message;
  if (!hint.empty()) out += "\n  hint: " + hint;
  return out;
}

void Diagnostics::add(Position position, std::string message, std::string hint) {
  if (full()) return;
  if (errors_.size() == kMaxErrors) {
    message = "there are more errors than are shown: mend these first";
    hint.clear();
  }
  if (position.line == 0) position = {1, 1};
  errors_.push_back({position, std::move(message), std::move(hint)});
}

bool Diagnostics::has_at(Position position) const {
  return std::any_of(errors_.begin(), errors_.end(), [&](const Diagnostic& error) {
    return error.position.line == position.line && error.position.column == position.column;
  });
}

std::vector<Diagnostic> Diagnostics::take() {
  const auto by_position = [](const Diagnostic& a, const Diagnostic& b) {
    return std::tie(a.position.line, a.position.column) < std::tie(b.position.line, b.position.column);
  };
  const size_t sorted = std::min(errors_.size(), kMaxErrors);
  std::stable_sort(errors_.begin(), errors_.begin() + static_cast<std::ptrdiff_t>(sorted), by_position);
  return std::exchange(errors_, {});
}

}  // namespace sluice::conf
