// How many connections there may be, and who is told when they run out.
#include <algorithm>
#include <map>
#include <utility>

#include "proxy/control.h"
#include "proxy/descriptors.h"

namespace sluice::proxy {

conf::Status Control::divide_connections() {
  const conf::Result<DescriptorBudget> budget = budget_descriptors(config_, registry_.workers());
  if (!budget.ok()) return budget.error();
  descriptors_ = *budget;
  registry_.limit_upstream_connections(descriptors_.upstream);
  client_caps_->front()->set_max(descriptors_.clients);
  return conf::Done{};
}

// When what upstreams need has changed, and at times: connections whose caps have gone
// need less as they end.
void Control::share_connections() {
  balancer::Cap& upstream = registry_.all_connections();
  const DescriptorParts parts =
      parts_of(descriptors_, registry_.allowed_connections(config_), upstream.used());
  if (loop_.now_us() >= grow_connections_us_) grow_to(parts, *client_caps_->front(), upstream);
  shrink_to(parts, *client_caps_->front(), upstream);
  grow_connections_us_ = loop_.now_us() + kGrowAfterUs;
}

void Control::go_on_sharing() {
  if (loop_.now_us() >= grow_connections_us_) share_connections();
}

uint32_t Control::max_client_connections() const {
  const uint32_t places = client_caps_->front()->max();
  const uint32_t most = config_.overload.max_connections;
  return most == 0 ? places : std::min(most, places);
}

// An event when clients begin to wait for a place, and when there are places
// again.
void Control::watch_clients() {
  constexpr double kCalmBelow = 0.9;
  const balancer::Cap& places = *client_caps_->front();
  if (!clients_wait_ && places.has_waiters()) {
    clients_wait_ = true;
    add_event("clients_wait", "",
              std::to_string(places.used()) +
                  " clients are connected, and the limit of open files leaves places for " +
                  std::to_string(places.max()) + "; others wait until one is free");
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

// An event when [overload] begins to refuse, and while that goes on every
// kOverloadEventUs with how many more there were.
void Control::watch_overload() {
  constexpr uint64_t kOverloadEventUs = 10'000'000;
  const Shed now = shed();
  if (now == told_shed_ || loop_.now_us() < next_overload_event_us_) return;
  next_overload_event_us_ = loop_.now_us() + kOverloadEventUs;
  const Shed before = std::exchange(told_shed_, now);
  const std::string connections = std::to_string(now.connections - before.connections);
  const std::string requests = std::to_string(now.requests - before.requests);
  add_event("overload", "",
            "[overload] has refused " + connections + " connections over max_connections and " + requests +
                " requests over max_queued",
            {{"connections", connections}, {"requests", requests}});
}

// An event when the use of a cap, or of an upstream's own max_connections,
// reaches its warning line, and when it has been well below it for a while. A
// burst between two looks counts.
void Control::watch_caps() {
  const std::map<std::string, uint64_t> warned = std::exchange(warned_caps_, {});
  for (const auto& [name, cap] : config_.caps) {
    const auto found = registry_.caps().find(name);
    if (found == registry_.caps().end()) continue;
    watch_cap(*found->second, cap.warn_at, "cap " + name, warned, {"", {{"cap", name}}});
  }
  for (const auto& [name, service] : registry_.services()) {
    for (const auto& upstream : service.upstreams) {
      watch_cap(*upstream->connections(), conf::Cap{}.warn_at, "upstream " + upstream->name(), warned,
                {name, {{"upstream", to_string(upstream->colour())}}});
    }
  }
}

void Control::watch_cap(balancer::Cap& cap, double warn_at, const std::string& what,
                        const std::map<std::string, uint64_t>& warned, CapEvent event) {
  constexpr double kCalmBelow = 0.9;  // of the line
  constexpr uint64_t kCalmAfterUs = 5'000'000;
  const uint32_t peak = cap.take_recent_peak();
  const uint32_t max = cap.max();
  const auto before = warned.find(what);
  const bool was_warned = before != warned.end();
  const double line = max * warn_at * (was_warned ? kCalmBelow : 1);
  if (max != 0 && peak >= line) {
    warned_caps_[what] = loop_.now_us();
    if (was_warned) return;
    event.fields.emplace_back("used", std::to_string(peak));
    event.fields.emplace_back("max", std::to_string(max));
    add_event("cap_warning", event.service,
              what + " is at " + std::to_string(peak) + " of " + std::to_string(max) + " connections",
              event.fields);
  } else if (was_warned && loop_.now_us() < before->second + kCalmAfterUs) {
    warned_caps_.insert(*before);
  } else if (was_warned) {
    add_event("cap_calm", event.service, what + " is below its warning line again", event.fields);
  }
}

}  // namespace sluice::proxy
