// Checks, ejection, panic, slow start, caps and the queue behind them at once:
// random histories of one upstream under the whole data path, with time that moves
// when it is told. Endpoints die, recover, fall silent, come and go; an operator
// drains them and moves the limit; clients ask and leave. After every step:
//
//   - never more endpoints are ejected than max_ejected lets be;
//   - never more connections than the limit, but for those from before it was
//     lowered, which only become fewer;
//   - no request goes to an endpoint that is not in service, unless in a panic, and
//     then to none that was never up or that the operator took out;
//   - who came first is served first, nobody waits past queue_timeout, and the queue
//     is never longer than it may be;
//   - at the end everybody was answered once, and the queue is empty.
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fixtures.h"
#include "health/check_scheduler.h"
#include "health/upstream_monitor.h"
#include "tests/health/fixtures.h"

namespace sluice::proxy::test {
namespace {

using balancer::EndpointCondition;
using balancer::EndpointMode;
using balancer::EndpointState;
using conf::Colour;
using health::CheckId;
using health::EndpointKey;

class World {
 public:
  // What has been seen to happen, so that a test that shows nothing fails.
  struct Seen {
    int served = 0, waited = 0, in_panic = 0, ejected = 0, fell = 0, refused = 0, retried = 0;
    Seen& operator+=(const Seen& other) {
      served += other.served;
      waited += other.waited;
      in_panic += other.in_panic;
      ejected += other.ejected;
      fell += other.fell;
      refused += other.refused;
      retried += other.retried;
      return *this;
    }
  };

  explicit World(uint64_t seed)
      : random_(seed),
        config_(random_config(random_)),
        path_(config_, seed),
        scheduler_(
            seed, [this](CheckId id, const health::CheckTransition& change) { on_transition(id, change); },
            [this](CheckId id) { on_result(id); }) {
    const conf::Service& service = web(config_);
    monitor_ = std::make_unique<health::UpstreamMonitor>(service.health, service.outlier,
                                                         blue(config_).slow_start_ms, path_.loop.now_ms());
    all_ = blue(config_).endpoints;
    for (const conf::Endpoint& one : all_) hosts_[one.address.to_string()].works = random_.below(4) != 0;
    look_after_endpoints();
    tell_workers();
  }

  void event() {
    ++step_;
    pass(random_.below(30) == 0 ? random_.below(500) : random_.below(25));
    control();
    for (uint64_t i = random_.below(4); i > 0; --i) new_client();
    settle();
    switch (random_.below(40)) {
      case 0:
        any_host().works = random_.below(2) == 0;
        break;
      case 1:
        any_host().silent = random_.below(3) == 0;
        break;
      case 2:
        any_host().flaky = random_.unit() * 0.6;
        break;
      case 3:
        set_mode();
        break;
      case 4:
        path_.cap(Colour::blue).set_max(static_cast<uint32_t>(1 + random_.below(6)));
        path_.loop.run_deferred();
        break;
      case 5:
        reload();
        break;
      case 6:
        leave();
        break;
      default:
        break;
    }
    settle();
    for (size_t i = 0; i < origins_.size(); ++i) answer(origins_[i]);
    settle();
  }

  // All is well from now on, and nobody comes any more.
  void finish() {
    for (auto& [name, host] : hosts_) host = {};
    for (auto& [key, watched] : watched_) monitor_->set_mode(key, EndpointMode::ready, path_.loop.now_ms());
    tell_workers();  // as Control does at once: a panic may have ended by this
    for (int i = 0; i < 600 && unanswered() > 0; ++i) {
      ++step_;
      pass(50);
      control();
      for (size_t j = 0; j < origins_.size(); ++j) answer(origins_[j]);
      settle();
    }
    REQUIRE(unanswered() == 0);
    REQUIRE(path_.service().upstreams[0]->queued() == 0);
    REQUIRE(path_.queued == 0);
    REQUIRE_FALSE(path_.cap(Colour::blue).has_waiters());
    for (const auto& [key, watched] : watched_) scheduler_.remove(watched.check);
  }

