// Picker: chooses an endpoint of one upstream for one request.
//
// A picker belongs to one worker, for one upstream of one plan. It keeps a list
// of the endpoints that may get requests and looks again when the upstream's
// epoch has moved on, so that a pick costs the same with one endpoint and with
// a thousand. What it balances on is this worker's own load: `active` counts
// the requests that this worker has under way at an endpoint.
//
//   p2c          the less loaded of two that are drawn by weight (Mitzenmacher,
//                "The power of two choices in randomized load balancing", 2001)
//   round-robin  by weight, evenly interleaved: earliest virtual deadline first
//                (Parekh and Gallager's weighted fair queueing; as in nginx and
//                Envoy, but a heap, so O(log n))
//   random       drawn by weight
//
// When too few of the endpoints that were ever up, and that the operator has
// not taken out, are usable, all of these share the requests rather than bury
// the rest: Panic.
// Endpoints that were already tried for the request are avoided while any other
// is left. Where none may be used but the first check of one is not over, the
// request may wait: awaits_first_check().
#pragma once

#include <cstdint>
#include <vector>

#include "balancer/endpoint.h"
#include "balancer/random.h"
#include "conf/config.h"

namespace sluice::balancer {

// One endpoint as one worker sees it. Owned by the worker, outlives plans.
struct EndpointLoad {
  EndpointState* state = nullptr;
  uint32_t active = 0;  // requests under way from this worker
};

class Picker {
 public:
  struct Entry {
    EndpointLoad* load = nullptr;
    uint32_t weight = 1;  // as configured, 1..1000
  };

  struct Panic {
    uint32_t below_percent = 0;  // 0: never
    bool at_none = false;        // also with none usable: there is no other colour to go to

    static Panic of(const conf::Outlier& settings, conf::Colour colour) {
      return {settings.panic_percent, colour == conf::Colour::blue};
    }
    // Is it time for it? `candidates`: those that are usable in panic.
    bool applies(size_t usable, size_t candidates) const {
      return (usable > 0 || at_none) && usable * 100 < candidates * below_percent;
    }
  };

  Picker(std::vector<Entry> entries, conf::Balance balance, Panic panic);

  // The chosen endpoint, or null if none may be used. `epoch` is the upstream's
  // current one; `tried` the endpoints that this request has been at before.
  EndpointLoad* pick(Random& random, uint64_t epoch, const EndpointLoad* const* tried, size_t tried_count);

  // How many endpoints may be used at `epoch`.
  size_t eligible_count(uint64_t epoch);
  // May requests go to this one at `epoch`?
  bool may_use(const EndpointState& endpoint, uint64_t epoch);
  // None may be used at `epoch`, but one that was never checked may be soon.
  bool awaits_first_check(uint64_t epoch);
  bool in_panic() const { return in_panic_; }
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  struct Eligible {
    EndpointLoad* load;
    uint32_t weight;      // configured weight times ramp, in hundredths
    uint64_t weight_end;  // sum of the weights up to and with this one
    double deadline;      // round-robin: when it is next due, in virtual time
  };

  void refresh(uint64_t epoch);
  bool may_use(const EndpointCondition& condition) const {
    return in_panic_ ? condition.usable_in_panic() : condition.usable();
  }
  Eligible& draw(Random& random);
  Eligible& draw_another(Random& random, const Eligible* first);
  Eligible* pick_two_choices(Random& random, const EndpointLoad* const* tried, size_t tried_count);
  EndpointLoad* pick_round_robin(Random& random, const EndpointLoad* const* tried, size_t tried_count);
  Eligible* any_untried(Random& random, const EndpointLoad* const* tried, size_t tried_count);

  std::vector<Entry> entries_;
  const conf::Balance balance_;
  const Panic panic_;
  uint64_t seen_epoch_ = ~uint64_t{0};
  bool in_panic_ = false;
  bool awaits_first_check_ = false;
  bool equal_weights_ = true;
  double virtual_time_ = 0;
  std::vector<Eligible> eligible_;  // round-robin: a heap by deadline
};

}  // namespace sluice::balancer
