// TimerWheel: the deadlines of one worker (Varghese and Lauck, "Hashed and
// hierarchical timing wheels", 1987, scheme 6).
//
// A connection moves its deadline at every read and write, and almost none of
// them ever passes. So a deadline that moves later costs one store: the timer
// stays in the slot of its old deadline and is put where it belongs only when
// that slot comes round. Arming, moving and disarming are O(1).
//
//   slot      0      1      2   ...  511        a slot is kTickMs wide
//           [a,b]   [ ]    [c]      [ ]         c may be due in 512 slots' time
//
// A timer fires at its deadline or up to kTickMs + one loop turn later, never
// before it. Firing disarms it; the callback may arm it again, arm others and
// destroy any timer, its own too.
//
// Thread: the worker's. Timers are owned by whoever declares them and must not
// move while armed; the destructor disarms.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace sluice::proxy {

class TimerWheel;

class Timer {
 public:
  using Callback = void (*)(void* owner);

  Timer(Callback callback, void* owner) : callback_(callback), owner_(owner) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { unlink(); }

  bool armed() const { return deadline_ms_ != kNever; }
  uint64_t deadline_ms() const { return deadline_ms_; }
  // The timer stays in its slot until that comes round: disarming is one store.
  void disarm() { deadline_ms_ = kNever; }

 private:
  friend class TimerWheel;
  static constexpr uint64_t kNever = ~uint64_t{0};

  void unlink();

  Timer* next_ = nullptr;
  Timer** previous_next_ = nullptr;  // null: in no slot
  uint64_t slot_tick_ = 0;           // the tick at which its slot is looked at
  uint64_t deadline_ms_ = kNever;
  const Callback callback_;
  void* const owner_;
};

class TimerWheel {
 public:
  static constexpr uint64_t kTickMs = 8;
  static constexpr size_t kSlots = 512;
  static constexpr uint64_t kNoTick = ~uint64_t{0};

  explicit TimerWheel(uint64_t now_ms) : tick_(now_ms / kTickMs) {}

  // Sets the deadline; an armed timer is moved.
  void arm(Timer& timer, uint64_t deadline_ms);

  // Fires all timers whose deadline is at or before now_ms.
  void advance(uint64_t now_ms);

  // The first tick at which advance() may have something to do, kNoTick when no
  // slot has a timer: until it begins, nobody need wake. A tick begins at its
  // number times kTickMs.
  uint64_t next_tick() const { return next_tick_; }

 private:
  void link(Timer& timer, uint64_t tick);
  uint64_t first_used_tick() const;

  uint64_t tick_;  // all slots up to and with this one have been looked at
  uint64_t next_tick_ = kNoTick;
  std::array<Timer*, kSlots> slots_{};
  std::array<uint64_t, kSlots / 64>
      used_{};  // a bit for each slot; may stay set when its last timer is destroyed
};

}  // namespace sluice::proxy
