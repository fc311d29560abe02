#include "simulation.h"

using sluice::proxy::test::Simulation;

// Not in the default run yet: the history of seed 59 ends with a place counted
// that no stream holds, and whether the path or the model is wrong is open.
TEST_CASE("simulation: random histories keep every invariant", "[.simulation]") {
  constexpr uint64_t kHistories = 1500;
  for (uint64_t seed = 1; seed <= kHistories; ++seed) {
    CAPTURE(seed);
    Simulation(seed).run(150);
  }
}
