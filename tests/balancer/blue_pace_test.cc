#include "balancer/blue_pace.h"

#include <catch2/catch.hpp>
#include <queue>
#include <vector>

#include "balancer/random.h"

namespace sluice::balancer {
namespace {

using conf::Colour;

constexpr double kHeadStart = 30;
constexpr uint64_t kNever = UINT64_MAX;

// A service on a virtual clock: one attempt begins each millisecond, falls on a
// colour by lot, and is told to the pace when it has ended.
class Service {
 public:
  Service(double green_share, uint64_t green_ms, uint64_t seed)
      : green_share_(green_share), green_ms_(green_ms), random_(seed) {}

  void run(uint64_t attempts) {
    for (const uint64_t end = now_ms_ + attempts; now_ms_ < end; ++now_ms_) {
      const bool green = random_.unit() < green_share_;
      const bool error = random_.unit() < error_rate;
      const uint64_t most_ms = green ? green_ms_ : 1;
      if (most_ms != kNever) under_way_.push({now_ms_ + 1 + random_.below(most_ms), green, error});
      while (!under_way_.empty() && under_way_.top().ends_ms <= now_ms_) {
        tell(under_way_.top());
        under_way_.pop();
      }
    }
  }

  double odds() const { return (1 - green_share_) / green_share_; }
  // What blue may have counted at this moment, before anything was halved.
  double due() const { return (static_cast<double>(green_ended) + kHeadStart) * odds(); }

  BluePace pace{kHeadStart};
  double error_rate = 0;
  uint64_t blue_oks = 0;     // ended
  uint64_t blue_errors = 0;  // ended
  uint64_t green_ended = 0;
  uint64_t counted = 0;  // of blue's oks
  bool within_due = true;

 private:
  struct UnderWay {
    uint64_t ends_ms;
    bool green;
    bool error;
    bool operator<(const UnderWay& other) const { return ends_ms > other.ends_ms; }  // the soonest on top
  };

  void tell(const UnderWay& one) {
    const bool blue_error = one.error && !one.green;
    green_ended += one.green ? 1 : 0;
    blue_errors += blue_error ? 1 : 0;
    blue_oks += one.green || one.error ? 0 : 1;
    if (one.error) pace.add_error(one.green ? Colour::green : Colour::blue);
    const uint64_t passed =
        pace.add_oks(one.green || one.error ? 0 : 1, one.green && !one.error ? 1 : 0, green_share_);
    counted += passed;
    // An error of blue does not wait for what is due.
    if (passed > 0 && static_cast<double>(counted + blue_errors) > due() + 1e-6) within_due = false;
  }

