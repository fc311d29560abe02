#include "proxy/control.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "proxy/countdown.h"
#include "proxy/cpus.h"
#include "proxy/privileges.h"
#include "proxy/program_pages.h"
#include "proxy/wall_clock.h"

namespace sluice::proxy {

// Takes a worker's news to the control thread. Of failed attempts, samples and
// exemplars only as much waits there as the mailbox takes: what is over that is
// left out, of both colours alike.
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
    control_.mailbox_.offer([this, note = std::move(note)] { control_.judge_.on_failure(note); });
  }
  void attempt_sampled(const balancer::ServiceState& service, std::string_view client, std::string_view path,
                       uint64_t every) override {
    SampleNote note{service.name(), std::string(client), std::string(path), every};
    // A failure, of whichever worker, takes along what waits.
    control_.mailbox_.offer([this, note = std::move(note)] { control_.judge_.on_sample(note); },
                            Mailbox::When::at_look);
  }
  void request_finished(const AccessRecord& record) override {
    const uint64_t wall_us = wall_.at(record.now_us);
    if (control_.access_log_.enabled()) access_.record(record, wall_us);
    if (record.trace != nullptr && record.trace->sampled) control_.traces_.offer(Span(record, wall_us));
  }
  void exemplar(const balancer::UpstreamState& upstream, std::string_view request_id,
                uint64_t duration_us) override {
    control_.mailbox_.offer([this, service = upstream.service(), colour = upstream.colour(),
                             one = Exemplar{std::string(request_id), duration_us, Loop::wall_clock_us()}] {
      ServiceEntry* const entry = control_.registry_.find(service);
      if (entry != nullptr) entry->exemplars[static_cast<size_t>(colour)].note(one);
    });
  }
  bool wants_access() const override { return control_.access_log_.enabled(); }
  void turn_ended(uint64_t now_us) override { access_.flush_aged(now_us); }

 private:
  Control& control_;
  AccessLog::Writer& access_;
  WallClock wall_;
};

Control::Control(conf::Config config, std::string version, Inheritance inheritance)
    : loop_(Loop::random_seed()),
      mailbox_(loop_),
      config_(std::move(config)),
      version_(std::move(version)),
      started_wall_us_(Loop::wall_clock_us()),
      client_caps_(std::make_shared<balancer::CapSet>()),
      registry_(config_.workers != 0 ? config_.workers : usable_cpus(),
                [this](uint32_t worker) { workers_[worker]->wake_for_caps(); }),
      resolver_(
          loop_, [this] { names_changed(); },
          [this](const std::string& problem) { add_event("dns_failed", "", problem); }),
      access_log_(registry_.workers(), loop_.random().next()),
      daemon_log_(STDERR_FILENO, parse_log_level(config_.log.level).value_or(LogLevel::info)),
      drain_deadline_([](void* self) { static_cast<Control*>(self)->cut_off(); }, this),
      ticker_([](void* self) { static_cast<Control*>(self)->tick(); }, this),
      http_client_(loop_),
      traces_(
          loop_, mailbox_, http_client_, version_, [this] { return tls_.client(TlsStore::kTraceUser); },
          [this](bool failing, const std::string& what) {
            add_event(failing ? "traces_lost" : "traces_sent_again", "", what);
          }),
      webhooks_(loop_, http_client_,
                [this](const std::string& service, const std::string& problem) {
                  add_event("webhook_failed", service, problem);
                }),
      writer_(mailbox_,
              {[this](const std::string& what, const conf::Status& status) { note_saved(what, status); },
               [this](const std::string& service, const conf::Result<std::string>& path) {
                 report_written(service, path);
               },
               [this](const StateWriter::Found& found) { take_found(found); }}),
      inheritance_(std::move(inheritance)),
      upgrade_(loop_,
               {[this] { let_go_of_state(); }, [this] { return state_in_force(); },
                [this](int pid) { handed_over_to(pid); },
                [this](const std::string& why, bool had_let_go) { take_back_state(why, had_let_go); }}),
      places_timer_([](void* self) { static_cast<Control*>(self)->give_up_places(); }, this),
      predecessor_(
          loop_, [this](const Places& places) { take_places(places); }, [this] { take_places({}); }) {
  client_caps_->push_back(std::make_shared<balancer::Cap>(
      "clients", balancer::Cap::kUnlimited, [this](uint32_t worker) { workers_[worker]->wake_for_caps(); }));
}

Control::~Control() = default;

std::vector<std::string> Control::unresolved(const std::string& service, conf::Colour colour) const {
  std::vector<std::string> result;
  for (const conf::Endpoint& endpoint : service_conf(service).upstream(colour).endpoints) {
    if (endpoint.address.kind != conf::Address::Kind::dns) continue;
    const auto found = resolver_.names().find(endpoint.address.host);
    if (found == resolver_.names().end() || found->second.empty()) {
      result.push_back(endpoint.address.to_string());
    }
  }
  return result;
}

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
  if (const conf::Status acquired = acquire(); !acquired.ok()) {
    remove_paths();
    state_ = RunState::stopped;
    finish();
    return acquired.error();
  }
  const uint32_t count = planned_workers();
  for (uint32_t i = 0; i < count; ++i) {
    reporters_.push_back(std::make_unique<WorkerReporter>(*this, access_log_.writer(i)));
    workers_.push_back(
        std::make_unique<Worker>(i, loop_.random().next(), *reporters_.back(), queued_, clients_));
    workers_.back()->limit_clients(client_caps_);
  }
  traces_.configure(config_.trace);
  resolver_.watch(dns_names());
  const auto plan = registry_.build(config_, resolver_.names(), started_wall_us_, tls_.clients());
  if (const conf::Status taken = read_handover(inheritance_.state()); !taken.ok()) {
    add_event("state_not_taken_over", "", taken.error().detail);
  }
  restore_states();
  share_connections();
  for (const auto& worker : workers_) worker->adopt(plan, config_.overload);
  for (const auto& worker : workers_) worker->start();
  health_.configure();
  if (!inheritance_.any()) remembered_ = {};
  start_signals();
  loop_.arm(ticker_, Judge::kTickMs);
  state_ = RunState::running;
  // Clients wait in the sockets' queues until their requests have somewhere to
  // go; not for long, since those of other services wait with them.
  constexpr uint64_t kFirstChecksMs = 1000;
  accept_latest_us_ = loop_.now_us() + (inheritance_.any() ? Inheritance::kHealthyMs : kFirstChecksMs) * 1000;
  return conf::Done{};
}

