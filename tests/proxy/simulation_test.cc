#include "simulation.h"

using sluice::proxy::test::Simulation;

TEST_CASE("simulation: random histories keep every invariant") {
  constexpr uint64_t kHistories = 1500;
  for (uint64_t seed = 1; seed <= kHistories; ++seed) {
    CAPTURE(seed);
    Simulation(seed).run(150);
  }
}
