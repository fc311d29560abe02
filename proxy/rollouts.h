// Rollouts: brings each service's balancer::Rollout what it must know, and does
// what it answers.
//
//   tick ── what was seen since the last ──> Rollout::tick ──> actions
//   the admin's commands, changes by hand, trips, freezes ──> actions
//   actions: the split, the journal, events, webhooks, the gate, smoke requests,
//            the report
//
// A service has a rollout from its first start on; it outlives restarts, in the
// journal, as state and evidence. It outlives its service as well: while the
// configuration has it no more the rollout is paused.
//
// What one rollout's step was granted under a shared cap counts as used when
// another's is judged, until the hold has shown what it really uses: two that
// fit alone need not fit together.
//
// Thread: the control thread. Owner: Control.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "balancer/counters.h"
#include "balancer/rollout.h"
#include "conf/config.h"
#include "conf/diff.h"
#include "conf/result.h"
#include "proxy/knocks.h"
#include "proxy/webhooks.h"

namespace sluice::proxy {

class Control;
struct ServiceEntry;

class Rollouts {
 public:
  // What `rollout start` may say instead of the configuration.
  struct Wishes {
    std::optional<std::vector<conf::BasisPoints>> steps;
    std::optional<uint64_t> hold_ms;
  };

  explicit Rollouts(Control& control) : control_(control) {}
  Rollouts(const Rollouts&) = delete;
  Rollouts& operator=(const Rollouts&) = delete;

  // Pauses those whose services `next` lacks, which is not in force yet.
  void leave(const conf::Config& next);
  // Another configuration is in force.
  void configure();
  // Is it a change of a plan that a rollout under way goes on without?
  bool waits_for_start(const conf::Change& change) const;
  // What the journal kept; the split and the latch are in force already.
  conf::Status restore(const std::string& service, const std::string& saved);
  // The same of a service that the configuration lacks: it is paused.
  void restore_absent(const std::string& service, const std::string& saved, conf::BasisPoints split,
                      bool tripped);
  // For the journal; empty: there was none.
  std::string save(const std::string& service) const;

  // The operator's commands; an error says why not and changes nothing.
  conf::Status start(const std::string& service, const Wishes& wishes);
  conf::Status pause(const std::string& service);
  conf::Status resume(const std::string& service);
  conf::Status promote(const std::string& service, bool full);
  conf::Status abort(const std::string& service);
  conf::Status retry(const std::string& service);

  // What happened elsewhere, told when it is in force.
  void split_changed(const std::string& service, conf::BasisPoints green);
  void tripped(const std::string& service, const std::string& reason);
  // Pauses it if it is under way: somebody has to look first.
  void hold_back(const std::string& service, const std::string& reason);
  void reset(const std::string& service);
  void set_frozen(bool frozen);

  void tick();
  // What was seen until now goes into the journal: nothing more is to be seen.
  void save_evidence();

  // Null: there was none.
  const balancer::Rollout* find(const std::string& service) const;
  // Ends what it asks of the network.
  void close() { knocks_.clear(); }

 private:
  // The counters of one upstream when they were last looked at; by outcome,
  // since a reload may change which of them are errors.
  struct Seen {
    std::array<uint64_t, balancer::kOutcomes> attempts{};
    balancer::HistogramSnapshot latency;
  };
  struct Case {
    explicit Case(std::unique_ptr<balancer::Rollout> the_rollout) : rollout(std::move(the_rollout)) {}
    std::unique_ptr<balancer::Rollout> rollout;
    Seen seen[2];
    balancer::HistogramSnapshot fresh[2];  // of the tick under way
    bool observing = false;                // `seen` is of the last tick
  };

  balancer::Moment now() const;
  static bool observes(balancer::RolloutState state);
  conf::Result<balancer::RolloutPlan> plan_for(const std::string& service, const Wishes& wishes) const;
  conf::Result<Case*> existing(const std::string& service);
  conf::Result<Case*> existing_with_green(const std::string& service);
  conf::Status obey(Case& one, const conf::Result<balancer::RolloutActions>& actions);
  void carry_out(Case& one, const balancer::RolloutActions& actions);
  void carry_out(Case& one, const balancer::RolloutAction& action);

  // Adds what has ended since the last tick; false: nothing is observed.
  bool gather(Case& one);
  balancer::Observation observe(Case& one, const ServiceEntry& entry);
  void observe_upstream(Case& one, const ServiceEntry& entry, conf::Colour colour,
                        balancer::UpstreamObservation& seen);
  // How many of green's endpoints a pre-flight has knocked at in vain.
  uint32_t unanswered(const Case& one, const ServiceEntry& entry);
  void observe_caps(const std::string& service, std::vector<balancer::SharedCap>& caps) const;
  // Of what others' steps were granted under the cap, what they do not use yet.
  double granted_to_others(const std::string& service, const conf::Cap& cap, const std::string& name) const;

  void set_split(const std::string& service, conf::BasisPoints green);
  Webhooks::Target target(const std::string& service, const std::string& url) const;
  void notify(const Case& one, const balancer::RolloutAction& action);
  // A trip where no rollout is that would tell of it.
  void tell_trip(const std::string& service, const std::string& reason);
  void ask_gate(const Case& one, const balancer::RolloutAction& action);
  // Sends one request after the other until `left` have passed, one has not, or
  // nobody waits for the round any more.
  void smoke(const std::string& service, uint64_t round, uint64_t left);
  void smoke_ended(const std::string& service, uint64_t round, bool passed, const std::string& reason);
  std::string smoke_host(const std::string& service) const;
  void write_report(const Case& one);

  Control& control_;
  std::map<std::string, std::unique_ptr<Case>> cases_;
  std::map<std::string, std::unique_ptr<Knocks>> knocks_;  // of pre-flights without health checks
};

}  // namespace sluice::proxy
