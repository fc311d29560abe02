// EventLog: what happened and why, in order: the last kKept events, and whoever
// watches.
//
// Thread: the control thread's only.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace sluice::proxy {

struct Event {
  uint64_t id = 0;      // counts from 1 since the start
  uint64_t at_us = 0;   // wall clock, since the epoch
  std::string type;     // a word or two joined by "_": split_changed, reloaded
  std::string service;  // empty: the whole process
  std::string message;  // a sentence for people
  std::vector<std::pair<std::string, std::string>> fields;  // for machines; names in snake_case
};

class EventLog {
 public:
  static constexpr size_t kKept = 10'000;
  using Watcher = std::function<void(const Event&)>;

  // Numbers the event, keeps it and tells the watchers.
  const Event& add(Event event);

  const std::deque<Event>& events() const { return events_; }
  // The watcher must not add or remove watchers while it is told.
  uint64_t watch(Watcher watcher);
  void unwatch(uint64_t token);

 private:
  std::deque<Event> events_;
  std::vector<std::pair<uint64_t, Watcher>> watchers_;
  uint64_t next_id_ = 1;
  uint64_t next_token_ = 1;
};

}  // namespace sluice::proxy
