// Rollout: moves a service from blue to green in steps, judges each, and goes
// back when it must. One per service, for as long as the service is there.
//
//   idle, completed, aborted, tripped (after a reset)
//        │ start, retry
//        v
//   preflight ── green is healthy, the caps hold both colours ──> holding <─┐
//        │  ^                                                      │ ^ │ │  │ next
//        │  │                                                      │ │ │ └──┘ step
//        │  └──────────────── resume: back to where it was ────────│─┘ │
//        └──── pause, a change by hand ────> paused <──────────────┘   │ last step
//                                                                      v passed
//                                                                  completed
//
//   abort, deadline:  any of preflight, holding, paused, completed
//                     ──> returning (over return_ms) ──> aborted, split 0
//   trip:             any but idle and aborted ──> tripped, split 0 at once
//
// Invariants, held by tests/balancer/rollout_simulation_test.cc:
//   - Only a step that passed, `promote` and `resume` raise the split; nothing
//     does while frozen, paused or tripped. No step is left out but by
//     `promote --full`.
//   - A step passes only with all that judge_step() wants; want of data,
//     an unsaved state or a gate that does not answer is no pass.
//   - Where there is a gate, no step is entered without its yes, by `promote`
//     neither; only `promote --full` goes past it.
//   - The last step is held and judged like the others; passing it completes.
//   - Going back is never refused.
//
// It has no sockets, clocks or threads: it is told the time, what was seen and
// what was commanded, and answers with actions, to be done in their order. A
// split is put in force, then saved, then told: see balancer/saved_state.h. The
// caller must act at once; split() is what it has been told to put in force.
//
// Thread: the control thread. Owner: the service's control state. Times: see
// Moment. It weighs about 160 KB: keep it on the heap.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "balancer/fields.h"
#include "balancer/rollout_judge.h"
#include "balancer/rollout_plan.h"
#include "balancer/rollout_report.h"
#include "conf/config.h"
#include "conf/result.h"

namespace sluice::balancer {

struct Moment {
  uint64_t now_ms = 0;  // never goes back within a process
  int64_t unix_ms = 0;  // for people
};

enum class RolloutState : uint8_t {
  idle,
  preflight,
  holding,
  paused,
  returning,
  completed,
  aborted,
  tripped
};
inline constexpr size_t kRolloutStates = 8;
const char* to_string(RolloutState state);

// What has happened. Those up to `done` go to the webhook as well as into the
// event log.
enum class Notice : uint8_t { start, step, hold, trip, abort, done, pause, resume, veto, smoke };
const char* to_string(Notice notice);
constexpr bool for_webhook(Notice notice) {
  return notice <= Notice::done;
}

struct RolloutAction {
  enum class Kind : uint8_t {
    set_split,      // put `green` in force in all workers
    save,           // keep Rollout::save() with the split in the journal
    notify,         // log the event `notice` with `text`; POST it if for_webhook
    ask_gate,       // may `green` follow? Answer by gate_answered(number), later
    smoke,          // send `number` requests to green; answer by smoke_finished(round), later
    finish_report,  // write report() to state_dir
  };
  Kind kind = Kind::save;
  conf::BasisPoints green = 0;
  Notice notice = Notice::start;
  uint64_t number = 0;
  uint64_t round = 0;
  std::string text = {};
};
using RolloutActions = std::vector<RolloutAction>;

class Rollout {
 public:
  // Between two questions to a gate that vetoed, two rounds of smoke requests
  // that failed, and two notices of the same hold.
  static constexpr uint64_t kAskAgainMs = 60'000;
  static constexpr uint64_t kGateTimeoutMs = 10'000;
  // The evidence is saved ten times in a hold within these bounds: what a crash
  // can lose of it.
  static constexpr uint64_t kSaveAtMostEachMs = 1'000;
  static constexpr uint64_t kSaveAtLeastEachMs = 30'000;
  // A tick that comes later counts for no more: the process did not run, so
  // nothing was watched.
  static constexpr uint64_t kMostTickMs = 1'000;
  // Going back over a time moves in steps of 1/20.
  static constexpr uint64_t kReturnSteps = 20;

