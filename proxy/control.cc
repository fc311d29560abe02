#include "proxy/control.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <unistd.h>
#include <utility>

#include "conf/parse.h"
#include "proxy/cpus.h"
#include "proxy/listen_socket.h"

namespace sluice::proxy {

using balancer::Split;
using conf::Error;

namespace {

Error refusal(Error::Kind kind, std::string detail) {
  return {kind, Error::Source::operator_, false, std::move(detail)};
}

std::string percent(conf::BasisPoints green) {
  std::string text = std::to_string(green / 100);
  if (green % 100 != 0) {
    text += '.';
    text += static_cast<char>('0' + green % 100 / 10);
    if (green % 10 != 0) text += static_cast<char>('0' + green % 10);
  }
  return text;
}

}  // namespace

// Takes a worker's news to the control thread.
class Control::WorkerReporter final : public Reporter {
 public:
  explicit WorkerReporter(Control& control) : control_(control) {}

  void attempt_failed(const AttemptFailure& failure) override {
    FailureNote note{failure.service->name(),
                     failure.upstream->colour(),
                     failure.endpoint->name(),
                     failure.outcome,
                     failure.status,
                     std::string(failure.request_id),
                     std::string(failure.client),
                     std::string(failure.path),
                     failure.at_us};
    control_.mailbox_.post([this, note = std::move(note)] {
      if (control_.failure_handler_) control_.failure_handler_(note);
    });
  }
  void request_finished(const AccessRecord&) override {}
  bool wants_access() const override { return false; }

 private:
  Control& control_;
};

Control::Control(conf::Config config, std::string version)
    : loop_(Loop::random_seed()),
      mailbox_(loop_),
      config_(std::move(config)),
      version_(std::move(version)),
      started_wall_us_(Loop::wall_clock_us()),
      registry_(config_.workers != 0 ? config_.workers : usable_cpus(),
                [this](uint32_t worker) { workers_[worker]->wake_for_caps(); }),
      resolver_(
          loop_, [this] { names_changed(); },
          [this](const std::string& problem) { add_event("dns_failed", "", problem); }),
      drain_deadline_([](void* self) { static_cast<Control*>(self)->stop_workers(); }, this) {}

Control::~Control() = default;

std::set<std::string> Control::dns_names() const {
  std::set<std::string> names;
  for (const auto& [name, service] : config_.services) {
    for (const conf::Upstream& upstream : service.upstreams) {
      for (const conf::Endpoint& endpoint : upstream.endpoints) {
        if (endpoint.address.kind == conf::Address::Kind::dns) names.insert(endpoint.address.host);
      }
    }
  }
  return names;
}

conf::Status Control::start() {
  const Loop::Scope scope(loop_);
  const uint32_t count = std::min(registry_.workers(), balancer::kMaxWorkers);
  for (uint32_t i = 0; i < count; ++i) {
    reporters_.push_back(std::make_unique<WorkerReporter>(*this));
    workers_.push_back(std::make_unique<Worker>(i, loop_.random().next(), *reporters_.back(), queued_));
  }
  resolver_.watch(dns_names());
  const auto plan = registry_.build(config_, resolver_.names(), started_wall_us_);
  for (const auto& worker : workers_) worker->adopt(plan, config_.overload.max_queued);
  for (const conf::Listener& listener : config_.listeners) {
    if (const conf::Status opened = open_listener(listener); !opened.ok()) {
      for (const auto& worker : workers_) worker->start();
      stop_workers();
      return opened.error();
    }
  }
  for (const auto& worker : workers_) worker->start();
  start_signals();
  state_ = RunState::running;
  add_event("started", "", "sluice " + version_ + " started with " + std::to_string(count) + " workers");
  return conf::Done{};
}

conf::Status Control::open_listener(const conf::Listener& listener) {
  conf::Result<ListenSockets> sockets = open_listen_sockets(listener.bind, worker_count());
  if (!sockets.ok()) return sockets.error();
  auto traits = std::make_shared<ListenerTraits>();
  traits->trusted = listener.trusted;
  traits->secure = listener.tls.has_value();
  const uint64_t id = next_listener_++;
  const bool is_unix = listener.bind.kind == conf::Address::Kind::unix_socket;
  for (uint32_t i = 0; i < worker_count(); ++i) {
    workers_[i]->post([worker = workers_[i].get(), id, traits, fd = sockets->fds[i], is_unix] {
      worker->add_listener(id, traits, fd, is_unix);
    });
  }
  listeners_.push_back({id, listener, sockets->address});
  return conf::Done{};
}

void Control::close_listener(uint64_t id) {
  for (const auto& worker : workers_) {
    worker->post([one = worker.get(), id] { one->remove_listener(id); });
  }
  for (const OpenListener& one : listeners_) {
    if (one.id == id && one.conf.bind.kind == conf::Address::Kind::unix_socket) unlink(one.conf.bind.host.c_str());
  }
  std::erase_if(listeners_, [id](const OpenListener& one) { return one.id == id; });
}

void Control::start_signals() {
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) {
    auto handle = std::make_unique<uv_signal_t>();
    uv_signal_init(loop_.uv(), handle.get());
    handle->data = this;
    uv_signal_start(handle.get(), on_signal, number);
    signals_.push_back(std::move(handle));
  }
  std::signal(SIGPIPE, SIG_IGN);
}

