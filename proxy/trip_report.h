// The evidence of a trip as JSON, for programs; balancer/evidence.h has the
// text for people. `show trip` and the files in state_dir/reports share it.
#pragma once

#include <string>

#include "balancer/evidence.h"

namespace sluice::proxy {

// One object (RFC 8259) on one line. Keys are in snake_case with units in them,
// times RFC 3339 in UTC and null for never, splits in percent, rates 0 to 1.
// What is no UTF-8 in a path becomes U+FFFD.
std::string to_json(const balancer::Evidence& evidence);

}  // namespace sluice::proxy