  const Seen& seen() const { return seen_; }

 private:
  struct Host {
    bool works = true;
    bool silent = false;
    double flaky = 0;  // chance that a request fails although it works
  };
  struct Watched {
    EndpointKey key = 0;
    std::shared_ptr<EndpointState> state;
    std::shared_ptr<health::ProbeScript> probe;
    CheckId check = 0;
    EndpointState::Tally tallied;
    bool was_up = false;
  };
  struct Request {
    std::shared_ptr<Peer> client;
    uint64_t step = 0;
    uint64_t since_us = 0;
    int started = 0;  // attempts whose head has come to an origin
    bool waited = false;
    bool over = false;  // answered, or its client has left
  };
  struct Origin {
    std::shared_ptr<Peer> peer;
    size_t heads = 0;
    size_t answered = 0;
    bool ended = false;
  };

  static conf::Config random_config(balancer::Random& random) {
    conf::Config config = one_service(static_cast<uint32_t>(1 + random.below(7)));
    conf::Service& service = web(config);
    service.timeouts = {200, 400, 60'000, 0, 60'000, 60'000, 60'000};
    service.retry.max = static_cast<uint32_t>(random.below(3));
    service.health.enabled = random.below(4) != 0;
    service.health.interval_ms = 100 + static_cast<uint32_t>(random.below(1000));
    service.health.timeout_ms = 50 + static_cast<uint32_t>(random.below(300));
    service.health.rise = 1 + static_cast<uint32_t>(random.below(3));
    service.health.fall = 1 + static_cast<uint32_t>(random.below(3));
    service.outlier.enabled = random.below(5) != 0;
    service.outlier.consecutive = 2 + static_cast<uint32_t>(random.below(4));
    service.outlier.eject_ms = 300 + static_cast<uint32_t>(random.below(3000));
    service.outlier.max_ejected_percent = static_cast<uint32_t>(random.below(101));
    service.outlier.panic_percent = random.below(3) == 0 ? 0 : 50;
    blue(config).max_connections = 1 + static_cast<uint32_t>(random.below(5));
    blue(config).max_queue = static_cast<uint32_t>(random.below(12));
    blue(config).queue_timeout_ms = 50 + static_cast<uint32_t>(random.below(1000));
    blue(config).slow_start_ms = static_cast<uint32_t>(random.below(3) == 0 ? 2000 : 0);
    blue(config).balance = static_cast<conf::Balance>(random.below(3));
    return config;
  }

  Host& any_host() {
    return std::next(hosts_.begin(), static_cast<long>(random_.below(hosts_.size())))->second;
  }
  Watched* watched_by(CheckId id) {
    for (auto& [key, one] : watched_) {
      if (one.check == id && id != 0) return &one;
    }
    return nullptr;
  }

  // ---- what Control and its HealthMonitor do

  void look_after_endpoints() {
    const std::vector<balancer::EndpointPlan>& now = path_.service().endpoints[0];
    for (auto it = watched_.begin(); it != watched_.end();) {
      const auto here = it++;
      if (std::any_of(now.begin(), now.end(),
                      [&](const auto& one) { return one.state == here->second.state; }))
        continue;
      scheduler_.remove(here->second.check);
      monitor_->remove(here->first, path_.loop.now_ms());
      watched_.erase(here);
    }
    for (const auto& [state, weight] : now) {
      if (std::any_of(watched_.begin(), watched_.end(),
                      [&, state = state](const auto& one) { return one.second.state == state; }))
        continue;
      Watched& one = watched_[++last_key_];
      one.key = last_key_;
      one.state = state;
      one.tallied = state->tally();
      monitor_->add(one.key, state, path_.loop.now_ms());
      if (!web(config_).health.enabled) continue;
      one.probe = std::make_shared<health::ProbeScript>();
      one.check = scheduler_.add(web(config_).health, std::make_unique<health::ScriptedProbe>(one.probe),
                                 path_.loop.now_ms());
    }
  }

