#include "proxy/control.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

#include "proxy/control_text.h"
#include "proxy/cpus.h"
#include "proxy/listen_socket.h"

namespace sluice::proxy {

using balancer::Split;

// Takes a worker's news to the control thread.
class Control::WorkerReporter final : public Reporter {
 public:
  WorkerReporter(Control& control, AccessLog::Writer& access) : control_(control), access_(access) {}

  void attempt_failed(const AttemptFailure& failure) override {
    FailureNote note{failure.service->name(),
                     failure.upstream->colour(),
                     failure.endpoint->name(),
                     failure.outcome,
                     failure.status,
                     std::string(failure.request_id),
                     std::string(failure.client),
                     std::string(failure.path),
                     failure.by_lot,
                     failure.begun_us,
                     failure.at_us};
    control_.mailbox_.post([this, note = std::move(note)] { control_.judge_.on_failure(note); });
  }
  void attempt_sampled(const balancer::ServiceState& service, std::string_view client,
                       std::string_view path) override {
    SampleNote note{service.name(), std::string(client), std::string(path)};
    control_.mailbox_.post([this, note = std::move(note)] { control_.judge_.on_sample(note); });
  }
  void request_finished(const AccessRecord& record) override {
    access_.record(record, Loop::wall_clock_us());
  }
  bool wants_access() const override { return control_.access_log_.enabled(); }
  void turn_ended(uint64_t now_us) override { access_.flush_aged(now_us); }

 private:
  Control& control_;
  AccessLog::Writer& access_;
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
      access_log_(registry_.workers(), loop_.random().next()),
      daemon_log_(STDERR_FILENO, parse_log_level(config_.log.level).value_or(LogLevel::info)),
      drain_deadline_([](void* self) { static_cast<Control*>(self)->stop_workers(); }, this),
      ticker_([](void* self) { static_cast<Control*>(self)->tick(); }, this),
      http_client_(loop_),
      webhooks_(loop_, http_client_,
                [this](const std::string& service, const std::string& problem) {
                  add_event("webhook_failed", service, problem);
                }),
      reports_(files_, config_.state_dir) {}

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
  if (const conf::Status opened = open_store(); !opened.ok()) return opened.error();
  if (const conf::Status opened = access_log_.configure(config_.log); !opened.ok()) return opened.error();
  const uint32_t count = std::min(registry_.workers(), balancer::kMaxWorkers);
  for (uint32_t i = 0; i < count; ++i) {
    reporters_.push_back(std::make_unique<WorkerReporter>(*this, access_log_.writer(i)));
    workers_.push_back(std::make_unique<Worker>(i, loop_.random().next(), *reporters_.back(), queued_));
  }
  conf::Result<TlsStore::Set> secured = tls_.load(config_);
  if (!secured.ok()) return secured.error();
  tls_.adopt(std::move(*secured));
  resolver_.watch(dns_names());
  const auto plan = registry_.build(config_, resolver_.names(), started_wall_us_, tls_.clients());
  restore_states();
  for (const auto& worker : workers_) worker->adopt(plan, config_.overload.max_queued);
  for (const conf::Listener& listener : config_.listeners) {
    if (const conf::Status opened = open_listener(listener); !opened.ok()) {
      for (const auto& worker : workers_) worker->start();
      stop_workers();
      return opened.error();
    }
  }
  for (const auto& worker : workers_) worker->start();
  health_.configure();
  start_signals();
  loop_.arm(ticker_, Judge::kTickMs);
  state_ = RunState::running;
  add_event("started", "", "sluice " + version_ + " started with " + std::to_string(count) + " workers");
  return conf::Done{};
}

conf::Status Control::open_listener(const conf::Listener& listener) {
  conf::Result<ListenSockets> sockets = open_listen_sockets(listener.bind, worker_count());
  if (!sockets.ok()) return sockets.error();
  const std::shared_ptr<const ListenerTraits> traits = traits_of(listener);
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
    if (one.id == id && one.conf.bind.kind == conf::Address::Kind::unix_socket)
      unlink(one.conf.bind.host.c_str());
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
    if (const conf::Status opened = self.access_log_.reopen(); !opened.ok()) {
      self.add_event("log_not_reopened", "", opened.error().detail);
    }
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
  access_log_.close();
  return loop_.close() == 0 ? 0 : 70;
}

uint32_t Control::client_connections() const {
  uint32_t sum = 0;
  for (const auto& worker : workers_) sum += worker->connections();
  return sum;
}

std::vector<ListenerInfo> Control::listeners() const {
  std::vector<ListenerInfo> result;
  for (const OpenListener& one : listeners_)
    result.push_back({one.conf.bind.to_string(), one.address.to_string()});
  return result;
}

std::optional<conf::Address> Control::plain_listener() const {
  for (const OpenListener& one : listeners_) {
    if (one.conf.tls || one.conf.proxy_protocol) continue;
    conf::Address address = one.address;
    if (address.host == "0.0.0.0") address.host = "127.0.0.1";
    if (address.host == "::") address.host = "::1";
    return address;
  }
  return std::nullopt;
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
      return std::any_of(list.begin(), list.end(),
                         [](const auto& endpoint) { return endpoint.state->condition().usable(); });
    });
  });
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

void Control::tick() {
  loop_.arm(ticker_, Judge::kTickMs);
  if (state_ != RunState::running) return;
  health_.tick();
  access_log_.report(loop_.now_us(), daemon_log_);
  daemon_log_.write_suppressed();
  judge_.tick();
  rollouts_.tick();
  watch_caps();
  watch_files();
  watch_certificates();
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

void Control::redirect_green(const std::string& service, std::function<void()> done) {
  const auto upstream = registry_.find(service)->upstreams[static_cast<size_t>(conf::Colour::green)];
  const auto countdown = std::make_shared<Countdown>(worker_count(), std::move(done));
  for (const auto& worker : workers_) {
    worker->post([this, one = worker.get(), upstream, countdown] {
      one->redirect_waiters(upstream.get());
      mailbox_.post([countdown] { countdown->one(); });
    });
  }
}

void Control::publish_plan(std::function<void()> done) {
  const auto plan = registry_.build(config_, resolver_.names(), Loop::wall_clock_us(), tls_.clients());
  judge_.configure();
  rollouts_.configure();
  health_.configure();
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
  const auto countdown =
      std::make_shared<Countdown>(worker_count(), [all, done = std::move(done)] { done(std::move(*all)); });
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

void Control::drain(const Actor& actor) {
  if (state_ != RunState::running) return;
  state_ = RunState::draining;
  add_event("draining", "",
            "no new connections; requests under way have " + std::to_string(config_.drain_ms / 1000) +
                " s to finish",
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
  http_client_.close();
  health_.close();
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

namespace {

// What somebody should look at is a warning.
LogLevel level_of(std::string_view type) {
  constexpr std::string_view kWarnings[] = {
      "tripped",
      "judge_holds",
      "endpoint_down",
      "endpoint_ejected",
      "cap_warning",
      "reload_failed",
      "dns_failed",
      "log_not_reopened",
      "state_not_saved",
      "rollout_hold",
      "rollout_trip",
      "rollout_abort",
      "rollout_veto",
      "webhook_failed",
      "report_not_written",
      "rollout_not_restored",
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
