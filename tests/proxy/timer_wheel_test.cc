#include "proxy/timer_wheel.h"

#include <catch2/catch.hpp>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "balancer/random.h"

using namespace sluice;
using namespace sluice::proxy;

namespace {

// A timer that calls a function and counts.
struct Alarm {
  std::function<void()> then;
  int rings = 0;
  Timer timer{[](void* self) {
                auto& alarm = *static_cast<Alarm*>(self);
                ++alarm.rings;
                if (alarm.then) alarm.then();
              },
              this};
};

constexpr uint64_t kNow = 1'000'003;

}  // namespace

TEST_CASE("timer_wheel: a timer fires once, never early and a tick late at most") {
  for (uint64_t delay = 0; delay < 40; ++delay) {
    CAPTURE(delay);
    TimerWheel wheel(kNow);
    Alarm alarm;
    wheel.arm(alarm.timer, kNow + delay);
    uint64_t now = kNow;
    while (alarm.rings == 0 && now < kNow + 100) wheel.advance(++now);
    CHECK(now >= kNow + delay);
    CHECK(now <= kNow + delay + TimerWheel::kTickMs);
    CHECK_FALSE(alarm.timer.armed());
    wheel.advance(now + 100'000);
    CHECK(alarm.rings == 1);
  }
}

TEST_CASE("timer_wheel: deadlines beyond one turn of the wheel wait for theirs") {
  TimerWheel wheel(kNow);
  const uint64_t turn = TimerWheel::kTickMs * TimerWheel::kSlots;
  Alarm soon;
  Alarm late;
  wheel.arm(soon.timer, kNow + 50);
  wheel.arm(late.timer, kNow + 50 + 3 * turn);
  wheel.advance(kNow + 60);
  CHECK(soon.rings == 1);
  wheel.advance(kNow + 50 + 3 * turn - 1);
  CHECK(late.rings == 0);
  wheel.advance(kNow + 50 + 3 * turn + TimerWheel::kTickMs);
  CHECK(late.rings == 1);
}

TEST_CASE("timer_wheel: a moved timer fires at its new deadline only") {
  TimerWheel wheel(kNow);
  Alarm later;
  Alarm sooner;
  wheel.arm(later.timer, kNow + 100);
  wheel.arm(later.timer, kNow + 1000);
  wheel.arm(sooner.timer, kNow + 1000);
  wheel.arm(sooner.timer, kNow + 100);
  wheel.advance(kNow + 110);
  CHECK(sooner.rings == 1);
  CHECK(later.rings == 0);
  wheel.advance(kNow + 1010);
  CHECK(sooner.rings == 1);
  CHECK(later.rings == 1);
}

TEST_CASE("timer_wheel: a disarmed timer stays silent until it is armed again") {
  TimerWheel wheel(kNow);
  Alarm alarm;
  wheel.arm(alarm.timer, kNow + 100);
  alarm.timer.disarm();
  wheel.advance(kNow + 200);
  CHECK(alarm.rings == 0);
  wheel.arm(alarm.timer, kNow + 300);
  alarm.timer.disarm();
  wheel.arm(alarm.timer, kNow + 400);
  wheel.advance(kNow + 399);
  CHECK(alarm.rings == 0);
  wheel.advance(kNow + 408);
  CHECK(alarm.rings == 1);
}

TEST_CASE("timer_wheel: a deadline in the past fires at the next tick") {
  TimerWheel wheel(kNow);
  Alarm alarm;
  wheel.arm(alarm.timer, 5);
  wheel.advance(kNow + TimerWheel::kTickMs);
  CHECK(alarm.rings == 1);
}

TEST_CASE("timer_wheel: a long stop fires all that became due, and nothing else") {
  TimerWheel wheel(kNow);
  std::vector<std::unique_ptr<Alarm>> alarms;
  for (uint64_t i = 0; i < 2000; ++i) {
    alarms.push_back(std::make_unique<Alarm>());
    wheel.arm(alarms.back()->timer, kNow + i * 100);
  }
  wheel.advance(kNow + 100'000);
  for (uint64_t i = 0; i < alarms.size(); ++i) {
    CAPTURE(i);
    const uint64_t deadline = kNow + i * 100;
    if (deadline + TimerWheel::kTickMs <= kNow + 100'000) CHECK(alarms[i]->rings == 1);
    if (deadline > kNow + 100'000) CHECK(alarms[i]->rings == 0);
  }
}

TEST_CASE("timer_wheel: a callback may arm itself and others again") {
  TimerWheel wheel(kNow);
  uint64_t now = kNow;
  Alarm repeating;
  Alarm other;
  repeating.then = [&] {
    wheel.arm(repeating.timer, now + 80);
    wheel.arm(other.timer, now + 1);
  };
  wheel.arm(repeating.timer, now + 80);
  for (; now < kNow + 880; now += 8) wheel.advance(now);
  CHECK(repeating.rings >= 9);
  CHECK(repeating.rings <= 10);
  CHECK(other.rings >= repeating.rings - 1);
}

TEST_CASE("timer_wheel: a callback may destroy and disarm any timer, its own too") {
  TimerWheel wheel(kNow);
  std::vector<std::unique_ptr<Alarm>> alarms(5);
  int rings = 0;
  for (auto& alarm : alarms) {
    alarm = std::make_unique<Alarm>();
    wheel.arm(alarm->timer, kNow + 50);
  }
  alarms[1]->timer.disarm();
  for (auto& alarm : alarms) {
    alarm->then = [&] {
      ++rings;
      // Whichever comes first takes all away, itself too.
      std::vector<std::unique_ptr<Alarm>> doomed;
      doomed.swap(alarms);
    };
  }
  wheel.advance(kNow + 100);
  CHECK(rings == 1);
  CHECK(alarms.empty());
  wheel.advance(kNow + 10'000);
  CHECK(rings == 1);
}

TEST_CASE("timer_wheel: a timer that is destroyed while armed leaves its neighbours") {
  TimerWheel wheel(kNow);
  Alarm first;
  auto middle = std::make_unique<Alarm>();
  Alarm last;
  for (Alarm* alarm : {&first, middle.get(), &last}) wheel.arm(alarm->timer, kNow + 20);
  middle.reset();
  wheel.advance(kNow + 30);
  CHECK(first.rings == 1);
  CHECK(last.rings == 1);
}

TEST_CASE("timer_wheel: the next tick is that of the first slot in use, and none when all are empty") {
  constexpr uint64_t kTick = TimerWheel::kTickMs;
  constexpr uint64_t kTurn = kTick * TimerWheel::kSlots;
  TimerWheel wheel(kNow);
  CHECK(wheel.next_tick() == TimerWheel::kNoTick);
  const uint64_t first = kNow / kTick;
  for (uint64_t slots = 1; slots <= TimerWheel::kSlots; ++slots) {
    CAPTURE(slots);
    Alarm alarm;
    const uint64_t now = (first + slots * 1000) * kTick;  // every place in the wheel to start from
    wheel.advance(now);
    wheel.arm(alarm.timer, now + slots * kTick);
    CHECK(wheel.next_tick() == now / kTick + slots);
    wheel.advance(now);
    CHECK(wheel.next_tick() == now / kTick + slots);
    wheel.advance(now + slots * kTick);
    CHECK(alarm.rings == 1);
    CHECK(wheel.next_tick() == TimerWheel::kNoTick);
  }
  // One that is due in a later turn has its slot looked at in this one.
  Alarm late;
  const uint64_t now = (first + 600'000) * kTick;
  wheel.advance(now);
  wheel.arm(late.timer, now + 5 * kTick + 2 * kTurn);
  CHECK(wheel.next_tick() == now / kTick + 5);
}

TEST_CASE("timer_wheel: random histories agree with a sorted list") {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    balancer::Random random(seed);
    uint64_t now = kNow;
    TimerWheel wheel(now);
    std::vector<std::unique_ptr<Alarm>> alarms;
    std::map<Alarm*, uint64_t> due;  // by the model
    for (int i = 0; i < 40; ++i) {
      alarms.push_back(std::make_unique<Alarm>());
      Alarm* const alarm = alarms.back().get();
      alarm->then = [&, alarm] {
        REQUIRE(due.contains(alarm));
        REQUIRE(due[alarm] <= now);
        due.erase(alarm);
      };
    }
    for (int step = 0; step < 2000; ++step) {
      Alarm& alarm = *alarms[random.below(alarms.size())];
      switch (random.below(6)) {
        case 0:
          alarm.timer.disarm();
          due.erase(&alarm);
          break;
        case 1:
        case 2: {
          const uint64_t range = random.below(4) == 0 ? 20'000 : 200;
          const uint64_t deadline = now + random.below(range);
          wheel.arm(alarm.timer, deadline);
          due[&alarm] = deadline;
          break;
        }
        default: {
          now += random.below(random.below(50) == 0 ? 10'000 : 30);
          // Who sleeps until the next tick misses nothing.
          const bool asleep = seed % 2 == 0 && now / TimerWheel::kTickMs < wheel.next_tick();
          if (!asleep) wheel.advance(now);
          for (const auto& [late, deadline] : due) REQUIRE(deadline + TimerWheel::kTickMs > now);
        }
      }
      REQUIRE(alarm.timer.armed() == due.contains(&alarm));
    }
  }
}
