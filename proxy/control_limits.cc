// How many connections there may be, and who is told when they run out.
#include <algorithm>

#include "proxy/control.h"
#include "proxy/descriptors.h"

namespace sluice::proxy {

conf::Status Control::divide_connections() {
  const conf::Result<DescriptorBudget> budget = budget_descriptors(config_, registry_.workers());
  if (!budget.ok()) return budget.error();
  registry_.limit_upstream_connections(budget->upstream);
  client_caps_->front()->set_max(budget->clients);
  return conf::Done{};
}

// An event when clients begin to wait for a place, and when there are places
// again.
void Control::watch_clients() {
  constexpr double kCalmBelow = 0.9;
  const balancer::Cap& places = *client_caps_->front();
  if (!clients_wait_ && places.has_waiters()) {
    clients_wait_ = true;
    add_event(
        "clients_wait", "",
        "all " + std::to_string(places.max()) +
            " places for clients that the limit of open files leaves are taken; others wait until one leaves");
  } else if (clients_wait_ && !places.has_waiters() && places.used() < kCalmBelow * places.max()) {
    clients_wait_ = false;
    add_event("clients_admitted", "", "there are places for clients again");
  }
}

// An event when lines of the access log were lost.
void Control::watch_access_log() {
  const std::optional<AccessLog::Loss> loss = access_log_.take_loss(loop_.now_us());
  if (!loss.has_value()) return;
  add_event("access_log_lost", "",
            "the access log loses lines: its disk or reader " +
                (loss->last_error.empty() ? std::string("is slow") : "fails: " + loss->last_error),
            {{"dropped", std::to_string(loss->dropped)},
             {"lost", std::to_string(loss->lost)},
             {"write_errors", std::to_string(loss->write_errors)},
             {"last_error", loss->last_error}});
}

// An event when a cap's use reaches its warning line, and when it has fallen
// well below it again.
void Control::watch_caps() {
  constexpr double kCalmBelow = 0.9;  // of the line
  for (const auto& [name, cap] : config_.caps) {
    const auto found = registry_.caps().find(name);
    if (found == registry_.caps().end() || found->second->max() == 0) continue;
    const double used = static_cast<double>(found->second->used()) / found->second->max();
    if (used >= cap.warn_at && warned_caps_.insert(name).second) {
      add_event("cap_warning", "",
                "cap " + name + " is at " + std::to_string(found->second->used()) + " of " +
                    std::to_string(found->second->max()) + " connections",
                {{"cap", name}, {"used", std::to_string(found->second->used())}});
    } else if (used < cap.warn_at * kCalmBelow && warned_caps_.erase(name) > 0) {
      add_event("cap_calm", "", "cap " + name + " is below its warning line again", {{"cap", name}});
    }
  }
}

}  // namespace sluice::proxy
