#include "balancer/cap.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

using namespace sluice::balancer;

namespace {

constexpr uint64_t kLast = Cap::kNobody - 1;  // stands behind all waiters

struct Woken {
  std::vector<uint32_t> workers;
  Cap::Wake wake() {
    return [this](uint32_t worker) { workers.push_back(worker); };
  }
};

}  // namespace

TEST_CASE("cap: places are taken up to max, and given back") {
  Cap cap("c", 2, [](uint32_t) {});
  CHECK(cap.try_acquire(kLast));
  CHECK(cap.try_acquire(kLast));
  CHECK_FALSE(cap.try_acquire(kLast));
  cap.note_peak();
  CHECK(cap.used() == 2);
  cap.release();
  CHECK(cap.try_acquire(kLast));
  cap.release();
  cap.release();
  CHECK(cap.used() == 0);
  CHECK(cap.peak() == 2);
  CHECK(cap.take_recent_peak() == 2);
  CHECK(cap.take_recent_peak() == 0);
}

TEST_CASE("cap: a max of 0 lets nobody in, kUnlimited everybody") {
  Cap closed("c", 0, [](uint32_t) {});
  CHECK_FALSE(closed.try_acquire(0));
  Cap open("c", Cap::kUnlimited, [](uint32_t) {});
  for (int i = 0; i < 1000; ++i) CHECK(open.try_acquire(kLast));
  for (int i = 0; i < 1000; ++i) open.release();
}

TEST_CASE("cap: places elsewhere count like its own, and wake when they become fewer") {
  Woken woken;
  Cap cap("c", 4, woken.wake());
  cap.set_elsewhere(Cap::kUnlimited);
  CHECK_FALSE(cap.try_acquire(kLast));
  cap.set_elsewhere(3);
  CHECK(cap.try_acquire(kLast));
  CHECK_FALSE(cap.try_acquire(kLast));
  CHECK_FALSE(cap.over());
  cap.set_elsewhere(4);
  CHECK(cap.over());
  cap.set_oldest_waiter(5, 10);
  cap.set_elsewhere(3);
  CHECK(woken.workers.empty());
  cap.set_elsewhere(2);
  CHECK(woken.workers == std::vector<uint32_t>{5});
  cap.set_oldest_waiter(5, Cap::kNobody);
  cap.set_elsewhere(0);
  for (int i = 0; i < 3; ++i) CHECK(cap.try_acquire(kLast));
  CHECK_FALSE(cap.try_acquire(kLast));
  cap.add_idle(1, 1);
  cap.set_elsewhere(1);  // as when a limit is lowered
  CHECK(cap.take_reclaims(1) == 1);
  for (int i = 0; i < 4; ++i) cap.release();
}

TEST_CASE("cap: lowered it drains by attrition, raised it wakes") {
  Woken woken;
  Cap cap("c", 3, woken.wake());
  for (int i = 0; i < 3; ++i) CHECK(cap.try_acquire(kLast));
  cap.set_max(1);
  CHECK(cap.used() == 3);
  cap.release();
  cap.release();
  CHECK_FALSE(cap.try_acquire(kLast));
  cap.set_oldest_waiter(5, 10);
  CHECK(woken.workers.empty());
  cap.set_max(2);
  CHECK(woken.workers == std::vector<uint32_t>{5});
  cap.set_oldest_waiter(5, Cap::kNobody);
  cap.release();
  CHECK(cap.used() == 0);
}

TEST_CASE("cap: a place that becomes free wakes the worker that has waited longest") {
  Woken woken;
  Cap cap("c", 1, woken.wake());
  CHECK(cap.try_acquire(kLast));
  cap.set_oldest_waiter(1, 300);
  cap.set_oldest_waiter(2, 200);
  cap.set_oldest_waiter(3, 400);
  CHECK(cap.oldest_waiter() == 200);
  cap.release();
  CHECK(woken.workers == std::vector<uint32_t>{2});
  cap.set_oldest_waiter(2, Cap::kNobody);
  cap.wake_if_free();
  CHECK(woken.workers == std::vector<uint32_t>{2, 1});
  cap.set_oldest_waiter(1, Cap::kNobody);
  cap.set_oldest_waiter(3, Cap::kNobody);
  CHECK_FALSE(cap.has_waiters());
  cap.wake_if_free();
  CHECK(woken.workers.size() == 2);
}