void Control::on_signal(uv_signal_t* handle, int number) {
  Control& self = *static_cast<Control*>(handle->data);
  const Loop::Scope scope(self.loop_);
  const Actor actor{"signal", strsignal(number)};
  if (number == SIGHUP) {
    self.reload(actor, [&self](const conf::Result<ReloadReport>& report) {
      if (!report.ok()) self.add_event("reload_failed", "", report.error().detail);
    });
  } else if (self.state_ == RunState::draining) {
    self.shutdown(actor);
  } else {
    self.drain(actor);
  }
}

int Control::run() {
  loop_.run();
  for (const auto& worker : workers_) worker->join();
  return loop_.close() == 0 ? 0 : 70;
}

uint32_t Control::client_connections() const {
  uint32_t sum = 0;
  for (const auto& worker : workers_) sum += worker->connections();
  return sum;
}

std::vector<ListenerInfo> Control::listeners() const {
  std::vector<ListenerInfo> result;
  for (const OpenListener& one : listeners_) result.push_back({one.conf.bind.to_string(), one.address.to_string()});
  return result;
}

uint64_t Control::unrouted(uint16_t status) const {
  uint64_t sum = 0;
  for (const auto& worker : workers_) sum += worker->context().unrouted[status].get();
  return sum;
}

bool Control::ready() const {
  if (state_ != RunState::running) return false;
  return std::all_of(registry_.services().begin(), registry_.services().end(), [](const auto& one) {
    const auto& endpoints = one.second.endpoints;
    return std::any_of(std::begin(endpoints), std::end(endpoints), [](const auto& list) {
      return std::any_of(list.begin(), list.end(), [](const auto& endpoint) {
        return endpoint.state->condition().usable();
      });
    });
  });
}

conf::Result<ServiceEntry*> Control::find_service(const std::string& service) {
  if (ServiceEntry* const entry = registry_.find(service); entry != nullptr) return entry;
  return refusal(Error::Kind::not_found, "no service is called '" + service + "'; see 'show services'");
}

conf::Result<Split::Value> Control::set_weight(const std::string& service, conf::BasisPoints green,
                                               std::optional<uint64_t> if_generation, const Actor& actor) {
  const conf::Result<ServiceEntry*> found = find_service(service);
  if (!found.ok()) return found.error();
  ServiceEntry& entry = **found;
  const Split::Value now = entry.state->split().get();
  if (green > conf::kFullSplit) {
    return refusal(Error::Kind::invalid, "a split is between 0 and 100 percent");
  }
  if (!service_conf(service).has_green && green > 0) {
    return refusal(Error::Kind::refused, "service '" + service + "' has no green upstream to send requests to");
  }
  if (if_generation.has_value() && *if_generation != now.generation) {
    return refusal(Error::Kind::conflict, "the split of '" + service + "' is at generation " +
                                              std::to_string(now.generation) + ", not " +
                                              std::to_string(*if_generation) + "; look again with 'show split'");
  }
  if (entry.state->tripped() && green > 0) {
    return refusal(Error::Kind::refused, "service '" + service + "' is tripped; 'reset " + service + "' first");
  }
  const Split::Value next{green, now.generation + 1};
  entry.state->split().set(next);
  entry.split_source = actor.source;
  entry.split_since_us = Loop::wall_clock_us();
  add_event("split_changed", service,
            "green's share of " + service + " went from " + percent(now.green) + " to " + percent(green) + " %",
            {{"from", percent(now.green)},
             {"to", percent(green)},
             {"generation", std::to_string(next.generation)},
             {"source", actor.source},
             {"who", actor.who}});
  changed();
  return next;
}

