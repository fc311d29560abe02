#include "proxy/event_log.h"

#include <catch2/catch.hpp>
#include <string>
#include <utility>
#include <vector>

namespace sluice::proxy {
namespace {

const Event& add(EventLog& log, uint64_t number) {
  Event event;
  event.type = "tested";
  event.message = std::to_string(number);
  return log.add(std::move(event));
}

// The events from `first` to `last`, in order, and nothing else.
void check_kept(const EventLog& log, uint64_t first, uint64_t last) {
  REQUIRE(log.events().size() == last - first + 1);
  uint64_t number = first;
  for (const Event& event : log.events()) {
    REQUIRE(event.id == number);
    REQUIRE(event.message == std::to_string(number));
    ++number;
  }
}

TEST_CASE("event_log: the last 10,000 events are kept in order, the oldest go first") {
  constexpr uint64_t kKept = 10'000;
  EventLog log;
  CHECK(log.events().empty());
  uint64_t number = 0;
  while (number < kKept) add(log, ++number);
  check_kept(log, 1, kKept);
  add(log, ++number);
  check_kept(log, 2, kKept + 1);
  while (number < 3 * kKept + 7) add(log, ++number);
  check_kept(log, 2 * kKept + 8, 3 * kKept + 7);
}

TEST_CASE("event_log: each event is numbered and told to who watches, also when the log is full") {
  EventLog log;
  uint64_t number = 0;
  while (number < EventLog::kKept) add(log, ++number);
  std::vector<uint64_t> told;
  std::vector<uint64_t> told_too;
  const uint64_t token = log.watch([&told](const Event& event) { told.push_back(event.id); });
  log.watch([&told_too](const Event& event) { told_too.push_back(event.id); });
  const uint64_t first = ++number;
  CHECK(add(log, first).id == first);
  log.unwatch(token);
  const uint64_t second = ++number;
  CHECK(add(log, second).id == second);
  CHECK(told == std::vector<uint64_t>{first});
  CHECK(told_too == std::vector<uint64_t>{first, second});
}

}  // namespace
}  // namespace sluice::proxy
