// Countdown: the end of what was asked of several.
//
// Thread: that which made it; owner: shared_ptr, from each of those asked.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

namespace sluice::proxy {

// Calls `done`, if there is one, when `count` have answered by one().
struct Countdown {
  Countdown(uint32_t count, std::function<void()> when_done) : left(count), done(std::move(when_done)) {}
  uint32_t left;
  std::function<void()> done;
  void one() {
    if (--left == 0 && done) done();
  }
};

}  // namespace sluice::proxy