  void on_transition(CheckId id, const health::CheckTransition& change) {
    Watched* const one = watched_by(id);
    REQUIRE(one != nullptr);
    seen_.fell += change.to == balancer::EndpointHealth::down ? 1 : 0;
    monitor_->checked(one->key, change, path_.loop.now_ms());
  }
  void on_result(CheckId id) {
    const health::ActiveCheck* const check = scheduler_.find(id);
    const Watched* const one = watched_by(id);
    if (check == nullptr || one == nullptr || check->health() != balancer::EndpointHealth::unknown) return;
    monitor_->first_check_failed(one->key, path_.loop.now_ms());
  }

  void control() {
    const uint64_t now_ms = path_.loop.now_ms();
    scheduler_.advance(now_ms);
    for (auto& [key, one] : watched_) {
      const Host& host = hosts_.at(one.state->name());
      if (one.probe == nullptr || !one.probe->running() || host.silent || random_.below(2) == 0) continue;
      if (host.works) one.was_up = true;
      one.probe->finish(host.works ? health::kOk : health::failure(), now_ms);
    }
    if (web(config_).outlier.enabled) {
      for (auto& [key, one] : watched_) {
        const EndpointState::Tally now = one.state->tally();
        const EndpointState::Tally before = std::exchange(one.tallied, now);
        monitor_->polled(key, now.succeeded - before.succeeded, now.failed - before.failed,
                         one.state->take_longest_row(), now_ms);
      }
    }
    monitor_->advance(now_ms);
    for (const health::MonitorEvent& told : monitor_->take_events()) {
      seen_.ejected += told.kind == health::MonitorEvent::Kind::ejected ? 1 : 0;
    }
    tell_workers();
    settle();
  }

  void tell_workers() {
    if (!monitor_->take_changed()) return;
    path_.service().upstreams[0]->bump_epoch();
    path_.context.serve_caps_later();
    path_.loop.run_deferred();
  }

  void set_mode() {
    auto& [key, one] = *std::next(watched_.begin(), static_cast<long>(random_.below(watched_.size())));
    monitor_->set_mode(key, static_cast<EndpointMode>(random_.below(3)), path_.loop.now_ms());
    tell_workers();
  }

  void reload() {
    std::vector<conf::Endpoint>& endpoints = blue(config_).endpoints;
    endpoints.clear();
    for (const conf::Endpoint& one : all_) {
      if (random_.below(3) != 0) endpoints.push_back(one);
    }
    if (endpoints.empty()) endpoints.push_back(all_[random_.below(all_.size())]);
    blue(config_).max_connections = 1 + static_cast<uint32_t>(random_.below(5));
    blue(config_).max_queue = static_cast<uint32_t>(random_.below(12));
    most_queued_ = std::max(path_.service().upstreams[0]->queued().load(), blue(config_).max_queue);
    const auto plan = path_.registry.build(config_, {}, 0);
    look_after_endpoints();
    path_.context.adopt(plan);
    tell_workers();
  }

  // ---- clients and origins

  void pass(uint64_t ms) {
    path_.pass_ms(ms);
    check();
  }
  void settle() {
    path_.run();
    check();
  }

  void new_client() {
    Request request;
    request.client = path_.connect();
    request.client->send(get("/" + std::to_string(requests_.size())));
    request.step = step_;
    request.since_us = path_.loop.now_us();
    requests_.push_back(std::move(request));
  }

  void leave() {
    for (Request& one : requests_) {
      if (one.over || random_.below(3) != 0) continue;
      one.client->fail(UV_ECONNRESET);
      one.over = true;
      return;
    }
  }