  Rollout(std::string service, conf::BasisPoints split);
  // Goes on where save() was called, with the time since then not counted.
  // `split`, `latched` and `frozen` are what was saved beside it.
  static conf::Result<std::unique_ptr<Rollout>> restore(std::string_view saved, conf::BasisPoints split,
                                                        bool latched, bool frozen);

  // The operator's commands. An error says why not and changes nothing.
  conf::Result<RolloutActions> start(const RolloutPlan& plan, Moment at);
  conf::Result<RolloutActions> pause(Moment at, const std::string& reason);
  conf::Result<RolloutActions> resume(Moment at);
  // To the next step, or with `full` to the last, whatever is missing. Without
  // `full` not past a gate: refused while it has said no, and where it has not
  // been asked lately it is asked first; its yes promotes (promotion_asked()).
  conf::Result<RolloutActions> promote(Moment at, bool full);
  // While returning: at once. After the end too: whatever green was given since
  // goes back, and only where it has nothing there is nothing to do.
  conf::Result<RolloutActions> abort(Moment at, const std::string& reason);
  // By a plan that may be another than before.
  conf::Result<RolloutActions> retry(const RolloutPlan& plan, Moment at);

  // What happened elsewhere. `split_changed` is told after a change, `by` hand or
  // another way; `tripped` and `reset` follow the trip breaker's latch.
  RolloutActions split_changed(conf::BasisPoints green, Moment at, const char* by = "by hand");
  RolloutActions tripped(const std::string& reason, Moment at);
  void reset() { latched_ = false; }
  void set_frozen(bool frozen) { frozen_ = frozen; }
  RolloutActions gate_answered(uint64_t number, bool allowed, const std::string& reason, Moment at);
  RolloutActions smoke_finished(uint64_t round, bool passed, const std::string& reason, Moment at);
  // Is the end of this round still of interest?
  bool awaits_smoke(uint64_t round) const;

  // To be called some times a second, with what was seen since the last call.
  RolloutActions tick(Moment at, const Observation& seen);
  // The same where nothing may follow from it: before the last save.
  void gather(Moment at, const Observation& seen);

  const std::string& service() const { return service_; }
  RolloutState state() const { return state_; }
  // Under way: preflight, holding, paused or returning.
  bool running() const;
  conf::BasisPoints split() const { return split_; }
  bool frozen() const { return frozen_; }
  bool latched() const { return latched_; }
  const RolloutPlan& plan() const { return plan_; }
  // Counts from 0; that which is held, or was when it ended.
  size_t step() const { return step_; }
  // The step that is under way, counted from 1; 0 before the first and after
  // the end.
  size_t step_entered() const;
  // By which the step is judged; report() has all that was seen at the step, when
  // it has ended.
  const StepEvidence& evidence() const { return evidence_; }
  // As of the last tick; empty unless preflight or holding. The moment at which
  // the last of them can come true is the latest of their earliest_ms, if all
  // have one.
  const std::vector<Waiting>& waiting_for() const { return waiting_; }
  std::optional<uint64_t> earliest_step_ms() const;
  // The least time until it completes if nothing holds it up: what is left of
  // the step and the holds of those to come. Nothing unless preflight, holding
  // or paused.
  std::optional<uint64_t> least_left_ms(uint64_t now_ms) const;
  // A promotion waits for the gate's word. A restart forgets it.
  bool promotion_asked() const { return promotion_asked_; }
  // The connections that the step was granted under a shared cap, until its
  // hold has shown what it needs; 0: none.
  double granted(std::string_view cap) const;
  const RolloutReport& report() const { return report_; }
  // The same with what was seen until now of the step under way.
  RolloutReport report_so_far() const;
  std::string save() const;

