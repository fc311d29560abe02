// The rules that are compared: sluice's judge, the plain rule that it grew from,
// and those of others, each written down as its documentation describes it and
// applied to green as a whole unless said otherwise.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "simulation.h"

namespace sluice::bench {

struct NamedRule {
  std::string name;
  std::function<std::unique_ptr<Rule>()> make;
};

// sluice's own, balancer/trip_breaker.h.
std::unique_ptr<Rule> make_judge();

// All that are compared; the judge is the first.
std::vector<NamedRule> all_rules();

}  // namespace sluice::bench
