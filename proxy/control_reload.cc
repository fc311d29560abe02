// Reading the configuration again, whole or not at all.
#include <algorithm>
#include <utility>

#include "conf/parse.h"
#include "proxy/control.h"
#include "proxy/control_text.h"

namespace sluice::proxy {

using balancer::Split;
using conf::Error;

void Control::reload(const Actor& actor, std::function<void(conf::Result<ReloadReport>)> done) {
  if (state_ != RunState::running) {
    done(refusal(Error::Kind::refused,
                 std::string("the process is ") + to_string(state_) + " and reloads no more"));
    return;
  }
  conf::ParseOutcome outcome = conf::parse_file(config_.file);
  if (!outcome.ok()) {
    done(refusal(Error::Kind::invalid, outcome.to_string()));
    return;
  }
  conf::Config next = std::move(*outcome.config);
  ReloadReport report;
  for (conf::Change& change : conf::diff(config_, next)) {
    (change.needs_restart() ? report.needs_restart : report.applied).push_back(std::move(change));
  }
  // What can only change with a restart stays as it is.
  next.workers = config_.workers;
  next.state_dir = config_.state_dir;
  next.admin = config_.admin;

  std::vector<uint64_t> to_close;
  for (const OpenListener& one : listeners_) {
    const bool kept =
        std::any_of(next.listeners.begin(), next.listeners.end(), [&](const conf::Listener& listener) {
          return listener.bind == one.conf.bind && listener.trusted == one.conf.trusted &&
                 listener.proxy_protocol == one.conf.proxy_protocol && listener.tls == one.conf.tls;
        });
    if (!kept) to_close.push_back(one.id);
  }
  const size_t before = listeners_.size();
  for (const conf::Listener& listener : next.listeners) {
    const bool open = std::any_of(listeners_.begin(), listeners_.end(), [&](const OpenListener& one) {
      return one.conf.bind == listener.bind &&
             std::find(to_close.begin(), to_close.end(), one.id) == to_close.end();
    });
    if (open) continue;
    if (const conf::Status opened = open_listener(listener); !opened.ok()) {
      while (listeners_.size() > before) close_listener(listeners_.back().id);
      done(opened.error());
      return;
    }
  }
  for (const auto& [name, service] : next.services) {
    const ServiceEntry* const entry = registry_.find(name);
    if (entry == nullptr) continue;
    const Split::Value split = entry->state->split().get();
    if (split.green != service.split && entry->split_source != "config") {
      report.run_time_values.push_back("service." + name + ".split is " + percent(split.green) + " (set by " +
                                       entry->split_source + "), the file says " + percent(service.split));
    } else if (freeze_.on && split.green < service.split) {
      report.run_time_values.push_back("service." + name + ".split is " + percent(split.green) +
                                       ", the file says " + percent(service.split) +
                                       ", but a freeze is on: set it when that has ended");
    }
  }
  if (const conf::Status opened = access_log_.configure(next.log); !opened.ok()) {
    while (listeners_.size() > before) close_listener(listeners_.back().id);
    done(opened.error());
    return;
  }
  daemon_log_.set_level(parse_log_level(next.log.level).value_or(LogLevel::info));
  apply_file_splits(next);
  config_ = std::move(next);
  traces_.configure(config_.trace);
  resolver_.watch(dns_names());
  publish_plan([this, actor, to_close, report = std::move(report), done = std::move(done)]() mutable {
    for (const uint64_t id : to_close) close_listener(id);
    add_event("reloaded", "",
              "the configuration was read again: " + std::to_string(report.applied.size()) +
                  " changes in force, " + std::to_string(report.needs_restart.size()) + " need a restart",
              {{"source", actor.source}, {"who", actor.who}});
    changed();
    done(std::move(report));
  });
}

// A split that nobody has touched since the start follows the file.
void Control::apply_file_splits(const conf::Config& next) {
  for (const auto& [name, service] : next.services) {
    ServiceEntry* const entry = registry_.find(name);
    if (entry == nullptr || entry->split_source != "config") continue;
    const conf::BasisPoints green = entry->state->split().get().green;
    if (green == service.split || config_.services.at(name).split == service.split) continue;
    if (freeze_.on && service.split > green) continue;
    put_split(name, service.split, "config");
    rollouts_.split_changed(name, service.split);
    save_service(name);
  }
}

}  // namespace sluice::proxy
