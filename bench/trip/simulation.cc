#include "simulation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "balancer/influence.h"

namespace sluice::bench {
namespace {

using balancer::Random;
using conf::Colour;

constexpr uint64_t kClients = 1000;
constexpr uint64_t kHeavyClient = kClients + 1;

// Random as the standard library's distributions want it.
struct Generator {
  using result_type = uint64_t;
  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return std::numeric_limits<uint64_t>::max(); }
  uint64_t operator()() { return random.next(); }
  Random& random;
};

uint64_t binomial(Random& random, uint64_t count, double chance) {
  if (count == 0 || chance <= 0) return 0;
  if (chance >= 1) return count;
  if (count < 16) {
    uint64_t hits = 0;
    for (uint64_t i = 0; i < count; ++i) hits += random.unit() < chance ? 1 : 0;
    return hits;
  }
  Generator generator{random};
  return std::binomial_distribution<uint64_t>(count, chance)(generator);
}

// Ok attempts before the next error, at most `limit`.
uint64_t oks_before_error(Random& random, double error_chance, uint64_t limit) {
  if (error_chance <= 0) return limit;
  if (error_chance >= 1) return 0;
  const double draw = std::log1p(-random.unit()) / std::log1p(-error_chance);
  return draw >= static_cast<double>(limit) ? limit : static_cast<uint64_t>(draw);
}

class World {
 public:
  World(const Scenario& scenario, Rule& rule, uint64_t seed)
      : scenario_(scenario), rule_(rule), random_(seed) {}

  Run run() {
    const double blue = scenario_.phases.front().blue_rate;
    if (scenario_.warm) {
      const uint64_t errors = binomial(random_, kWarmAttempts, blue);
      rule_.warm_up(kWarmAttempts - errors, errors);
      if (scenario_.clients) sample_clients(scenario_.phases.front(), kWarmAttempts);
    }
    rule_.begin(scenario_.split, now_ms());
    for (size_t i = 0; i < scenario_.phases.size() && !run_.tripped; ++i) {
      fault_ = i >= scenario_.fault_phase;
      run_phase(scenario_.phases[i]);
    }
    run_.false_trip = run_.tripped && !fault_;
    return run_;
  }

 private:
  uint64_t now_ms() const { return static_cast<uint64_t>(now_s_ * 1000) + 1; }

  void run_phase(const Phase& phase) {
    const double tick_s = static_cast<double>(kTickMs) / 1000;
    const auto ticks = static_cast<uint64_t>(std::llround(phase.seconds / tick_s));
    double owed = 0;  // requests that the ticks so far have not carried
    for (uint64_t tick = 0; tick < ticks && !run_.tripped; ++tick) {
      owed += phase.requests_per_s * tick_s;
      const auto requests = static_cast<uint64_t>(owed);
      owed -= static_cast<double>(requests);
      if (scenario_.clients) sample_clients(phase, requests);
      run_tick(phase, requests, tick_s);
    }
  }

  void run_tick(const Phase& phase, uint64_t requests, double tick_s) {
    const double green = static_cast<double>(scenario_.split) / conf::kFullSplit;
    const double green_rate = phase.green_rate + phase.one_client_rate;
    const double error_chance = green * green_rate + (1 - green) * phase.blue_rate;
    const double green_if_ok = error_chance >= 1 ? 0 : green * (1 - green_rate) / (1 - error_chance);
    const double green_if_error = error_chance <= 0 ? 0 : green * green_rate / error_chance;
    const double request_s = requests == 0 ? tick_s : tick_s / static_cast<double>(requests);
    uint64_t left = requests;
    while (left > 0 && !run_.tripped) {
      const uint64_t oks = oks_before_error(random_, error_chance, left);
      const uint64_t green_oks = binomial(random_, oks, green_if_ok);
      advance(oks, green_oks, request_s);
      if (rule_.oks(oks - green_oks, green_oks, now_ms())) run_.tripped = true;
      left -= oks;
      if (left == 0 || run_.tripped) break;
      const bool is_green = random_.unit() < green_if_error;
      advance(1, is_green ? 1 : 0, request_s);
      --left;
      const uint64_t client = client_of_error(phase, is_green);
      if (rule_.error(is_green ? Colour::green : Colour::blue, client, now_ms())) run_.tripped = true;
    }
    if (requests == 0) advance(1, 0, request_s);
  }

  // Shows the rule one client in Traffic::kSampleEvery.
  void sample_clients(const Phase& phase, uint64_t requests) {
    const double heavy = phase.one_client_rate * static_cast<double>(scenario_.split) / conf::kFullSplit;
    constexpr uint64_t kEvery = balancer::Traffic::kSampleEvery;
    for (unsampled_ += requests; unsampled_ >= kEvery; unsampled_ -= kEvery) {
      rule_.client_seen(random_.unit() < heavy ? kHeavyClient : random_.below(kClients) + 1);
    }
  }

  uint64_t client_of_error(const Phase& phase, bool green) {
    if (!scenario_.clients) return 0;
    const double all = phase.green_rate + phase.one_client_rate;
    if (green && phase.one_client_rate > 0 && random_.unit() * all < phase.one_client_rate) {
      return kHeavyClient;
    }
    return random_.below(kClients) + 1;
  }

  void advance(uint64_t attempts, uint64_t green, double request_s) {
    const double seconds = static_cast<double>(attempts) * request_s;
    now_s_ += seconds;
    if (!fault_) return;
    run_.green_attempts += green;
    run_.seconds += seconds;
  }

  const Scenario& scenario_;
  Rule& rule_;
  Random random_;
  double now_s_ = 0;
  uint64_t unsampled_ = 0;
  bool fault_ = false;
  Run run_;
};

}  // namespace

Run simulate(const Scenario& scenario, Rule& rule, uint64_t seed) {
  return World(scenario, rule, seed).run();
}

}  // namespace sluice::bench
