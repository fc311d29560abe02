// Ten thousand rollouts under random faults, restarts and commands, with the
// invariants of balancer/rollout.h checked after every single event.
#include <catch2/catch.hpp>

#include "balancer/saved_state.h"
#include "tests/balancer/memory_file_system.h"
#include "tests/balancer/rollout_fixtures.h"

namespace sluice::balancer {
namespace {

using Kind = RolloutAction::Kind;

// Why the split may rise in the event that is under way.
enum class Cause { tick, promote, promote_full, resume, by_hand, other };

// The control thread around one rollout: performs its actions, keeps its state
// on a disk that fails now and then, and is killed now and then.
class World {
 public:
  explicit World(uint64_t seed) : random_(seed), files_(seed) {
    open_store();
    rollout_ = std::make_unique<Rollout>("web", 0);
    service_.requests_per_s = 50 + random_.unit() * 400;
  }

  void start() {
    RolloutPlan plan;
    conf::BasisPoints split = split_;
    do {
      split += 1 + static_cast<conf::BasisPoints>(random_.below(conf::kFullSplit - split));
      plan.steps.push_back(split);
    } while (split < conf::kFullSplit && plan.steps.size() < 5);
    // Ticks come late, and each counts for a second at most.
    plan.hold_ms = 1 + random_.below(6000);
    plan.min_requests = random_.below(1000);
    plan.margin = 0.001 + random_.unit() * 0.05;
    plan.auto_promote = random_.below(8) != 0;
    if (one_in(3)) plan.deadline_ms = plan.hold_ms + 1 + random_.below(30'000);
    if (one_in(3)) plan.return_ms = 1 + random_.below(3000);
    if (one_in(4)) plan.gate = kGate;
    plan.smoke_requests = one_in(4) ? 5 : 0;
    auto actions = rollout_->start(plan, at_);
    if (actions) perform(*actions, Cause::other);
  }

  void event() {
    switch (random_.below(40)) {
      case 0:
        command();
        break;
      case 1:
        fault();
        break;
      case 2:
        heal();
        break;
      case 3:
        if (one_in(3)) kill();
        break;
      case 4:
        if (one_in(8)) trip();
        break;
      default:
        tick();
        break;
    }
    if (gate_asked_ != 0 && one_in(2)) answer_gate();
    if (smoke_asked_ != 0 && one_in(2)) answer_smoke();
  }

  bool over() const {
    return rollout_->state() == RolloutState::completed || rollout_->state() == RolloutState::aborted ||
           (rollout_->state() == RolloutState::tripped && !rollout_->latched());
  }
  RolloutState state() const { return rollout_->state(); }
  int steps_passed() const { return steps_passed_; }
  int restarts() const { return restarts_; }

 private:
  bool one_in(uint64_t n) { return random_.below(n) == 0; }

  void tick() {
    const uint64_t passed_ms = 1 + random_.below(20'000);
    at_.now_ms += passed_ms;
    at_.unix_ms += static_cast<int64_t>(passed_ms);
    service_.state_saved = !store_->failing() && !unsaved_;
    seen_ = service_.observe(split_, passed_ms, random_);
    if (state() == RolloutState::holding) {
      green_seen_ += seen_.upstreams[1].attempts;
      green_errors_ += seen_.upstreams[1].errors;
      if (ticked_) held_ms_ += std::min(passed_ms, Rollout::kMostTickMs);
    }
    ticked_ = true;
    perform(rollout_->tick(at_, seen_), Cause::tick);
    // The caller goes on trying to save what could not be saved.
    if (unsaved_) save();
  }

  void command() {
    switch (random_.below(12)) {
      case 0:
        attempt(rollout_->pause(at_, "test"), Cause::other);
        break;
      case 1:
      case 2:
      case 3:
        attempt(rollout_->resume(at_), Cause::resume);
        break;
      case 4:
        attempt(rollout_->promote(at_, false), Cause::promote);
        break;
      case 5:
        if (one_in(4)) attempt(rollout_->promote(at_, true), Cause::promote_full);
        break;
      case 6:
        if (one_in(3)) abort();
        break;
      case 7:
        freeze(!rollout_->frozen());
        break;
      case 8:
        freeze(false);
        break;
      case 9:
        if (rollout_->latched()) reset();
        break;
      case 10:
        attempt(rollout_->retry(rollout_->plan(), at_), Cause::other);
        break;
      default:
        set_by_hand();
        break;
    }
  }

  void attempt(const conf::Result<RolloutActions>& actions, Cause cause) {
    if (actions) {
      perform(*actions, cause);
    } else {
      REQUIRE(actions.error().kind == conf::Error::Kind::refused);
      REQUIRE(rollout_->split() == split_);
    }
  }

  void abort() {
    const RolloutState before = state();
    attempt(rollout_->abort(at_, "test"), Cause::other);
    if (before == RolloutState::idle) return;
    REQUIRE((state() == RolloutState::returning || state() == RolloutState::aborted ||
             state() == RolloutState::tripped));
    if (state() != RolloutState::returning) REQUIRE(split_ == 0);
    REQUIRE(rollout_->split() == split_);
  }

  void set_by_hand() {
    // What `set weight` refuses never reaches the rollout.
    if (rollout_->latched()) return;
    const auto green = static_cast<conf::BasisPoints>(random_.below(conf::kFullSplit + 1));
    if (rollout_->frozen() && green > split_) return;
    const RolloutState before = state();
    split_ = green;
    perform(rollout_->split_changed(green, at_), Cause::by_hand);
    save();
    REQUIRE(state() != RolloutState::preflight);
    REQUIRE(state() != RolloutState::holding);
    if (before == RolloutState::holding) REQUIRE(state() == RolloutState::paused);
  }

  void freeze(bool on) {
    rollout_->set_frozen(on);
    if (!store_->save_freeze({on, "test", at_.unix_ms}).ok())
      frozen_unsaved_ = true;
    else
      frozen_unsaved_ = false;
  }

  void trip() {
    perform(rollout_->tripped("test", at_), Cause::other);
    REQUIRE(split_ == 0);
    REQUIRE(rollout_->latched());
    REQUIRE((state() == RolloutState::tripped || state() == RolloutState::idle ||
             state() == RolloutState::aborted));
  }

  void reset() {
    rollout_->reset();
    save();
  }

  void answer_gate() {
    gate_allows_ = one_in(2);
    const uint64_t number = gate_asked_;
    gate_asked_ = 0;
    const Cause cause = rollout_->promotion_asked() ? Cause::promote : Cause::other;
    perform(rollout_->gate_answered(number, gate_allows_, "test", at_), cause);
  }

  void answer_smoke() {
    const uint64_t round = std::exchange(smoke_asked_, 0);
    perform(rollout_->smoke_finished(round, one_in(2), "test", at_), Cause::other);
  }

  void fault() {
    switch (random_.below(8)) {
      case 0:
        service_.error_rate[1] = random_.unit() * 0.2;
        break;
      case 1:
        service_.error_rate[0] = random_.unit() * 0.2;
        break;
      case 2:
        service_.latency_ms[1] = 20 + random_.unit() * 100;
        break;
      case 3:
        service_.endpoints_out = static_cast<uint32_t>(random_.below(3));
        break;
      case 4:
        service_.requests_per_s = random_.below(2) == 0 ? 0 : 5;
        break;
      case 5:
        service_.caps = {{"database", 50, static_cast<uint32_t>(random_.below(50)), 0.7, {true, true}}};
        break;
      case 6:
        service_.judge_hold = "Blue fails as well.";
        break;
      default:
        files_.free_bytes = random_.below(5000);
        break;
    }
  }

  void heal() {
    const double requests_per_s = 50 + random_.unit() * 400;
    service_ = {};
    service_.requests_per_s = requests_per_s;
    files_.free_bytes = MemoryFileSystem::kNever;
  }

  // kill -9 and a loss of power; then the next start.
  void kill() {
    ++restarts_;
    const conf::BasisPoints before = split_;
    const bool was_unsaved = unsaved_ || frozen_unsaved_;
    const RolloutState state_before = state();
    const bool latched_before = rollout_->latched();
    rollout_.reset();
    store_.reset();
    files_.crash();
    files_.free_bytes = MemoryFileSystem::kNever;
    open_store();
    if (store_->services().contains("web")) {
      const SavedService& saved = store_->services().at("web");
      auto restored = Rollout::restore(saved.rollout, saved.green, saved.tripped, store_->freeze().on);
      REQUIRE(restored.ok());
      rollout_ = std::move(restored.value());
      split_ = saved.green;
    } else {
      rollout_ = std::make_unique<Rollout>("web", 0);
      rollout_->set_frozen(store_->freeze().on);
      split_ = 0;
    }
    REQUIRE(rollout_->split() == split_);
    if (!was_unsaved) {
      // All was acknowledged: nothing is lost, and green has no more than before.
      REQUIRE(split_ == before);
      REQUIRE(state() == state_before);
      REQUIRE(rollout_->latched() == latched_before);
    }
    unsaved_ = frozen_unsaved_ = ticked_ = gate_allows_ = false;
    smoke_asked_ = 0;
    gate_asked_ = 0;
    green_seen_ = rollout_->evidence().of(conf::Colour::green).attempts;
    green_errors_ = rollout_->evidence().of(conf::Colour::green).errors;
    held_ms_ = rollout_->evidence().held_ms;
    last_state_ = state();
    last_step_ = rollout_->step();
    at_.now_ms = random_.below(1000);  // another boot, another clock
  }

  void open_store() {
    auto store = StateStore::open(files_, "state");
    REQUIRE(store.ok());
    REQUIRE((*store)->recovery().damaged_bytes == 0);
    store_ = std::move(store.value());
  }

  void save() {
    SavedService saved;
    saved.green = split_;
    saved.generation = generation_;
    saved.tripped = rollout_->latched();
    saved.rollout = rollout_->save();
    unsaved_ = !store_->save("web", saved).ok();
  }

  void perform(const RolloutActions& actions, Cause cause) {
    const conf::BasisPoints before = split_;
    for (const RolloutAction& action : actions) {
      switch (action.kind) {
        case Kind::set_split: {
          check_change(split_, action.green, cause);
          split_ = action.green;
          ++generation_;
          break;
        }
        case Kind::save:
          save();
          break;
        case Kind::ask_gate:
          gate_asked_ = action.number;
          gate_allows_ = false;
          break;
        case Kind::smoke:
          smoke_asked_ = action.round;
          break;
        case Kind::notify:
          REQUIRE(!action.text.empty());
          break;
        case Kind::finish_report:
          REQUIRE(!rollout_->report().outcome.empty());
          break;
      }
    }
    check_state(before, cause);
  }

  void check_change(conf::BasisPoints from, conf::BasisPoints to, Cause cause) {
    REQUIRE(to <= conf::kFullSplit);
    if (to <= from) return;
    REQUIRE(!rollout_->frozen());
    REQUIRE(!rollout_->latched());
    REQUIRE(cause != Cause::other);
    REQUIRE(cause != Cause::by_hand);
  }

  // After an event: did the step change, and if so, was it earned?
  void check_state(conf::BasisPoints before, Cause cause) {
    REQUIRE(rollout_->split() == split_);
    const RolloutState now = state();
    if (last_state_ == RolloutState::paused && cause == Cause::tick) REQUIRE(split_ == before);
    if (now == RolloutState::tripped || now == RolloutState::aborted) {
      if (cause != Cause::by_hand && !set_after_end_) REQUIRE(split_ == 0);
    }
    set_after_end_ = set_after_end_ || cause == Cause::by_hand;
    if (now == RolloutState::preflight && last_state_ != now && last_state_ != RolloutState::paused) {
      set_after_end_ = false;
    }
    const bool holds = now == RolloutState::holding;
    if (holds) {
      set_after_end_ = false;
      REQUIRE(split_ == rollout_->plan().steps[rollout_->step()]);
    }
    const bool moved = (holds && (last_state_ != RolloutState::holding || rollout_->step() != last_step_)) ||
                       (now == RolloutState::completed && last_state_ == RolloutState::holding);
    const bool by_step = cause == Cause::tick || cause == Cause::promote;
    if (moved && holds && by_step && rollout_->plan().asks_gate()) REQUIRE(gate_allows_);
    if (moved) gate_allows_ = false;
    if (moved && cause == Cause::tick) {
      ++steps_passed_;
      check_earned(last_state_ == RolloutState::preflight, now == RolloutState::completed);
    }
    if (moved && holds && last_state_ == RolloutState::holding) {
      REQUIRE((cause == Cause::tick || cause == Cause::promote));
      REQUIRE(rollout_->step() == last_step_ + 1);  // no step is left out
    }
    if (moved && last_state_ == RolloutState::preflight && cause != Cause::promote_full) {
      REQUIRE(rollout_->step() == 0);
    }
    if (moved && rollout_->evidence().held_ms == 0) green_seen_ = green_errors_ = held_ms_ = 0;
    last_state_ = now;
    last_step_ = rollout_->step();
  }

  void check_earned(bool preflight, bool completed) {
    REQUIRE(seen_.state_saved);
    REQUIRE(seen_.judge_hold.empty());
    REQUIRE(seen_.upstreams[1].endpoints_out == 0);
    if (preflight) return;
    const RolloutPlan& plan = rollout_->plan();
    REQUIRE(held_ms_ >= plan.hold_ms);
    REQUIRE(green_seen_ >= plan.min_requests);
    REQUIRE(green_seen_ >= kMinGreenRequests);  // whatever the plan says: bounds need data
    const double rate = static_cast<double>(green_errors_) / static_cast<double>(green_seen_);
    REQUIRE(rate <= 0.2 + allowed_excess(plan));  // no blue here fails more often
    if (completed) return;
    REQUIRE(plan.auto_promote);
    for (const SharedCap& cap : seen_.caps) {
      const uint32_t ours = seen_.upstreams[0].connections + seen_.upstreams[1].connections;
      REQUIRE(cap.used - ours <= cap.warn_at * cap.max);  // what others use is in every forecast
    }
  }

  Random random_;
  MemoryFileSystem files_;
  FakeService service_;
  std::unique_ptr<StateStore> store_;
  std::unique_ptr<Rollout> rollout_;
  Moment at_{1000, 1'700'000'000'000};
  Observation seen_;
  conf::BasisPoints split_ = 0;
  uint64_t generation_ = 0;
  bool unsaved_ = false;
  bool frozen_unsaved_ = false;
  bool set_after_end_ = false;

  // What this test counted by itself at the step.
  uint64_t green_seen_ = 0;
  uint64_t green_errors_ = 0;
  uint64_t held_ms_ = 0;
  bool ticked_ = false;
  uint64_t gate_asked_ = 0;
  bool gate_allows_ = false;
  uint64_t smoke_asked_ = 0;  // the round; 0: none

  RolloutState last_state_ = RolloutState::idle;
  size_t last_step_ = 0;
  int steps_passed_ = 0;
  int restarts_ = 0;
};

// Each part is a test of its own, so that they run side by side.
void run_part(uint64_t part) {
  constexpr uint64_t kRollouts = 2500;
  constexpr int kMaxEvents = 300;
  int ends[kRolloutStates] = {};
  int steps = 0;
  int restarts = 0;
  for (uint64_t seed = part * kRollouts + 1; seed <= (part + 1) * kRollouts; ++seed) {
    INFO("seed " << seed);
    World world(seed);
    world.start();
    for (int i = 0; i < kMaxEvents && !world.over(); ++i) world.event();
    ++ends[static_cast<size_t>(world.state())];
    steps += world.steps_passed();
    restarts += world.restarts();
  }
  // The histories reach everything there is to reach.
  CHECK(ends[static_cast<size_t>(RolloutState::completed)] > 250);
  CHECK(ends[static_cast<size_t>(RolloutState::aborted)] > 250);
  CHECK(steps > 2500);
  CHECK(restarts > 1000);
}

TEST_CASE("rollout simulation: 10,000 random rollouts keep the invariants, part 1") {
  run_part(0);
}
TEST_CASE("rollout simulation: 10,000 random rollouts keep the invariants, part 2") {
  run_part(1);
}
TEST_CASE("rollout simulation: 10,000 random rollouts keep the invariants, part 3") {
  run_part(2);
}
TEST_CASE("rollout simulation: 10,000 random rollouts keep the invariants, part 4") {
  run_part(3);
}

}  // namespace
}  // namespace sluice::balancer
