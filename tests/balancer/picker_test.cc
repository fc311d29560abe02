#include "balancer/picker.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

using namespace sluice;
using namespace sluice::balancer;

namespace {

// Endpoints with weights, all up.
struct Endpoints {
  std::vector<std::unique_ptr<EndpointState>> states;
  std::vector<std::unique_ptr<EndpointLoad>> loads;
  std::vector<uint32_t> weights;
  uint64_t epoch = 1;
  Random random{99};

  explicit Endpoints(std::vector<uint32_t> the_weights) : weights(std::move(the_weights)) {
    for (size_t i = 0; i < weights.size(); ++i) {
      states.push_back(std::make_unique<EndpointState>(conf::Address{}, std::to_string(i), "", 1));
      loads.push_back(std::make_unique<EndpointLoad>());
      loads.back()->state = states.back().get();
      set(i, {EndpointHealth::up, EndpointMode::ready, false, 100});
    }
  }
  void set(size_t index, EndpointCondition condition) {
    states[index]->set_condition(condition);
    ++epoch;
  }
  Picker picker(conf::Balance balance, Picker::Panic panic = {}) const {
    std::vector<Picker::Entry> entries;
    for (size_t i = 0; i < loads.size(); ++i) entries.push_back({loads[i].get(), weights[i]});
    return {entries, balance, panic};
  }
  size_t index_of(const EndpointLoad* load) const {
    for (size_t i = 0; i < loads.size(); ++i) {
      if (loads[i].get() == load) return i;
    }
    FAIL("an endpoint that is none of them");
    return 0;
  }
  size_t pick(Picker& picker, std::vector<const EndpointLoad*> tried = {}) {
    const EndpointLoad* const load = picker.pick(random, epoch, tried.data(), tried.size());
    REQUIRE(load != nullptr);
    return index_of(load);
  }
  std::vector<uint32_t> histogram(Picker& picker, int picks) {
    std::vector<uint32_t> counts(loads.size());
    for (int i = 0; i < picks; ++i) ++counts[pick(picker)];
    return counts;
  }
};

// Pearson's chi-squared of counts against shares.
double chi_squared(const std::vector<uint32_t>& counts, const std::vector<uint32_t>& weights) {
  double total = 0;
  double sum = 0;
  for (const uint32_t count : counts) total += count;
  for (const uint32_t weight : weights) sum += weight;
  double result = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double expected = total * weights[i] / sum;
    result += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  return result;
}

// The 0.9999 quantile of chi-squared with n - 1 degrees of freedom, from above
// (Laurent and Massart, 2000, lemma 1: d + 2 sqrt(d x) + 2 x with x = ln 10^4).
double bound(size_t n) {
  const double d = static_cast<double>(n) - 1;
  const double x = std::log(1e4);
  return d + 2 * std::sqrt(d * x) + 2 * x;
}

constexpr EndpointCondition kDown{EndpointHealth::down, EndpointMode::ready, false, 100};
constexpr EndpointCondition kUp{EndpointHealth::up, EndpointMode::ready, false, 100};

}  // namespace

TEST_CASE("picker: a request may wait for a first check only where nothing may be used") {
  Endpoints endpoints({1, 1});
  Picker picker = endpoints.picker(conf::Balance::p2c);
  constexpr EndpointCondition kAwaited{.awaited = true};
  CHECK(!picker.awaits_first_check(endpoints.epoch));
  endpoints.set(0, kAwaited);
  CHECK(!picker.awaits_first_check(endpoints.epoch));
  CHECK(endpoints.pick(picker) == 1);
  endpoints.set(1, kDown);
  CHECK(picker.awaits_first_check(endpoints.epoch));
  CHECK(picker.pick(endpoints.random, endpoints.epoch, nullptr, 0) == nullptr);
  endpoints.set(0, {EndpointHealth::unknown, EndpointMode::ready, false, 100});
  CHECK(!picker.awaits_first_check(endpoints.epoch));
}

