#include "balancer/paced_eprocess.h"

namespace sluice::balancer {

void PacedEProcess::add_oks(uint64_t blue, uint64_t green, double green_share) {
  const uint64_t renewal = process_.renewal();
  process_.add_oks(pace_.add_oks(blue, green, green_share), green);
  pass_over_if_renewed_since(renewal);
}

bool PacedEProcess::add_error(conf::Colour colour) {
  const uint64_t renewal = process_.renewal();
  process_.add_error(colour);
  return pass_over_if_renewed_since(renewal);
}

void PacedEProcess::note_error_ended(conf::Colour colour, double green_share) {
  pace_.add_error(colour);
  add_oks(0, 0, green_share);
}

bool PacedEProcess::pass_over_if_renewed_since(uint64_t renewal) {
  if (process_.renewal() == renewal) return false;
  pace_.pass_over_waiting();
  return true;
}

void PacedEProcess::clear() {
  process_.clear();
  pace_.clear();
}

}  // namespace sluice::balancer
