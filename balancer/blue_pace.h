// BluePace: how many of blue's oks may be set beside what is known of green.
//
// An attempt is known when it has ended, and where green is slower than blue, or
// waits for a connection, blue's oks come first: they would tell of a green that
// does not answer. So they wait until so much of green has ended, well or not, as
// goes with them by its share θ:
//
//   counted of blue <= (ended of green + head start) (1-θ)/θ
//
// The head start is so short that it proves nothing by itself. Errors never
// wait: each colour's move its side of the balance at once, blue's beyond what
// is due if so. A green that never answers thus brings its deadlines, as errors,
// and no more of blue's oks than the head start.
//
// Of what ended long ago only the balance is kept: above kMemory of green both
// counts are halved, which renews half of the head start.
//
// Units: attempts. Thread: none of its own. It knows no time but the order of
// its calls. Cost: a few floating-point operations a call.
#pragma once

#include <cstdint>

#include "conf/config.h"

namespace sluice::balancer {

class BluePace {
 public:
  static constexpr double kMemory = 1000;

  // `head_start`: attempts of green that blue may be ahead of; not below 0.
  explicit BluePace(double head_start) : head_start_(head_start) {}

  // Oks that have ended since the last call. `green_share` is θ, strictly between
  // 0 and 1, of this moment. Returns how many of blue's, these or such as waited,
  // count now.
  uint64_t add_oks(uint64_t blue, uint64_t green, double green_share);
  // Lets nobody pass by itself: what waited for green's comes with the next add_oks().
  void add_error(conf::Colour colour);

  // What waits is not to be counted any more, but goes with green's as if it were.
  void pass_over_waiting();
  void clear();

  uint64_t waiting() const { return waiting_; }

 private:
  double head_start_;
  double green_ = 0;  // ended
  double blue_ = 0;   // ended, and not waiting
  uint64_t waiting_ = 0;
};

}  // namespace sluice::balancer
