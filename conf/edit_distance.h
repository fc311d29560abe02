// How far two words are apart, for "did you mean" hints in configuration errors
// and in the replies of the admin socket.
//
// The distance counts insertions, deletions, substitutions and swaps of two
// neighbours, and edits no letter twice: the optimal string alignment form of
// Damerau's measure (F. J. Damerau, CACM 7(3), 1964). Bytes are compared, not
// characters. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace sluice::conf {

// Costs a.size() * b.size() steps.
size_t edit_distance(std::string_view a, std::string_view b);

// The known word nearest to `word`, or an empty view when none is near enough
// to be meant: at most a third of the letters may be wrong, and at most three;
// else the known word that begins like it for the longest, for at least
// kMinAlike letters and half of the word, whatever "_" and "-" stand between.
// Of such that are alike the nearer one wins, and the earlier of two equally
// near words. Words of more than kMaxHintedWord bytes get no hint, so that a
// hint never costs much.
inline constexpr size_t kMaxHintedWord = 64;
inline constexpr size_t kMinAlike = 4;
std::string_view nearest(std::string_view word, std::span<const std::string_view> known);

}  // namespace sluice::conf
