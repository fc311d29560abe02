// A simulated service: requests that fail by chance, told to a rule that may
// trip, on a virtual clock.
//
// Between two errors lies a geometric number of ok attempts, of which a
// binomial number is green; both are drawn at once, so that a run costs what
// its errors and ticks cost, not what its requests do, and is still exact.
//
// Everything repeats with the seed (and the standard library's binomial).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "balancer/random.h"
#include "conf/config.h"

namespace sluice::bench {

// A stretch of time in which nothing changes.
struct Phase {
  double seconds = 0;
  double blue_rate = 0;   // chance of an error
  double green_rate = 0;  // of all clients
  double requests_per_s = 1000;
  // Further errors of green that all come from one client, which makes this
  // share of green's requests.
  double one_client_rate = 0;
};

struct Scenario {
  std::string name;
  conf::BasisPoints split = 5000;
  bool warm = true;     // blue was known before the step
  bool clients = true;  // attempts have clients; off makes runs faster
  std::vector<Phase> phases;
  size_t fault_phase = 0;  // what went before was healthy: a trip there is false
};

// A rule that watches a service. Each call returns true once it wants to trip.
class Rule {
 public:
  virtual ~Rule() = default;
  // Blue alone, before the step.
  virtual void warm_up(uint64_t oks, uint64_t errors) = 0;
  virtual void begin(conf::BasisPoints split, uint64_t now_ms) = 0;
  // At least every kTickMs, and before each error.
  virtual bool oks(uint64_t blue, uint64_t green, uint64_t now_ms) = 0;
  virtual bool error(conf::Colour colour, uint64_t client, uint64_t now_ms) = 0;
  // A sample of the traffic's clients.
  virtual void client_seen(uint64_t /*client*/) {}
};

struct Run {
  bool tripped = false;
  bool false_trip = false;      // before the fault
  uint64_t green_attempts = 0;  // from the fault to the trip
  double seconds = 0;           // from the fault to the trip
};

constexpr uint64_t kTickMs = 100;
constexpr uint64_t kWarmAttempts = 20000;  // what a Baseline holds at least, once it is warm

Run simulate(const Scenario& scenario, Rule& rule, uint64_t seed);

}  // namespace sluice::bench