 private:
  // What others were asked: a gate, or for smoke requests.
  struct Question {
    enum class State : uint8_t { none, asked, yes, no };
    State state = State::none;
    uint64_t since_ms = 0;
    std::string reason;  // of a no
  };

  bool at_last_step() const { return step_ + 1 == plan_.steps.size(); }
  conf::Status may_rise_to(conf::BasisPoints split) const;
  RolloutActions begin(const RolloutPlan& plan, Moment at);
  void enter_step(size_t step, Moment at, RolloutActions& actions);
  void fill(StepReport& step) const;
  void leave_step(const char* outcome, const std::string& reason, Moment at);
  void complete(const char* outcome, const std::string& reason, Moment at, RolloutActions& actions);
  void go_back(const std::string& reason, Moment at, RolloutActions& actions);
  void finish(RolloutState state, const std::string& reason, Moment at, RolloutActions& actions);
  void set_split(conf::BasisPoints split, RolloutActions& actions);
  void tell(Notice notice, std::string text, Moment at, RolloutActions& actions);

  uint64_t pass_time(Moment at);
  void add_evidence(uint64_t passed_ms, const Observation& seen);
  void tick_preflight(Moment at, const Observation& seen, RolloutActions& actions);
  void tick_holding(Moment at, const Observation& seen, RolloutActions& actions);
  void tick_returning(uint64_t passed_ms, Moment at, const Observation& seen, RolloutActions& actions);
  RolloutState place() const { return state_ == RolloutState::paused ? paused_from_ : state_; }
  uint64_t save_each_ms() const;
  void wait_for_freeze(conf::BasisPoints next);
  bool gate_is_fresh(Moment at) const { return at.now_ms - gate_.since_ms < kAskAgainMs; }
  void forget_gate();
  void tell_veto(const std::string& text, Moment at, RolloutActions& actions);
  void ask_gate(conf::BasisPoints next, Moment at, RolloutActions& actions);
  std::string past_gate() const;
  void wait_for_gate(Moment at, conf::BasisPoints next, RolloutActions& actions);
  void wait_for_smoke(Moment at, RolloutActions& actions);
  void tell_hold(Moment at, RolloutActions& actions);
  bool past_deadline() const { return plan_.deadline_ms != 0 && evidence_.held_ms >= plan_.deadline_ms; }
  const ColourEvidence& blue_reference();
  void restore_plan(const FieldReader& fields);
  void restore_position(const FieldReader& fields);

  std::string service_;
  RolloutState state_ = RolloutState::idle;
  RolloutState paused_from_ = RolloutState::idle;
  bool latched_ = false;
  bool frozen_ = false;
  conf::BasisPoints split_ = 0;
  RolloutPlan plan_;
  size_t step_ = 0;

  StepEvidence evidence_;         // of this step, or of the preflight
  ColourEvidence all_seen_[2];    // the same without end, for the report
  ColourEvidence blue_before_;    // of the last step at which blue was seen enough
  ColourEvidence blue_combined_;  // scratch of blue_reference()
  std::vector<Waiting> waiting_;
  std::vector<CapForecast> foreseen_;  // of the next step, as of the last tick
  std::vector<CapForecast> grants_;    // `foreseen_` of this step, when it was entered
  Question gate_;
  uint64_t gate_number_ = 0;
  bool promotion_asked_ = false;
  std::string told_veto_;  // what the last notice gave as its reason; empty: none since the last yes
  Question smoke_;
  uint64_t smoke_round_ = 0;

  // Going back over a time.
  conf::BasisPoints return_from_ = 0;
  uint64_t returned_ms_ = 0;  // of plan_.return_ms
  uint64_t stalled_ms_ = 0;   // waited for blue's caps
  std::string return_reason_;

  std::optional<uint64_t> last_tick_ms_;
  uint64_t saved_ms_ = 0;
  std::string told_hold_;  // for what the last notice said that it waits
  uint64_t told_hold_ms_ = 0;
  RolloutReport report_;
};

}  // namespace sluice::balancer
