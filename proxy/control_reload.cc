// Reading the configuration again, whole or not at all.
#include <algorithm>
#include <utility>

#include "conf/parse.h"
#include "conf/units.h"
#include "proxy/control.h"
#include "proxy/control_text.h"

namespace sluice::proxy {

using balancer::Split;
using conf::Error;

namespace {

// For a line of the log, which is bounded.
std::string joined(const std::vector<std::string>& texts) {
  constexpr size_t kMostBytes = 4096;
  std::string all;
  for (const std::string& text : texts) {
    if (all.size() + text.size() > kMostBytes) return all + "; ...";
    all += (all.empty() ? "" : "; ") + text;
  }
  return all;
}

std::string texts_of(const std::vector<conf::Change>& changes) {
  std::vector<std::string> texts;
  texts.reserve(changes.size());
  for (const conf::Change& change : changes) texts.push_back(change.to_string());
  return joined(texts);
}

// The service of a change of `service.NAME.split`.
std::string service_of_split(std::string_view path) {
  constexpr std::string_view kBefore = "service.";
  constexpr std::string_view kAfter = ".split";
  return std::string(path.substr(kBefore.size(), path.size() - kBefore.size() - kAfter.size()));
}

}  // namespace

void Control::reload(const Actor& actor, std::function<void(conf::Result<ReloadReport>)> done) {
  if (state_ != RunState::running) {
    done(refusal(Error::Kind::refused,
                 std::string("the process is ") + to_string(state_) + " and reloads no more"));
    return;
  }
  config_file_.read = config_file_.seen = look_at({config_.file});
  conf::ParseOutcome outcome = conf::parse_file(config_.file, conf::Patience::regular_files);
  if (!outcome.ok()) {
    done(refusal(Error::Kind::invalid, outcome.to_string()));
    return;
  }
  conf::Config next = std::move(*outcome.config);
  ReloadReport report;
  for (conf::Change& change : conf::diff(config_, next)) {
    if (change.applies == conf::Applies::first_start) {
      // In force where the split follows the file; else run_time_values tells.
      if (!split_follows_file(service_of_split(change.path), next)) continue;
      change.applies = conf::Applies::reload;
    }
    std::vector<conf::Change>& list = change.needs_restart()              ? report.needs_restart
                                      : rollouts_.waits_for_start(change) ? report.next_start
                                                                          : report.applied;
    list.push_back(std::move(change));
  }
  // What can only change with a restart stays as it is.
  next.workers = config_.workers;
  next.state_dir = config_.state_dir;
  next.user = config_.user;
  next.group = config_.group;
  next.admin = config_.admin;

  conf::Result<TlsStore::Set> secured = load_tls(next);
  if (!secured.ok()) {
    done(secured.error());
    return;
  }
  TlsStore::Set secured_before = tls_.adopt(std::move(*secured));
  const size_t before = listeners_.size();
  conf::Status ready = check_pages(next);
  if (ready.ok()) ready = open_new_listeners(next);
  if (ready.ok()) ready = access_log_.configure(next.log);
  if (!ready.ok()) {
    while (listeners_.size() > before) close_listener(listeners_.back().id);
    tls_.adopt(std::move(secured_before));
    done(ready.error());
    return;
  }
  update_listeners(next);
  report.run_time_values = values_by_hand(next);
  daemon_log_.set_level(parse_log_level(next.log.level).value_or(LogLevel::info));
  apply_file_splits(next);
  rollouts_.leave(next);
  config_ = std::move(next);
  traces_.configure(config_.trace);
  resolver_.watch(dns_names());
  publish_plan([this, actor, report = std::move(report), done = std::move(done)]() mutable {
    add_event("reloaded", "",
              "the configuration was read again: " + std::to_string(report.applied.size()) +
                  " changes in force, " + std::to_string(report.needs_restart.size()) + " need a restart" +
                  (report.next_start.empty() ? ""
                                             : ", " + std::to_string(report.next_start.size()) +
                                                   " count from the next start of a rollout"),
              {{"source", actor.source},
               {"who", actor.who},
               {"applied", texts_of(report.applied)},
               {"needs_restart", texts_of(report.needs_restart)},
               {"next_start", texts_of(report.next_start)},
               {"kept", joined(report.run_time_values)}});
    changed();
    done(std::move(report));
  });
}

// For those whom no answer reaches.
void Control::reload_unasked(const Actor& actor) {
  reload(actor, [this](const conf::Result<ReloadReport>& report) {
    if (!report.ok()) add_event("reload_failed", "", report.error().detail);
  });
}

void Control::watch_config() {
  constexpr uint64_t kLookMs = 500;
  if (!config_.reload_on_change || loop_.now_ms() - config_looked_ms_ < kLookMs) return;
  config_looked_ms_ = loop_.now_ms();
  if (config_file_.due(look_at({config_.file}))) reload_unasked({"file", config_.file});
}

namespace {

bool are_alike(const conf::Listener& one, const conf::Listener& other) {
  return one.bind == other.bind && one.tls == other.tls && one.proxy_protocol == other.proxy_protocol &&
         one.trusted == other.trusted;
}

}  // namespace

// Of those that are open, which is each of `wanted`? An address may occur several
// times, with port 0: first those that are the same in all, then in their order.
std::vector<Control::OpenListener*> Control::find_open(const std::vector<conf::Listener>& wanted) {
  std::vector<OpenListener*> found(wanted.size());
  for (const bool same : {true, false}) {
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (found[i] != nullptr) continue;
      for (OpenListener& one : listeners_) {
        const bool fits = same ? are_alike(one.conf, wanted[i]) : one.conf.bind == wanted[i].bind;
        if (!fits || std::find(found.begin(), found.end(), &one) != found.end()) continue;
        found[i] = &one;
        break;
      }
    }
  }
  return found;
}