  const double green_share_;
  const uint64_t green_ms_;
  Random random_;
  std::priority_queue<UnderWay> under_way_;
  uint64_t now_ms_ = 0;
};

TEST_CASE("blue_pace: where green never ends, no more of blue counts than the head start") {
  for (const double share : {0.01, 0.1, 0.5, 0.9}) {
    Service service(share, kNever, 1);
    service.run(20'000);
    CAPTURE(share);
    CHECK(service.within_due);
    CHECK(static_cast<double>(service.counted + 1) > service.due());
    CHECK(service.pace.waiting() == service.blue_oks - service.counted);
  }
}

TEST_CASE("blue_pace: blue never counts beyond what green's ends and the head start are worth") {
  for (const double share : {0.1, 0.5, 0.9}) {
    for (const double error_rate : {0.0, 0.2}) {
      for (uint64_t seed = 1; seed <= 20; ++seed) {
        Service service(share, 400, seed);
        service.error_rate = error_rate;
        service.run(static_cast<uint64_t>(0.9 * BluePace::kMemory / share));
        CAPTURE(share, error_rate, seed);
        REQUIRE(service.green_ended < static_cast<uint64_t>(BluePace::kMemory));  // nothing was halved
        REQUIRE(service.blue_oks > 0);
        CHECK(service.within_due);
        CHECK(service.counted + service.pace.waiting() == service.blue_oks);
      }
    }
  }
}

TEST_CASE("blue_pace: a green that is slow but ends has blue counted by its share, for ever") {
  for (const double share : {0.1, 0.5, 0.9}) {
    Service service(share, 400, 7);
    service.error_rate = 0.01;
    service.run(400'000);
    CAPTURE(share, service.counted, service.green_ended);
    const auto blue = static_cast<double>(service.counted + service.blue_errors);
    CHECK(blue / static_cast<double>(service.green_ended) == Approx(service.odds()).epsilon(0.05));
    // Blue's oks of half a second and of the lot's chance, not of the run.
    CHECK(static_cast<double>(service.pace.waiting()) < 0.02 * static_cast<double>(service.blue_oks) + 200);
  }
}

TEST_CASE("blue_pace: a green that is as fast as blue keeps hardly anything waiting") {
  BluePace pace(kHeadStart);
  for (int i = 0; i < 5'000; ++i) {
    CHECK(pace.add_oks(1, 0, 0.5) == 1);
    CHECK(pace.add_oks(0, 1, 0.5) == 0);
  }
  CHECK(pace.waiting() == 0);
}

TEST_CASE("blue_pace: errors of green let blue's oks pass, errors of blue take their place") {
  BluePace pace(2);
  CHECK(pace.add_oks(10, 0, 0.5) == 2);
  pace.add_error(Colour::green);
  pace.add_error(Colour::green);
  CHECK(pace.waiting() == 8);
  CHECK(pace.add_oks(0, 0, 0.5) == 2);
  pace.add_error(Colour::blue);
  CHECK(pace.add_oks(0, 1, 0.5) == 0);
  CHECK(pace.add_oks(0, 1, 0.5) == 1);
  CHECK(pace.waiting() == 5);
}

TEST_CASE("blue_pace: a green with a tenth of the share is worth nine of blue") {
  BluePace pace(0);
  CHECK(pace.add_oks(100, 0, 0.1) == 0);
  CHECK(pace.add_oks(0, 3, 0.1) == 27);
  CHECK(pace.add_oks(0, 0, 0.25) == 0);  // 3 of it are worth 9 now, and 27 have passed
  CHECK(pace.add_oks(0, 9, 0.25) == 9);
}

TEST_CASE("blue_pace: what waited and was passed over never counts, and has had its turn") {
  BluePace pace(0);
  CHECK(pace.add_oks(40, 0, 0.5) == 0);
  pace.pass_over_waiting();
  CHECK(pace.waiting() == 0);
  CHECK(pace.add_oks(10, 40, 0.5) == 0);  // those 40 end the wait of the 40 of before
  CHECK(pace.add_oks(0, 10, 0.5) == 10);
}

TEST_CASE("blue_pace: the past keeps its balance and loses its weight") {
  // Far more of green ended than of blue: so much may blue catch up at most.
  BluePace pace(0);
  for (int i = 0; i < 100; ++i) pace.add_oks(0, 1'000, 0.5);
  const uint64_t caught_up = pace.add_oks(1'000'000, 0, 0.5);
  CHECK(caught_up > 0);
  CHECK(caught_up <= static_cast<uint64_t>(BluePace::kMemory));
  // And blue far beyond what is due waits for so much of green, not for all.
  BluePace behind(0);
  for (int i = 0; i < 1'000; ++i) behind.add_error(Colour::blue);
  CHECK(behind.add_oks(1, 900, 0.5) == 0);
  CHECK(behind.add_oks(0, 200, 0.5) == 1);
}

TEST_CASE("blue_pace: cleared, it is as new, with its head start") {
  BluePace pace(3);
  pace.add_error(Colour::blue);
  pace.add_oks(50, 20, 0.5);
  pace.clear();
  CHECK(pace.waiting() == 0);
  CHECK(pace.add_oks(50, 0, 0.5) == 3);
}

}  // namespace
}  // namespace sluice::balancer