conf::Status Control::set_max_connections(const std::string& service, conf::Colour colour, uint32_t max,
                                          const Actor& actor) {
  const conf::Result<ServiceEntry*> found = find_service(service);
  if (!found.ok()) return found.error();
  balancer::Cap& cap = *(*found)->upstreams[static_cast<size_t>(colour)]->connections();
  const uint32_t before = cap.max();
  cap.set_max(max == 0 ? balancer::Cap::kUnlimited : max);
  const auto text = [](uint32_t value) {
    return value == 0 || value == balancer::Cap::kUnlimited ? std::string("unlimited") : std::to_string(value);
  };
  add_event("max_connections_changed", service,
            "max_connections of " + cap.name() + " went from " + text(before) + " to " + text(max),
            {{"upstream", conf::to_string(colour)}, {"from", text(before)}, {"to", text(max)}, {"who", actor.who}});
  changed();
  return conf::Done{};
}

conf::Status Control::set_endpoint_mode(const std::string& service, conf::Colour colour, const std::string& endpoint,
                                        balancer::EndpointMode mode, const Actor& actor) {
  const conf::Result<ServiceEntry*> found = find_service(service);
  if (!found.ok()) return found.error();
  balancer::EndpointState* const state = (*found)->find_endpoint(colour, endpoint);
  if (state == nullptr) {
    return refusal(Error::Kind::not_found, "no endpoint of " + service + "/" + conf::to_string(colour) +
                                               " is called '" + endpoint + "'; see 'show endpoints " + service + "'");
  }
  balancer::EndpointCondition condition = state->condition();
  const balancer::EndpointMode before = condition.mode;
  condition.mode = mode;
  state->set_condition(condition);
  (*found)->upstreams[static_cast<size_t>(colour)]->bump_epoch();
  // Requests that wait may have somewhere to go now, or nowhere.
  for (const auto& worker : workers_) worker->wake_for_caps();
  add_event("endpoint_mode_changed", service,
            "endpoint " + endpoint + " of " + service + "/" + conf::to_string(colour) + " went from " +
                to_string(before) + " to " + to_string(mode),
            {{"upstream", conf::to_string(colour)}, {"endpoint", endpoint}, {"mode", to_string(mode)}, {"who", actor.who}});
  changed();
  return conf::Done{};
}

conf::Status Control::set_maintenance(const std::string& service, bool on, const Actor& actor) {
  const conf::Result<ServiceEntry*> found = find_service(service);
  if (!found.ok()) return found.error();
  (*found)->state->set_maintenance(on);
  add_event("maintenance_changed", service, "maintenance of " + service + " is " + (on ? "on" : "off"),
            {{"on", on ? "true" : "false"}, {"who", actor.who}});
  changed();
  return conf::Done{};
}

namespace {

// Calls `done` on the control thread when `count` workers have answered.
struct Countdown {
  Countdown(uint32_t count, std::function<void()> when_done) : left(count), done(std::move(when_done)) {}
  uint32_t left;
  std::function<void()> done;
  void one() {
    if (--left == 0 && done) done();
  }
};

}  // namespace

void Control::publish_plan(std::function<void()> done) {
  const auto plan = registry_.build(config_, resolver_.names(), Loop::wall_clock_us());
  const auto countdown = std::make_shared<Countdown>(worker_count(), std::move(done));
  for (const auto& worker : workers_) {
    worker->post([this, one = worker.get(), plan, max_queued = config_.overload.max_queued, countdown] {
      one->adopt(plan, max_queued);
      mailbox_.post([countdown] { countdown->one(); });
    });
  }
}

void Control::barrier(std::function<void()> done) {
  const auto countdown = std::make_shared<Countdown>(worker_count(), std::move(done));
  for (const auto& worker : workers_) {
    worker->post([this, countdown] { mailbox_.post([countdown] { countdown->one(); }); });
  }
}

