#include "proxy/event_log.h"

namespace sluice::proxy {

const Event& EventLog::add(Event event) {
  event.id = next_id_++;
  if (events_.size() == kKept) events_.pop_front();
  events_.push_back(std::move(event));
  for (const auto& [token, watcher] : watchers_) watcher(events_.back());
  return events_.back();
}

uint64_t EventLog::watch(Watcher watcher) {
  watchers_.emplace_back(next_token_, std::move(watcher));
  return next_token_++;
}

void EventLog::unwatch(uint64_t token) {
  std::erase_if(watchers_, [token](const auto& one) { return one.first == token; });
}

}  // namespace sluice::proxy
