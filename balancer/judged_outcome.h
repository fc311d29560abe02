// Which outcomes of an attempt are an error to those who judge green: the trip
// breaker, attempt by attempt, and rollouts, in sums. [trip] `on` says it.
//
// Thread: none of its own.
#pragma once

#include "balancer/counters.h"
#include "conf/config.h"

namespace sluice::balancer {

inline bool counts_as_error(const conf::Trip& trip, Outcome outcome) {
  switch (outcome) {
    case Outcome::http_5xx:
      return trip.on_5xx;
    case Outcome::connect:
      return trip.on_connect;
    case Outcome::reset:
      return trip.on_reset;
    case Outcome::timeout:
      return trip.on_timeout;
    case Outcome::slow:
      return trip.slow_ms > 0;
    case Outcome::ok:
    case Outcome::cancelled:
      return false;
  }
  return false;
}

}  // namespace sluice::balancer