uint32_t Control::planned_workers() const {
  return std::min(registry_.workers(), balancer::kMaxWorkers);
}

// What others may keep from us, before there is anything that would have to be
// undone: sockets with the rights that we began with, files without them.
conf::Status Control::acquire() {
  if (conf::Status divided = divide_connections(); !divided.ok()) return divided;
  if (conf::Status pages = check_pages(config_); !pages.ok()) return pages;
  conf::Result<TlsStore::Set> secured = load_tls(config_);
  if (!secured.ok()) return secured.error();
  tls_.adopt(std::move(*secured));
  if (inheritance_.any()) {
    if (conf::Status given = inheritance_.ask_for_state(); !given.ok()) return given;
  }
  for (const conf::Listener& listener : config_.listeners) {
    if (conf::Status opened = open_listener(listener); !opened.ok()) return opened;
  }
  if (conf::Status dropped = drop_privileges(config_.user, config_.group); !dropped.ok()) return dropped;
  if (conf::Status opened = open_store(); !opened.ok()) return opened;
  return access_log_.configure(config_.log);
}

int Control::run() {
  if (state_ == RunState::running) {
    const Loop::Scope scope(loop_);
    announced_ = true;
    accept_when_ready();
    add_event("started", "",
              "sluice " + version_ + " started with " + std::to_string(workers_.size()) + " workers");
    give_back_program_pages();
  }
  loop_.run();
  for (const auto& worker : workers_) worker->join();
  writer_.end();
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

Control::Shed Control::shed() const {
  Shed sum;
  for (const auto& worker : workers_) {
    sum.connections += worker->context().shed_connections.get();
    sum.requests += worker->context().shed_requests.get();
  }
  return sum;
}

std::string Control::why_not_ready() const {
  if (state_ != RunState::running) return std::string("the process is ") + to_string(state_);
  for (const auto& [name, entry] : registry_.services()) {
    if (!entry.served()) return "service '" + name + "' has no endpoint that its requests may go to";
  }
  return {};
}

bool Control::first_checks_over() const {
  return std::all_of(registry_.services().begin(), registry_.services().end(), [](const auto& one) {
    bool named = false;
    bool usable = false;
    bool awaited = false;
    for (const auto& list : one.second.endpoints) {
      for (const balancer::EndpointPlan& endpoint : list) {
        const balancer::EndpointCondition condition = endpoint.state->condition();
        named = true;
        usable = usable || condition.usable();
        awaited = awaited || condition.worth_waiting();
      }
    }
    return usable || (named && !awaited);
  });
}

void Control::tick() {
  loop_.arm(ticker_, Judge::kTickMs);
  mailbox_.look();
  save_again();
  look_at_settling();
  go_on_sharing();
  if (state_ != RunState::running) return;
  accept_when_ready();
  health_.tick();
  watch_access_log();
  watch_overload();
  daemon_log_.write_suppressed();
  traces_.tick();
  if (judges()) {
    judge_.tick();
    rollouts_.tick();
  }
  watch_caps();
  watch_clients();
  watch_files();
  watch_config();
  watch_certificates();
}

void Control::redirect_green(const std::string& service, std::function<void(uint64_t last_us)> done) {
  const auto upstream = registry_.find(service)->upstreams[static_cast<size_t>(conf::Colour::green)];
  const auto last_us = std::make_shared<uint64_t>(0);
  const auto countdown =
      std::make_shared<Countdown>(worker_count(), [last_us, done = std::move(done)] { done(*last_us); });
  for (const auto& worker : workers_) {
    worker->post([this, one = worker.get(), upstream, countdown, last_us] {
      one->redirect_waiters(upstream.get());
      mailbox_.post([countdown, last_us, at_us = Loop::steady_us()] {
        *last_us = std::max(*last_us, at_us);
        countdown->one();
      });
    });
  }
}

void Control::publish_plan(std::function<void()> done) {
  const auto plan = registry_.build(config_, resolver_.names(), Loop::wall_clock_us(), tls_.clients());
  judge_.configure();
  rollouts_.configure();
  health_.configure();
  for (const std::string& service : registry_.take_changed()) save_service(service);
  share_connections();
  apply_places();
  const auto countdown = std::make_shared<Countdown>(worker_count(), std::move(done));
  for (const auto& worker : workers_) {
    worker->post([this, one = worker.get(), plan, overload = config_.overload, countdown] {
      one->adopt(plan, overload);
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

}  // namespace sluice::proxy
