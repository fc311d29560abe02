// Thousands of random histories of an upstream: endpoints die and recover, come
// and go, are drained, fail live requests; checked after every event.
#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "balancer/random.h"
#include "health/check_scheduler.h"
#include "health/upstream_monitor.h"
#include "tests/health/fixtures.h"

namespace sluice::health {
namespace {

using balancer::EndpointCondition;
using balancer::EndpointHealth;
using balancer::EndpointMode;

class World {
 public:
  explicit World(uint64_t seed)
      : random_(seed),
        scheduler_(
            seed, [this](CheckId id, const CheckTransition& t) { transition(id, t); },
            [this](CheckId id) { result(id); }) {
    health_.enabled = random_.below(4) != 0;
    health_.interval_ms = 200 + static_cast<uint32_t>(random_.below(3000));
    health_.timeout_ms = 100 + static_cast<uint32_t>(random_.below(2000));
    health_.rise = 1 + static_cast<uint32_t>(random_.below(3));
    health_.fall = 1 + static_cast<uint32_t>(random_.below(3));
    outlier_.enabled = true;
    outlier_.max_ejected_percent = static_cast<uint32_t>(random_.below(101));
    outlier_.eject_ms = 1000 + static_cast<uint32_t>(random_.below(30'000));
    monitor_ = std::make_unique<UpstreamMonitor>(health_, outlier_, random_.below(20'000), now_ms_);
    const uint64_t count = 1 + random_.below(12);
    for (uint64_t i = 0; i < count; ++i) add();
  }

  void event() {
    now_ms_ += random_.below(300);
    scheduler_.advance(now_ms_);
    monitor_->advance(now_ms_);
    answer_probes();
    for (Endpoint& endpoint : endpoints_) serve(endpoint);
    switch (random_.below(100)) {
      case 0:
        add();
        break;
      case 1:
        remove();
        break;
      case 2:
      case 3:
      case 4:
        if (Endpoint* one = any()) one->works = random_.below(2) == 0;
        break;
      case 5:
        if (Endpoint* one = any()) one->silent = random_.below(2) == 0;
        break;
      case 6:
        if (Endpoint* one = any()) one->flaky = random_.unit() * 0.5;
        break;
      case 7:
        if (Endpoint* one = any()) set_mode(*one);
        break;
      default:
        break;
    }
    collect();
    check();
  }

  int ejections() const { return ejections_; }
  int falls() const { return falls_; }
  int served() const { return served_; }

 private:
  struct Endpoint {
    EndpointKey key = 0;
    CheckId check = 0;
    std::shared_ptr<balancer::EndpointState> state;
    std::shared_ptr<ProbeScript> probe;
    bool works = true;
    bool silent = false;
    double flaky = 0;              // chance that a live request fails although it works
    bool succeeded = false;        // a probe ever did
    int results_since_change = 0;  // of probes, since it went up or down
  };

  Endpoint* any() { return endpoints_.empty() ? nullptr : &endpoints_[random_.below(endpoints_.size())]; }
  Endpoint* by_check(CheckId id) {
    const auto found =
        std::find_if(endpoints_.begin(), endpoints_.end(), [id](const Endpoint& e) { return e.check == id; });
    return found == endpoints_.end() ? nullptr : &*found;
  }

  void add() {
    Endpoint endpoint;
    endpoint.key = ++last_key_;
    endpoint.state = make_endpoint("e" + std::to_string(endpoint.key));
    endpoint.works = random_.below(4) != 0;
    if (health_.enabled) {
      endpoint.probe = std::make_shared<ProbeScript>();
      endpoint.check = scheduler_.add(health_, std::make_unique<ScriptedProbe>(endpoint.probe), now_ms_);
    }
    monitor_->add(endpoint.key, endpoint.state, now_ms_);
    endpoints_.push_back(std::move(endpoint));
  }

  void remove() {
    if (endpoints_.empty()) return;
    const size_t index = random_.below(endpoints_.size());
    scheduler_.remove(endpoints_[index].check);
    monitor_->remove(endpoints_[index].key, now_ms_);
    if (endpoints_[index].probe) REQUIRE(!endpoints_[index].probe->running());
    endpoints_.erase(endpoints_.begin() + static_cast<std::ptrdiff_t>(index));
  }

  void set_mode(Endpoint& endpoint) {
    monitor_->set_mode(endpoint.key, static_cast<EndpointMode>(random_.below(3)), now_ms_);
  }

  void answer_probes() {
    for (Endpoint& endpoint : endpoints_) {
      if (!endpoint.probe || !endpoint.probe->running() || endpoint.silent || random_.below(2) == 0) continue;
      ++endpoint.results_since_change;
      if (endpoint.works) endpoint.succeeded = true;
      endpoint.probe->finish(endpoint.works ? kOk : failure(), now_ms_);
    }
  }

  void transition(CheckId id, const CheckTransition& transition) {
    Endpoint* endpoint = by_check(id);
    REQUIRE(endpoint != nullptr);
    REQUIRE(transition.from != transition.to);
    REQUIRE(transition.to != EndpointHealth::unknown);
    if (transition.from == EndpointHealth::unknown) REQUIRE(transition.to == EndpointHealth::up);
    // Flaps are bounded by the probes: so many results lie between two changes.
    // A timeout is a result that the world does not count itself.
    const int timeouts = endpoint->probe->cancels;
    const int results = endpoint->results_since_change + timeouts;
    if (transition.from == EndpointHealth::up) {
      REQUIRE(results >= static_cast<int>(health_.fall));
      ++falls_;
    }
    if (transition.from == EndpointHealth::down) REQUIRE(results >= static_cast<int>(health_.rise));
    endpoint->results_since_change = 0;
    endpoint->probe->cancels = 0;
    monitor_->checked(endpoint->key, transition, now_ms_);
  }

  // After every result: nobody waits for a first check that is over.
  void result(CheckId id) {
    const Endpoint* endpoint = by_check(id);
    if (endpoint == nullptr) return;
    if (scheduler_.find(id)->health() == EndpointHealth::unknown) {
      monitor_->first_check_failed(endpoint->key, now_ms_);
    }
    REQUIRE(!endpoint->state->condition().awaited);
  }

  // Live traffic, as the Picker would let it through.
  void serve(Endpoint& endpoint) {
    const EndpointCondition condition = endpoint.state->condition();
    size_t in_panic = 0;
    for (const auto& one : endpoints_) in_panic += one.state->condition().usable_in_panic() ? 1 : 0;
    const bool panic = monitor_->usable() * 2 < in_panic;
    if (!(panic ? condition.usable_in_panic() : condition.usable())) return;
    ++served_;
    REQUIRE(condition.mode == EndpointMode::ready);
    if (health_.enabled) REQUIRE(endpoint.succeeded);  // unknown gets no traffic, not even in a panic
    if (random_.below(3) == 0) {                       // some callers know totals only
      monitor_->polled(endpoint.key, endpoint.works ? random_.below(20) : 0, random_.below(3),
                       random_.below(3), now_ms_);
      return;
    }
    for (uint64_t i = random_.below(20); i > 0; --i) {
      if (endpoint.works && random_.unit() >= endpoint.flaky) {
        monitor_->polled(endpoint.key, 1, 0, 0, now_ms_);
      } else {
        monitor_->polled(endpoint.key, 0, 1, 1, now_ms_);
      }
    }
  }

  void collect() {
    for (const MonitorEvent& event : monitor_->take_events()) {
      REQUIRE(!event.text.empty());
      if (event.text.starts_with("ejected")) ++ejections_;
    }
  }

  void check() {
    const Outlier& outlier = monitor_->outlier();
    const size_t count = endpoints_.size();
    REQUIRE(monitor_->size() == count);
    REQUIRE(scheduler_.running() <= CheckScheduler::kMaxRunning);
    size_t usable = 0;
    size_t ejected = 0;
    for (const Endpoint& endpoint : endpoints_) {
      const EndpointCondition condition = endpoint.state->condition();
      usable += condition.usable() ? 1 : 0;
      ejected += condition.ejected ? 1 : 0;
      if (condition.awaited) REQUIRE(condition.health == EndpointHealth::unknown);
      REQUIRE(condition.ramp_percent >= 1);
      REQUIRE(condition.ramp_percent <= 100);
      REQUIRE(condition.ejected == outlier.is_ejected(endpoint.key));
    }
    REQUIRE(usable == monitor_->usable());
    REQUIRE(ejected == outlier.ejected());
    // Written out again from the contract, not taken from limit().
    if (count < 2 || outlier_.max_ejected_percent == 0)
      REQUIRE(ejected == 0);
    else
      REQUIRE(ejected <= std::max<size_t>(1, count * outlier_.max_ejected_percent / 100));
    REQUIRE(outlier.next_wakeup_ms() > now_ms_);
    REQUIRE(monitor_->next_wakeup_ms(now_ms_) > now_ms_);
  }

  balancer::Random random_;
  uint64_t now_ms_ = 1000;
  conf::Health health_;
  conf::Outlier outlier_;
  std::vector<Endpoint> endpoints_;
  EndpointKey last_key_ = 0;
  std::unique_ptr<UpstreamMonitor> monitor_;
  CheckScheduler scheduler_;
  int ejections_ = 0;
  int falls_ = 0;
  int served_ = 0;
};

// Each part is a test of its own, so that they run side by side.
void run_part(uint64_t part) {
  constexpr uint64_t kHistories = 1000;
  constexpr int kEvents = 300;
  int ejections = 0;
  int falls = 0;
  int served = 0;
  for (uint64_t seed = part * kHistories + 1; seed <= (part + 1) * kHistories; ++seed) {
    INFO("seed " << seed);
    World world(seed);
    for (int i = 0; i < kEvents; ++i) world.event();
    ejections += world.ejections();
    falls += world.falls();
    served += world.served();
  }
  CHECK(ejections > 1500);
  CHECK(falls > 1500);
  CHECK(served > 150'000);
}

TEST_CASE("health simulation: 3,000 random histories keep the invariants, part 1") {
  run_part(0);
}
TEST_CASE("health simulation: 3,000 random histories keep the invariants, part 2") {
  run_part(1);
}
TEST_CASE("health simulation: 3,000 random histories keep the invariants, part 3") {
  run_part(2);
}

}  // namespace
}  // namespace sluice::health
