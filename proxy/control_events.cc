// Who waits for a change, and what is told of it.
#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "proxy/control.h"

namespace sluice::proxy {

uint64_t Control::on_change(std::function<void()> watcher) {
  watchers_.push_back({next_watcher_, std::move(watcher)});
  return next_watcher_++;
}

void Control::forget_change(uint64_t token) {
  std::erase_if(watchers_, [token](const Watcher& one) { return one.token == token; });
}

void Control::changed() {
  for (const Watcher& watcher : watchers_) watcher.call();
}

namespace {

// What somebody should look at is a warning.
LogLevel level_of(std::string_view type) {
  constexpr std::string_view kWarnings[] = {
      "tripped",
      "judge_holds",
      "green_missing",
      "endpoint_down",
      "endpoint_ejected",
      "cap_warning",
      "panic",
      "reload_failed",
      "dns_failed",
      "log_not_reopened",
      "state_not_saved",
      "state_damaged",
      "state_found",
      "state_not_taken_over",
      "endpoint_mode_lost",
      "rollout_hold",
      "rollout_trip",
      "rollout_abort",
      "rollout_veto",
      "webhook_failed",
      "report_not_written",
      "rollout_not_restored",
      "clients_wait",
      "overload",
      "upgrade_failed",
      "admin_failed",
      "traces_lost",
      "access_log_lost",
      "drain_timeout",
      "certificates_not_loaded",
      "certificate_expiring",
      "certificate_expired",
  };
  return std::find(std::begin(kWarnings), std::end(kWarnings), type) == std::end(kWarnings)
             ? LogLevel::info
             : LogLevel::warning;
}

}  // namespace

void Control::add_event(std::string type, std::string service, std::string message,
                        std::vector<std::pair<std::string, std::string>> fields) {
  Event event;
  event.at_us = Loop::wall_clock_us();
  event.type = std::move(type);
  event.service = std::move(service);
  event.message = std::move(message);
  event.fields = std::move(fields);
  std::vector<LogField> logged;
  if (!event.service.empty()) logged.emplace_back("service", event.service);
  for (const auto& [name, value] : event.fields) logged.emplace_back(name, value);
  daemon_log_.write(level_of(event.type), event.type, event.message, logged);
  events_.add(std::move(event));
}

}  // namespace sluice::proxy
