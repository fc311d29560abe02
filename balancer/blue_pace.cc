#include "balancer/blue_pace.h"

#include <algorithm>
#include <utility>

namespace sluice::balancer {

uint64_t BluePace::add_oks(uint64_t blue, uint64_t green, double green_share) {
  waiting_ += blue;
  green_ += static_cast<double>(green);
  const double due = (green_ + head_start_) * (1 - green_share) / green_share - blue_;
  const uint64_t passed = due < 1 ? 0 : std::min(waiting_, static_cast<uint64_t>(due));
  waiting_ -= passed;
  blue_ += static_cast<double>(passed);
  while (green_ > kMemory) {
    green_ /= 2;
    blue_ /= 2;
  }
  return passed;
}

void BluePace::add_error(conf::Colour colour) {
  (colour == conf::Colour::green ? green_ : blue_) += 1;
}

void BluePace::pass_over_waiting() {
  blue_ += static_cast<double>(std::exchange(waiting_, 0));
}

void BluePace::clear() {
  green_ = 0;
  blue_ = 0;
  waiting_ = 0;
}

}  // namespace sluice::balancer
