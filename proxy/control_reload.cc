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

  conf::Result<TlsStore::Set> secured = tls_.load(next);
  if (!secured.ok()) {
    done(secured.error());
    return;
  }
  TlsStore::Set secured_before = tls_.adopt(std::move(*secured));
  const size_t before = listeners_.size();
  conf::Result<ListenerFates> fates = open_missing_listeners(next);
  conf::Status opened = fates.ok() ? access_log_.configure(next.log) : conf::Status(fates.error());
  if (!opened.ok()) {
    while (listeners_.size() > before) close_listener(listeners_.back().id);
    tls_.adopt(std::move(secured_before));
    done(opened.error());
    return;
  }
  report.run_time_values = run_time_splits(next);
  daemon_log_.set_level(parse_log_level(next.log.level).value_or(LogLevel::info));
  for (OpenListener& one : listeners_) {
    if (const auto found = fates->kept.find(one.id); found != fates->kept.end()) one.conf = found->second;
  }
  refresh_listeners();
  apply_file_splits(next);
  config_ = std::move(next);
  resolver_.watch(dns_names());
  publish_plan([this, actor, to_close = std::move(fates->to_close), report = std::move(report),
                done = std::move(done)]() mutable {
    for (const uint64_t id : to_close) close_listener(id);
    add_event("reloaded", "",
              "the configuration was read again: " + std::to_string(report.applied.size()) +
                  " changes in force, " + std::to_string(report.needs_restart.size()) + " need a restart",
              {{"source", actor.source}, {"who", actor.who}});
    changed();
    done(std::move(report));
  });
}

// A socket that stays open loses none of the connections that wait in it, so
// only a new address, or another way to begin a connection, opens one. What was
// opened when an error came is the caller's to close.
conf::Result<Control::ListenerFates> Control::open_missing_listeners(const conf::Config& next) {
  ListenerFates fates;
  const size_t before = listeners_.size();
  for (const conf::Listener& listener : next.listeners) {
    const auto end = listeners_.begin() + static_cast<std::ptrdiff_t>(before);
    const auto open = std::find_if(listeners_.begin(), end, [&](const OpenListener& one) {
      return one.conf.bind == listener.bind && one.conf.proxy_protocol == listener.proxy_protocol &&
             !fates.kept.contains(one.id);
    });
    if (open != end) {
      fates.kept.emplace(open->id, listener);
    } else if (const conf::Status opened = open_listener(listener); !opened.ok()) {
      return opened.error();
    }
  }
  for (size_t i = 0; i < before; ++i) {
    if (!fates.kept.contains(listeners_[i].id)) fates.to_close.push_back(listeners_[i].id);
  }
  return fates;
}

std::vector<std::string> Control::run_time_splits(const conf::Config& next) const {
  std::vector<std::string> result;
  for (const auto& [name, service] : next.services) {
    const auto found = registry_.services().find(name);
    if (found == registry_.services().end()) continue;
    const ServiceEntry& entry = found->second;
    const Split::Value split = entry.state->split().get();
    if (split.green != service.split && entry.split_source != "config") {
      result.push_back("service." + name + ".split is " + percent(split.green) + " (set by " +
                       entry.split_source + "), the file says " + percent(service.split));
    } else if (freeze_.on && split.green < service.split) {
      result.push_back("service." + name + ".split is " + percent(split.green) + ", the file says " +
                       percent(service.split) + ", but a freeze is on: set it when that has ended");
    }
  }
  return result;
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