TEST_CASE("cap: nobody passes who has waited longer") {
  Cap cap("c", 2, [](uint32_t) {});
  cap.set_oldest_waiter(0, 100);
  CHECK_FALSE(cap.try_acquire(kLast));
  CHECK_FALSE(cap.try_acquire(101));
  CHECK(cap.try_acquire(100));
  CHECK(cap.try_acquire(99));
  cap.set_oldest_waiter(0, Cap::kNobody);
  cap.release();
  cap.release();
}

TEST_CASE("cap: a wish to reclaim goes to a worker that has an idle connection, once for each") {
  Woken woken;
  Cap cap("c", 2, woken.wake());
  CHECK_FALSE(cap.ask_reclaim(0));
  cap.add_idle(0, 1);
  CHECK_FALSE(cap.ask_reclaim(0));  // its own
  cap.add_idle(3, 1);
  CHECK(cap.ask_reclaim(0));
  CHECK(woken.workers == std::vector<uint32_t>{3});
  CHECK_FALSE(cap.ask_reclaim(0));  // asked for already
  CHECK(cap.take_reclaims(3) == 1);
  CHECK(cap.take_reclaims(3) == 0);
  cap.add_idle(3, -1);
  CHECK_FALSE(cap.ask_reclaim(0));
  CHECK(cap.ask_reclaim(1));
}

namespace {

// A worker's side of the protocol that cap.h draws: it waits asleep and is
// woken by the cap alone, so that a lost wake-up is a test that hangs; to tell
// it from a slow machine, it is awaited for a very long time.
struct Sleeper {
  std::mutex mutex;
  std::condition_variable woken;
  bool wake = false;
};

}  // namespace

TEST_CASE("cap: under threads it is never exceeded, no wake-up is lost, and it ends at 0") {
  constexpr uint32_t kThreads = 4;
  constexpr uint32_t kMax = 2;
  constexpr int kRounds = 4000;
  std::vector<Sleeper> sleepers(kThreads);
  const auto own = std::make_shared<Cap>("own", kMax + 1, [&](uint32_t worker) {
    const std::lock_guard lock(sleepers[worker].mutex);
    sleepers[worker].wake = true;
    sleepers[worker].woken.notify_one();
  });
  std::atomic<uint32_t> inside{0};
  std::atomic<uint32_t> most{0};
  std::atomic<uint32_t> lost{0};
  std::atomic<uint64_t> clock{1};

  own->set_max(kMax);
  const auto work = [&](uint32_t worker) {
    Sleeper& me = sleepers[worker];
    for (int round = 0; round < kRounds && lost == 0; ++round) {
      if (!own->try_acquire(kLast)) {
        const uint64_t since = clock.fetch_add(1);
        own->set_oldest_waiter(worker, since);
        while (!own->try_acquire(since)) {
          std::unique_lock lock(me.mutex);
          if (!me.woken.wait_for(lock, std::chrono::seconds(60), [&] { return me.wake; })) {
            ++lost;
            break;
          }
          me.wake = false;
        }
        own->set_oldest_waiter(worker, Cap::kNobody);
        // Another may be free, and the wake-up for it was ours.
        own->wake_if_free();
        if (lost > 0) return;
      }
      own->note_peak();
      const uint32_t now = inside.fetch_add(1) + 1;
      uint32_t before = most;
      while (now > before && !most.compare_exchange_weak(before, now)) {
      }
      std::this_thread::yield();
      inside.fetch_sub(1);
      own->release();
    }
  };
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kThreads; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
  CHECK(lost == 0);
  CHECK(most <= kMax);
  CHECK(own->peak() <= kMax);
  CHECK(own->used() == 0);
  CHECK_FALSE(own->has_waiters());
}