conf::Status Control::open_new_listeners(const conf::Config& next) {
  // Once one is opened the pointers say no more than which were there.
  const std::vector<OpenListener*> open = find_open(next.listeners);
  for (size_t i = 0; i < open.size(); ++i) {
    if (open[i] != nullptr) continue;
    if (conf::Status opened = open_listener(next.listeners[i]); !opened.ok()) return opened;
  }
  return conf::Done{};
}

// Closes listeners that are gone; gives the others what new connections inherit
// from now on. Their sockets stay, and with them the clients in their queues.
void Control::update_listeners(const conf::Config& next) {
  const std::vector<OpenListener*> open = find_open(next.listeners);
  std::vector<uint64_t> gone;
  for (const OpenListener& one : listeners_) {
    if (std::find(open.begin(), open.end(), &one) == open.end()) gone.push_back(one.id);
  }
  for (size_t i = 0; i < open.size(); ++i) open[i]->conf = next.listeners[i];
  for (const uint64_t id : gone) close_listener(id);
  refresh_listeners();
}

// What operators set and the file says differently; it stays.
std::vector<std::string> Control::values_by_hand(const conf::Config& next) const {
  std::vector<std::string> values;
  const auto limit = [](uint32_t max) { return max == 0 ? std::string("unlimited") : std::to_string(max); };
  const auto on_or_off = [](bool on) { return std::string(on ? "on" : "off"); };
  for (const auto& [name, entry] : registry_.services()) {
    const auto found = next.services.find(name);
    if (found == next.services.end()) continue;
    const conf::Service& service = found->second;
    const std::string path = "service." + name;
    const Split::Value split = entry.state->split().get();
    if (!service.has_green) {
      // It falls to 0, whoever set it.
    } else if (split.green != service.split && entry.split_source != "config") {
      values.push_back(path + ".split is " + conf::format_percent(split.green) + " (set by " +
                       entry.split_source + "), the file says " + conf::format_percent(service.split));
    } else if (freeze_.on && split.green < service.split) {
      values.push_back(path + ".split is " + conf::format_percent(split.green) + ", the file says " +
                       conf::format_percent(service.split) +
                       ", but a freeze is on: set it when that has ended");
    }
    if (entry.by_hand.maintenance.value_or(service.maintenance) != service.maintenance) {
      values.push_back(path + ".maintenance is " + on_or_off(*entry.by_hand.maintenance) +
                       " (set by hand), the file says " + on_or_off(service.maintenance));
    }
    for (const conf::Colour colour : conf::kColours) {
      const auto i = static_cast<size_t>(colour);
      const std::string upstream = path + "." + conf::to_string(colour);
      const uint32_t in_file = service.upstream(colour).max_connections;
      if (const uint32_t max = entry.by_hand.max_connections[i].value_or(in_file); max != in_file) {
        values.push_back(upstream + ".max_connections is " + limit(max) + " (set by hand), the file says " +
                         limit(in_file));
      }
      for (const balancer::EndpointPlan& one : entry.endpoints[i]) {
        const balancer::EndpointMode mode = one.state->condition().mode;
        if (mode == balancer::EndpointMode::ready) continue;
        values.push_back(upstream + ": endpoint " + one.state->name() + " is in " + to_string(mode) +
                         " (set by hand)");
      }
    }
  }
  return values;
}

bool Control::split_follows_file(const std::string& service, const conf::Config& next) const {
  const auto entry = registry_.services().find(service);
  if (entry == registry_.services().end() || entry->second.split_source != "config") return false;
  const conf::Service& conf = next.services.at(service);
  if (!conf.has_green) return false;  // it is 0
  return config_.services.at(service).split != conf.split &&
         !(freeze_.on && conf.split > entry->second.state->split().get().green);
}

// A split that nobody has touched since the start follows the file; one of a
// service that has lost its green is 0, so that a later green begins there.
void Control::apply_file_splits(const conf::Config& next) {
  for (const auto& [name, service] : next.services) {
    ServiceEntry* const entry = registry_.find(name);
    if (entry == nullptr) continue;
    const conf::BasisPoints now = entry->state->split().get().green;
    const conf::BasisPoints wanted = !service.has_green               ? 0
                                     : split_follows_file(name, next) ? service.split
                                                                      : now;
    if (wanted == now) continue;
    put_split(name, wanted, "config");
    rollouts_.split_changed(name, wanted);
    save_service(name);
    add_event(
        "split_changed", name,
        "green's share of " + name + " went from " + conf::format_percent(now) + " to " +
            conf::format_percent(wanted) + " % with the configuration",
        {{"from", conf::format_percent(now)}, {"to", conf::format_percent(wanted)}, {"source", "config"}});
  }
}

}  // namespace sluice::proxy