void Control::sessions(std::function<void(std::vector<SessionInfo>)> done) {
  const auto all = std::make_shared<std::vector<SessionInfo>>();
  const auto countdown = std::make_shared<Countdown>(
      worker_count(), [all, done = std::move(done)] { done(std::move(*all)); });
  for (const auto& worker : workers_) {
    worker->post([this, one = worker.get(), all, countdown] {
      mailbox_.post([all, countdown, mine = one->sessions()] {
        all->insert(all->end(), mine.begin(), mine.end());
        countdown->one();
      });
    });
  }
}

void Control::names_changed() {
  if (state_ != RunState::running) return;
  publish_plan([this] {
    add_event("names_resolved", "", "the addresses of dns endpoints changed");
    changed();
  });
}

void Control::reload(const Actor& actor, std::function<void(conf::Result<ReloadReport>)> done) {
  if (state_ != RunState::running) {
    done(refusal(Error::Kind::refused, std::string("the process is ") + to_string(state_) + " and reloads no more"));
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
    const bool kept = std::any_of(next.listeners.begin(), next.listeners.end(), [&](const conf::Listener& listener) {
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
    }
  }
  apply_file_splits(next);
  config_ = std::move(next);
  resolver_.watch(dns_names());
  publish_plan([this, actor, to_close, report = std::move(report), done = std::move(done)]() mutable {
    for (const uint64_t id : to_close) close_listener(id);
    add_event("reloaded", "", "the configuration was read again: " + std::to_string(report.applied.size()) +
                                  " changes in force, " + std::to_string(report.needs_restart.size()) +
                                  " need a restart",
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
    if (entry->state->split().get().green == service.split || config_.services.at(name).split == service.split) {
      continue;
    }
    const Split::Value now = entry->state->split().get();
    entry->state->split().set({service.split, now.generation + 1});
    entry->split_since_us = Loop::wall_clock_us();
  }
}

void Control::drain(const Actor& actor) {
  if (state_ != RunState::running) return;
  state_ = RunState::draining;
  add_event("draining", "", "no new connections; requests under way have " +
                                std::to_string(config_.drain_ms / 1000) + " s to finish",
            {{"source", actor.source}, {"who", actor.who}});
  changed();
  loop_.arm(drain_deadline_, config_.drain_ms);
  for (const OpenListener& one : listeners_) {
    if (one.conf.bind.kind == conf::Address::Kind::unix_socket) unlink(one.conf.bind.host.c_str());
  }
  const auto countdown = std::make_shared<Countdown>(worker_count(), [this] { stop_workers(); });
  for (const auto& worker : workers_) {
    worker->post([this, one = worker.get(), countdown] {
      one->begin_drain([this, countdown] { mailbox_.post([countdown] { countdown->one(); }); });
    });
  }
}

void Control::shutdown(const Actor& actor) {
  if (state_ == RunState::stopped) return;
  add_event("shutdown", "", "stopping at once", {{"source", actor.source}, {"who", actor.who}});
  stop_workers();
}

void Control::stop_workers() {
  if (state_ == RunState::stopped) return;
  state_ = RunState::stopped;
  changed();
  drain_deadline_.disarm();
  const auto countdown = std::make_shared<Countdown>(worker_count(), [this] { finish(); });
  for (const auto& worker : workers_) {
    worker->post([this, one = worker.get(), countdown] {
      one->close_all();
      mailbox_.post([countdown] { countdown->one(); });
    });
  }
}

// No worker has a connection or a waiter left: now none needs to be woken.
void Control::finish() {
  for (const auto& worker : workers_) {
    worker->post([one = worker.get()] { one->stop(); });
  }
  for (const auto& closer : closers_) closer();
  resolver_.close();
  for (const auto& handle : signals_) uv_close(reinterpret_cast<uv_handle_t*>(handle.get()), nullptr);
  mailbox_.close();
  loop_.stop();
}

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

void Control::add_event(std::string type, std::string service, std::string message,
                        std::vector<std::pair<std::string, std::string>> fields) {
  Event event;
  event.at_us = Loop::wall_clock_us();
  event.type = std::move(type);
  event.service = std::move(service);
  event.message = std::move(message);
  event.fields = std::move(fields);
  events_.add(std::move(event));
}

}  // namespace sluice::proxy
