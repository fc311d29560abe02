// Has green alone got worse, or do both suffer from the same?
//
// An EProcess looks at colours only, so 17 errors of green beside one of blue
// weigh the same whether they came within 400 attempts or within 2,000, and
// whether blue has always failed that much or not. Of a fault of green's own more
// is known: blue is where it always was, and green at a rate that is worth a trip.
// Both hypotheses are held against the counts, as a generalized likelihood ratio
// (Wilks, "The large-sample distribution of the likelihood ratio", Ann. Math.
// Statist. 9, 1938):
//
//   ln P(green | max(its rate, least_risen)) + ln P(blue | normal rate)
//     - ln P(both | their common rate)
//
// Pure functions; natural logarithms; any thread.
#pragma once

namespace sluice::balancer {

struct Tally {
  double attempts = 0;  // may be fractional (decayed)
  double errors = 0;
  double rate() const { return attempts > 0 ? errors / attempts : 0; }
};

// What green must have risen to, to be told from a small rise of both: this, or
// so many times the odds that may still be normal.
inline constexpr double kLeastRisenRate = 0.036;
inline constexpr double kLeastRisenOdds = 6;

double least_risen_rate(double normal_upper);

// The ratio above; below 0 where "both alike" explains more. `normal_rate` is held
// at Cusum::kLeastNormalRate at least, here and below, so that one error of a blue
// that had none is not the end of every suspicion.
double only_green_log(const Tally& green, const Tally& blue, double normal_rate, double least_risen);

// By how much a rate of its own explains a tally better than the normal rate, if
// it lies above that; else 0.
double risen_log(const Tally& seen, double normal_rate);

}  // namespace sluice::balancer