TEST_CASE("picker: random draws by weight") {
  for (const std::vector<uint32_t>& weights :
       {std::vector<uint32_t>{1, 1, 1, 1}, std::vector<uint32_t>{1, 2, 3, 4},
        std::vector<uint32_t>{1, 1000}}) {
    Endpoints endpoints(weights);
    Picker picker = endpoints.picker(conf::Balance::random);
    CHECK(chi_squared(endpoints.histogram(picker, 40'000), weights) < bound(weights.size()));
  }
}

TEST_CASE("picker: p2c without load draws evenly") {
  Endpoints endpoints({1, 1, 1, 1, 1});
  Picker picker = endpoints.picker(conf::Balance::p2c);
  const auto counts = endpoints.histogram(picker, 40'000);
  CHECK(chi_squared(counts, endpoints.weights) < bound(5));
}

TEST_CASE("picker: p2c without load draws by weight") {
  for (const std::vector<uint32_t>& weights :
       {std::vector<uint32_t>{1, 3}, std::vector<uint32_t>{1, 2, 3, 4}}) {
    Endpoints endpoints(weights);
    Picker picker = endpoints.picker(conf::Balance::p2c);
    CHECK(chi_squared(endpoints.histogram(picker, 40'000), weights) < bound(weights.size()));
  }
}

TEST_CASE("picker: p2c prefers the less loaded of two") {
  Endpoints endpoints({1, 1});
  Picker picker = endpoints.picker(conf::Balance::p2c);
  endpoints.loads[0]->active = 1;
  for (int i = 0; i < 100; ++i) REQUIRE(endpoints.pick(picker) == 1);
  endpoints.loads[1]->active = 2;
  for (int i = 0; i < 100; ++i) REQUIRE(endpoints.pick(picker) == 0);
}

TEST_CASE("picker: p2c never takes the most loaded of three and spreads what stays") {
  Endpoints endpoints({1, 1, 1, 1});
  Picker picker = endpoints.picker(conf::Balance::p2c);
  endpoints.loads[2]->active = 50;
  for (int i = 0; i < 200; ++i) REQUIRE(endpoints.pick(picker) != 2);
  endpoints.loads[2]->active = 0;
  // Requests that never end: the difference stays small, as one random choice's would not.
  for (int i = 0; i < 4000; ++i) ++endpoints.loads[endpoints.pick(picker)]->active;
  for (const auto& load : endpoints.loads) CHECK(std::abs(static_cast<int>(load->active) - 1000) <= 10);
}

TEST_CASE("picker: p2c measures load against weight") {
  Endpoints endpoints({1, 3});
  Picker picker = endpoints.picker(conf::Balance::p2c);
  for (int i = 0; i < 4000; ++i) ++endpoints.loads[endpoints.pick(picker)]->active;
  CHECK(std::abs(static_cast<int>(endpoints.loads[0]->active) - 1000) <= 40);
}

TEST_CASE("picker: round-robin is exact over every period, and evenly interleaved") {
  for (const std::vector<uint32_t>& weights :
       {std::vector<uint32_t>{1, 1, 1}, std::vector<uint32_t>{3, 1}, std::vector<uint32_t>{5, 2, 1}}) {
    Endpoints endpoints(weights);
    Picker picker = endpoints.picker(conf::Balance::round_robin);
    uint32_t period = 0;
    for (const uint32_t weight : weights) period += weight;
    for (int round = 0; round < 20; ++round) {
      CAPTURE(round);
      REQUIRE(endpoints.histogram(picker, static_cast<int>(period)) == weights);
    }
  }
  Endpoints endpoints({4, 4});
  Picker picker = endpoints.picker(conf::Balance::round_robin);
  size_t last = endpoints.pick(picker);
  for (int i = 0; i < 20; ++i) {
    const size_t next = endpoints.pick(picker);
    CHECK(next != last);
    last = next;
  }
}

TEST_CASE("picker: endpoints that are down, drained, out or ejected get nothing") {
  for (const conf::Balance balance :
       {conf::Balance::p2c, conf::Balance::round_robin, conf::Balance::random}) {
    Endpoints endpoints({1, 1, 1, 1, 1, 1});
    Picker picker = endpoints.picker(balance);
    endpoints.pick(picker);
    endpoints.set(0, kDown);
    endpoints.set(1, {EndpointHealth::up, EndpointMode::drain, false, 100});
    endpoints.set(2, {EndpointHealth::up, EndpointMode::maint, false, 100});
    endpoints.set(3, {EndpointHealth::up, EndpointMode::ready, true, 100});
    endpoints.set(4, {EndpointHealth::unknown, EndpointMode::ready, false, 100});
    CHECK(picker.eligible_count(endpoints.epoch) == 1);
    for (int i = 0; i < 50; ++i) REQUIRE(endpoints.pick(picker) == 5);
    endpoints.set(5, kDown);
    CHECK(picker.pick(endpoints.random, endpoints.epoch, nullptr, 0) == nullptr);
    CHECK(picker.eligible_count(endpoints.epoch) == 0);
    endpoints.set(0, kUp);
    CHECK(endpoints.pick(picker) == 0);
  }
}

TEST_CASE("picker: slow start takes its percentage of the weight") {
  Endpoints endpoints({1, 1});
  Picker picker = endpoints.picker(conf::Balance::random);
  endpoints.set(0, {EndpointHealth::up, EndpointMode::ready, false, 25});
  const auto counts = endpoints.histogram(picker, 20'000);
  CHECK(chi_squared(counts, {25, 100}) < bound(2));
}

TEST_CASE("picker: in a panic all share that the operator did not take out") {
  Endpoints endpoints({1, 1, 1, 1});
  Picker picker = endpoints.picker(conf::Balance::random, {50, false});
  endpoints.set(0, kDown);
  endpoints.set(1, kDown);
  CHECK(picker.eligible_count(endpoints.epoch) == 2);  // half: not yet
  CHECK_FALSE(picker.in_panic());
  endpoints.set(2, {EndpointHealth::up, EndpointMode::ready, true, 100});
  CHECK(picker.eligible_count(endpoints.epoch) == 4);
  CHECK(picker.in_panic());
  endpoints.set(0, {EndpointHealth::down, EndpointMode::maint, false, 100});
  CHECK(picker.eligible_count(endpoints.epoch) == 3);
  // With nothing usable at all there is no panic: the other colour must serve.
  endpoints.set(2, kDown);
  endpoints.set(3, kDown);
  CHECK(picker.eligible_count(endpoints.epoch) == 0);
  // Where there is no other colour, those that were ever up do.
  Picker last = endpoints.picker(conf::Balance::random, {50, true});
  endpoints.set(1, {EndpointHealth::unknown, EndpointMode::ready, false, 100, true});
  CHECK(last.eligible_count(endpoints.epoch) == 2);
  CHECK(last.may_use(*endpoints.states[2], endpoints.epoch));
  CHECK_FALSE(last.may_use(*endpoints.states[0], endpoints.epoch));
  CHECK_FALSE(last.may_use(*endpoints.states[1], endpoints.epoch));
  CHECK_FALSE(last.awaits_first_check(endpoints.epoch));
  Picker never = endpoints.picker(conf::Balance::random, {0, true});
  CHECK(never.eligible_count(endpoints.epoch) == 0);
}

TEST_CASE("picker: what the operator took out, or was never up, makes no panic") {
  Endpoints endpoints({1, 1, 1, 1, 1});
  Picker picker = endpoints.picker(conf::Balance::random, {50, true});
  endpoints.set(0, {EndpointHealth::up, EndpointMode::maint, false, 100});
  endpoints.set(1, {EndpointHealth::up, EndpointMode::drain, false, 100});
  endpoints.set(2, {EndpointHealth::unknown, EndpointMode::ready, false, 100});
  endpoints.set(3, kDown);
  CHECK(picker.eligible_count(endpoints.epoch) == 1);
  CHECK_FALSE(picker.in_panic());
}

TEST_CASE("picker: endpoints that were tried are avoided while another is left") {
  for (const conf::Balance balance :
       {conf::Balance::p2c, conf::Balance::round_robin, conf::Balance::random}) {
    for (const std::vector<uint32_t>& weights :
         {std::vector<uint32_t>{1, 1, 1}, std::vector<uint32_t>{1, 900, 5}}) {
      Endpoints endpoints(weights);
      Picker picker = endpoints.picker(balance);
      const EndpointLoad* const a = endpoints.loads[0].get();
      const EndpointLoad* const b = endpoints.loads[1].get();
      const EndpointLoad* const c = endpoints.loads[2].get();
      for (int i = 0; i < 200; ++i) {
        REQUIRE(endpoints.pick(picker, {b}) != 1);
        REQUIRE(endpoints.pick(picker, {a, b}) == 2);
        REQUIRE(endpoints.pick(picker, {b, b}) != 1);
        endpoints.pick(picker, {a, b, c});  // any
      }
    }
  }
}