  void answer(Origin& origin) {
    if (!origin.peer->open() && !origin.peer->alive()) return;
    const Host& host = hosts_.at(origin.peer->name());
    if (host.silent || random_.below(2) == 0) return;
    if (origin.peer->saw_end() && !origin.ended) {
      origin.ended = true;
      origin.peer->end();
    }
    if (origin.answered == origin.heads || origin.ended) return;
    ++origin.answered;
    if (host.works && random_.unit() >= host.flaky) {
      origin.peer->send(kOk);
    } else if (random_.below(2) == 0) {
      origin.peer->send(proxy::test::answer(500));
    } else {
      origin.ended = true;
      origin.peer->fail(UV_ECONNRESET);
    }
  }

  size_t unanswered() const {
    return static_cast<size_t>(
        std::count_if(requests_.begin(), requests_.end(), [](const Request& one) { return !one.over; }));
  }

  // ---- what must hold: conditions have not changed since the requests were placed

  void check() {
    check_ejections();
    check_connections();
    const std::vector<Request*> placed = note_placed();
    check_answers();
    check_order(placed);
    check_queue();
  }

  void check_ejections() {
    size_t ejected = 0;
    for (const auto& [key, one] : watched_) ejected += one.state->condition().ejected ? 1 : 0;
    const size_t count = watched_.size();
    const uint32_t percent = web(config_).outlier.max_ejected_percent;
    if (count < 2 || percent == 0 || !web(config_).outlier.enabled) {
      REQUIRE(ejected == 0);
    } else {
      REQUIRE(ejected <= std::max<size_t>(1, count * percent / 100));
    }
  }

  void check_connections() {
    size_t open = 0;
    for (const auto& peer : path_.dialer.dialled) open += peer->alive() ? 1 : 0;
    const balancer::Cap& cap = path_.cap(Colour::blue);
    REQUIRE(open <= cap.used());
    REQUIRE(cap.used() <= std::max(cap.max(), used_before_));
    used_before_ = cap.used();
  }

  void check_answers() {
    for (Request& one : requests_) {
      if (one.over || one.client->received().empty()) continue;
      const int status = status_of(one.client->received());
      const bool known = status == 200 || status == 500 || (status >= 502 && status <= 504);
      REQUIRE(known);
      REQUIRE(one.client->received().find("HTTP/1.1", 1) == std::string::npos);  // one answer
      one.over = true;
      seen_.refused += one.started == 0 ? 1 : 0;
      if (one.started == 0) REQUIRE(status == 503);
    }
  }

  std::vector<Request*> note_placed() {
    while (origins_.size() < path_.dials()) origins_.push_back({path_.dialer.dialled[origins_.size()]});
    std::vector<Request*> placed;
    for (Origin& origin : origins_) note_heads(origin, placed);
    return placed;
  }

  // They are in the order of their coming.
  void check_order(const std::vector<Request*>& placed) const {
    const auto oldest = std::find_if(requests_.begin(), requests_.end(),
                                     [](const Request& one) { return !one.over && one.started == 0; });
    if (oldest == requests_.end()) return;
    for (const Request* const one : placed) {
      if (one->started == 1) REQUIRE(one->step <= oldest->step);
    }
  }

  void note_heads(Origin& origin, std::vector<Request*>& placed) {
    const std::string& text = origin.peer->received();
    size_t heads = 0;
    for (size_t at = text.find("GET /"); at != std::string::npos; at = text.find("GET /", at + 1)) {
      if (++heads <= origin.heads) continue;
      check_condition(origin.peer->name());
      Request& one = requests_.at(std::stoul(text.substr(at + 5)));
      seen_.retried += one.started > 0 ? 1 : 0;
      seen_.waited += one.waited ? 1 : 0;
      ++seen_.served;
      ++one.started;
      placed.push_back(&one);
    }
    origin.heads = heads;
  }

