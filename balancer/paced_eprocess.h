// PacedEProcess: an EProcess that is told of blue's oks at the pace of green.
//
// What of blue's waits (BluePace) goes with the stretch in which it ended. Where
// the process is renewed it has given up that stretch, in which both may have been
// better: counted in the new one it would be held against green, so it is passed
// over.
//
// Thread: none of its own. Cost: that of both.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "balancer/blue_pace.h"
#include "balancer/eprocess.h"

namespace sluice::balancer {

class PacedEProcess {
 public:
  // As EProcess and BluePace have them.
  PacedEProcess(std::initializer_list<double> odds_ratios, double broken_weight, double head_start)
      : process_(odds_ratios, broken_weight), pace_(head_start) {}

  void expect(double green_share, double blue_rate) { process_.expect(green_share, blue_rate); }
  // Oks that have ended since the last call, at the share of this moment.
  void add_oks(uint64_t blue, uint64_t green, double green_share);
  // Evidence. True when it renewed the process.
  bool add_error(conf::Colour colour);
  // The end of an attempt that failed, evidence or not: what of blue's waited for
  // it is counted.
  void note_error_ended(conf::Colour colour, double green_share);

  // What waits is of a time that says nothing beside what comes next.
  void pass_over_waiting() { pace_.pass_over_waiting(); }
  void clear();

  const EProcess& process() const { return process_; }

 private:
  bool pass_over_if_renewed_since(uint64_t renewal);

  EProcess process_;
  BluePace pace_;
};

}  // namespace sluice::balancer
