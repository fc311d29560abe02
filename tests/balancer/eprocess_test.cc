#include "balancer/eprocess.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "balancer/random.h"

namespace sluice::balancer {
namespace {

using conf::Colour;

EProcess fresh(double green_share, double blue_rate) {
  EProcess process({2, 5, 20}, 0.25);
  process.expect(green_share, blue_rate);
  return process;
}

double after_error(double green_share, double blue_rate, Colour colour) {
  EProcess process = fresh(green_share, blue_rate);
  process.add_error(colour);
  return process.value();
}

double after_ok(double green_share, double blue_rate, Colour colour) {
  EProcess process = fresh(green_share, blue_rate);
  process.add_oks(colour == Colour::blue ? 1 : 0, colour == Colour::green ? 1 : 0);
  return process.value();
}

TEST_CASE("eprocess: expects to stay what it is when both fail alike, for either outcome") {
  for (const double share : {0.1, 0.25, 0.5, 0.75}) {
    for (const double rate : {0.001, 0.01, 0.1}) {
      INFO("share " << share << " rate " << rate);
      CHECK(share * after_error(share, rate, Colour::green) +
                (1 - share) * after_error(share, rate, Colour::blue) ==
            Approx(1));
      CHECK(share * after_ok(share, rate, Colour::green) +
                (1 - share) * after_ok(share, rate, Colour::blue) ==
            Approx(1));
    }
  }
}

TEST_CASE("eprocess: at small rates an error weighs r / (1 - θ + rθ)") {
  const double share = 0.2;
  EProcess process({5}, 0);
  process.expect(share, 0.001);
  process.add_error(Colour::green);
  CHECK(process.value() == Approx(5 / (1 - share + 5 * share)).epsilon(0.02));
}

TEST_CASE("eprocess: a run of ok attempts equals as many single ones") {
  EProcess at_once = fresh(0.3, 0.01);
  EProcess one_by_one = fresh(0.3, 0.01);
  for (int i = 0; i < 4; ++i) {
    at_once.add_error(Colour::green);
    one_by_one.add_error(Colour::green);
  }
  at_once.add_oks(14, 6);
  for (int i = 0; i < 14; ++i) one_by_one.add_oks(1, 0);
  for (int i = 0; i < 6; ++i) one_by_one.add_oks(0, 1);
  CHECK(at_once.value() == Approx(one_by_one.value()));
  CHECK(at_once.renewal() == one_by_one.renewal());
}

TEST_CASE("eprocess: is renewed when spent, and asks for more each time") {
  EProcess process = fresh(0.5, 0.01);
  const double first = process.threshold(1e-4);
  CHECK(first == Approx(1e4 / EProcess::kFirstShare));
  process.add_oks(0, 100'000);
  CHECK(process.value() == Approx(1));
  CHECK(process.renewal() == 2);
  CHECK(process.threshold(1e-4) == Approx(2e4 / (1 - EProcess::kFirstShare)));
  process.clear();
  CHECK(process.renewal() == 1);
}

// How many of `runs` alarm within `attempts` while both fail alike. The rate
// may swing: nothing but the lot that chooses the colour must matter.
int false_alarms(int runs, int attempts, double share, double rate, bool swing, double alpha, uint64_t seed) {
  Random random(seed);
  int alarms = 0;
  for (int run = 0; run < runs; ++run) {
    EProcess process = fresh(share, rate);
    for (int i = 0; i < attempts; ++i) {
      const double now = swing && i / 500 % 2 == 1 ? 10 * rate : rate;
      const Colour colour = random.unit() < share ? Colour::green : Colour::blue;
      if (random.unit() < now) {
        process.add_error(colour);
      } else {
        process.add_oks(colour == Colour::blue ? 1 : 0, colour == Colour::green ? 1 : 0);
      }
      if (!process.alarmed(alpha)) continue;
      ++alarms;
      break;
    }
  }
  return alarms;
}

TEST_CASE("eprocess: alarms falsely at most as often as it was told to") {
  constexpr int kRuns = 400;
  constexpr double kAlpha = 0.05;  // 20 expected at most
  const uint64_t seed = 11;
  INFO("seed " << seed);
  for (const double share : {0.05, 0.5, 0.9}) {
    for (const bool swing : {false, true}) {
      CHECK(false_alarms(kRuns, 5000, share, 0.02, swing, kAlpha, seed) <= 20);
    }
  }
}

TEST_CASE("eprocess: a broken green and an answering blue alarm within 25 attempts") {
  EProcess process = fresh(0.5, 0.001);
  int attempts = 0;
  while (!process.alarmed(1e-4)) {
    process.add_error(Colour::green);
    process.add_oks(1, 0);
    attempts += 2;
  }
  CHECK(attempts <= 25);
}

}  // namespace
}  // namespace sluice::balancer