  void check_condition(const std::string& name) {
    size_t usable = 0;
    size_t candidates = 0;
    const Watched* here = nullptr;
    for (const auto& [key, one] : watched_) {
      const EndpointCondition condition = one.state->condition();
      const bool in_service = condition.mode == EndpointMode::ready;
      const bool was_up = condition.health != balancer::EndpointHealth::unknown;
      usable += in_service && condition.health == balancer::EndpointHealth::up && !condition.ejected ? 1 : 0;
      candidates += in_service && was_up ? 1 : 0;
      if (one.state->name() == name) here = &one;
    }
    REQUIRE(here != nullptr);  // not one that the configuration has no more
    const EndpointCondition condition = here->state->condition();
    REQUIRE(condition.mode == EndpointMode::ready);
    if (web(config_).health.enabled) REQUIRE(here->was_up);
    const bool panic = usable * 100 < candidates * web(config_).outlier.panic_percent;
    if (!panic) {
      REQUIRE(condition.health == balancer::EndpointHealth::up);
      REQUIRE_FALSE(condition.ejected);
    }
    seen_.in_panic += panic && !condition.usable() ? 1 : 0;
  }

  void check_queue() {
    const uint32_t queued = path_.service().upstreams[0]->queued();
    uint32_t never_placed = 0;
    uint32_t most = 0;
    const uint64_t patience_us = (blue(config_).queue_timeout_ms + 2 * TimerWheel::kTickMs) * 1000;
    for (Request& one : requests_) {
      if (one.over) continue;
      ++most;
      if (one.started > 0) continue;
      ++never_placed;
      one.waited = true;
      REQUIRE(path_.loop.now_us() <= one.since_us + patience_us);
    }
    REQUIRE(never_placed <= queued);  // a retry may wait as well
    REQUIRE(queued <= most);
    most_queued_ = std::max(blue(config_).max_queue, std::min(most_queued_, queued));
    // Beside them those who wait for an idle connection to give up its place.
    REQUIRE(queued <= most_queued_ + path_.service().upstreams[0]->connections()->peak());
    REQUIRE(path_.queued == queued);
  }

  balancer::Random random_;
  conf::Config config_;
  DataPath path_;
  std::map<std::string, Host> hosts_;
  std::vector<conf::Endpoint> all_;
  std::map<EndpointKey, Watched> watched_;
  EndpointKey last_key_ = 0;
  std::unique_ptr<health::UpstreamMonitor> monitor_;
  health::CheckScheduler scheduler_;
  std::vector<Request> requests_;
  std::vector<Origin> origins_;
  uint64_t step_ = 0;
  uint32_t used_before_ = 0;
  uint32_t most_queued_ = 0;  // more than max_queue after a reload that lowered it
  Seen seen_;
};

// Each part is a test of its own, so that they run side by side.
void run_part(uint64_t part) {
  constexpr uint64_t kHistories = 1000;
  constexpr int kEvents = 150;
  World::Seen seen;
  for (uint64_t seed = part * kHistories + 1; seed <= (part + 1) * kHistories; ++seed) {
    INFO("seed " << seed);
    World world(seed);
    for (int i = 0; i < kEvents; ++i) world.event();
    world.finish();
    seen += world.seen();
  }
  CHECK(seen.served > 50'000);
  CHECK(seen.waited > 5'000);
  CHECK(seen.in_panic > 1'000);
  CHECK(seen.ejected > 300);
  CHECK(seen.fell > 300);
  CHECK(seen.refused > 1'000);
  CHECK(seen.retried > 500);
}

TEST_CASE("endpoints simulation: checks, ejection, caps and the queue keep their invariants, part 1") {
  run_part(0);
}
TEST_CASE("endpoints simulation: checks, ejection, caps and the queue keep their invariants, part 2") {
  run_part(1);
}
TEST_CASE("endpoints simulation: checks, ejection, caps and the queue keep their invariants, part 3") {
  run_part(2);
}

}  // namespace
}  // namespace sluice::proxy::test
