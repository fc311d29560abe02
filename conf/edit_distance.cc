#include "conf/edit_distance.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

namespace sluice::conf {
namespace {

std::string letters_of(std::string_view word) {
  std::string out;
  for (const char c : word) {
    if (c != '_' && c != '-') out += c;
  }
  return out;
}

// The known word that begins like it for the longest, if that is long enough.
std::string_view most_alike(std::string_view word, std::span<const std::string_view> known) {
  const std::string letters = letters_of(word);
  size_t longest = 0, least = 0;
  std::string_view found;
  for (const std::string_view candidate : known) {
    const std::string others = letters_of(candidate);
    const auto parting = std::mismatch(letters.begin(), letters.end(), others.begin(), others.end());
    const auto alike = static_cast<size_t>(parting.first - letters.begin());
    if (alike < kMinAlike || alike * 2 < letters.size() || alike < longest) continue;
    const size_t distance = edit_distance(word, candidate);
    if (alike == longest && distance >= least) continue;
    longest = alike;
    least = distance;
    found = candidate;
  }
  return found;
}

}  // namespace

size_t edit_distance(std::string_view a, std::string_view b) {
  // Rows i-2, i-1 and i of the table of distances between prefixes.
  std::vector<size_t> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    before_last.swap(last);
    last.swap(row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, substituted});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::string_view nearest(std::string_view word, std::span<const std::string_view> known) {
  if (word.empty() || word.size() > kMaxHintedWord) return {};
  size_t best = std::clamp<size_t>(word.size() / 3, 1, 3) + 1;
  std::string_view found;
  for (const std::string_view candidate : known) {
    const size_t distance = edit_distance(word, candidate);
    if (distance >= best) continue;
    best = distance;
    found = candidate;
  }
  return found.empty() ? most_alike(word, known) : found;
}

}  // namespace sluice::conf
