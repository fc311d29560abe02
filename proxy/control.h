// Control: the one thread that changes anything. It owns the configuration, the
// registry of states, the workers and the events; the admin socket, signals and
// the judgement of green all act through it.
//
//   starting --start()--> running --drain()--> draining --> stopped
//                            \------shutdown()----------/
//
// A change of a split, a mode or a cap is a store that every request started
// afterwards sees, so those calls return when it is in force. A change of the
// plan (reload, DNS) is posted to every worker and is in force when all have
// taken it; `done` is called then. The disk follows, on the StateWriter's thread:
// whoever acknowledges a change does so by when_durable(); who judges never
// waits for it.
//
// Thread: every member runs on the control thread, in a callback of loop(),
// unless it says otherwise.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "balancer/saved_state.h"
#include "conf/config.h"
#include "conf/diff.h"
#include "conf/result.h"
#include "proxy/access_log.h"
#include "proxy/daemon_log.h"
#include "proxy/descriptors.h"
#include "proxy/event_log.h"
#include "proxy/file_watch.h"
#include "proxy/health_monitor.h"
#include "proxy/http_client.h"
#include "proxy/judge.h"
#include "proxy/loop.h"
#include "proxy/mailbox.h"
#include "proxy/places_line.h"
#include "proxy/registry.h"
#include "proxy/resolver.h"
#include "proxy/rollouts.h"
#include "proxy/state_writer.h"
#include "proxy/tls_store.h"
#include "proxy/trace_exporter.h"
#include "proxy/unix_path.h"
#include "proxy/upgrade.h"
#include "proxy/webhooks.h"
#include "proxy/worker.h"

namespace sluice::proxy {

enum class RunState : uint8_t { starting, running, draining, stopped };
constexpr const char* to_string(RunState state) {
  constexpr const char* names[] = {"starting", "running", "draining", "stopped"};
  return names[static_cast<size_t>(state)];
}

// Who asked for a change; the first word is what `show split` calls its source.
struct Actor {
  std::string source = "admin";  // admin, rollout, trip, config, signal
  std::string who;               // for the log: "uid 0 pid 42"; may be empty
};

struct ListenerInfo {
  std::string bind;     // as configured
  std::string address;  // with the real port
};

struct ReloadReport {
  std::vector<conf::Change> applied;
  std::vector<conf::Change> needs_restart;  // kept as they were
  std::vector<conf::Change> next_start;     // of a rollout that is under way by its old plan
  // Values set at run time that the file would set differently; they stay.
  std::vector<std::string> run_time_values;
};

class Control {
 public:
  static constexpr int64_t kWarnDays = 14;  // before a certificate expires
  // What the disk refused is tried again as often.
  static constexpr uint64_t kSaveAgainMs = 1000;
  // A disk that has not answered after as long counts as one that refused.
  static constexpr uint64_t kDurableMs = 10'000;
  // A process that gives way says as often what it still uses of the caps.
  static constexpr uint64_t kPlacesMs = 10;

  // `inheritance`: what a process that this one takes over from leaves to it.
  Control(conf::Config config, std::string version, Inheritance inheritance = {});
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;
  ~Control();

  // Opens all listeners and starts the workers; on an error nothing is left, and
  // run() only tidies up.
  // With an inheritance nothing is accepted before this process could serve,
  // or has waited for that long enough.
  conf::Status start();
  // Runs until stopped, then ends the workers. Returns the process's exit code.
  int run();

  Loop& loop() { return loop_; }
  Mailbox& mailbox() { return mailbox_; }  // any thread may post
  const conf::Config& config() const { return config_; }
  const std::string& version() const { return version_; }
  RunState state() const { return state_; }
  uint64_t started_wall_us() const { return started_wall_us_; }
  uint32_t worker_count() const { return static_cast<uint32_t>(workers_.size()); }
  uint32_t client_connections() const;  // open now
  // What the descriptors and [overload] allow.
  uint32_t max_client_connections() const;
  // What the limit of open files leaves for all upstreams together, at most.
  uint32_t max_upstream_connections() const { return descriptors_.upstream; }
  std::vector<ListenerInfo> listeners() const;
  Registry& registry() { return registry_; }
  const Registry& registry() const { return registry_; }
  const conf::Service& service_conf(const std::string& service) const { return config_.services.at(service); }
  // Endpoints by name that have no address now.
  std::vector<std::string> unresolved(const std::string& service, conf::Colour colour) const;
  EventLog& events() { return events_; }
  DaemonLog& daemon_log() { return daemon_log_; }
  // Requests that led to no service, by status, over all workers.
  uint64_t unrouted(uint16_t status) const;
  // What [overload] has refused, over all workers.
  struct Shed {
    uint64_t connections = 0;  // by max_connections
    uint64_t requests = 0;     // by max_queued
    bool operator==(const Shed&) const = default;
  };
  Shed shed() const;
  uint32_t queued() const { return queued_.load(std::memory_order_relaxed); }

  // Ready: running, and every service has an endpoint that its requests may go to.
  bool ready() const { return why_not_ready().empty(); }
  // A phrase; empty: it is ready.
  std::string why_not_ready() const;

  // Sets green's share. `if_generation`: only if that is still the current one.
  // Returns the new value, in force for every request that starts from now on.
  conf::Result<balancer::Split::Value> set_weight(const std::string& service, conf::BasisPoints green,
                                                  std::optional<uint64_t> if_generation, const Actor& actor);
  conf::Status set_max_connections(const std::string& service, conf::Colour colour, uint32_t max,
                                   const Actor& actor);
  conf::Status set_endpoint_mode(const std::string& service, conf::Colour colour, const std::string& endpoint,
                                 balancer::EndpointMode mode, const Actor& actor);
  conf::Status set_maintenance(const std::string& service, bool on, const Actor& actor);

  // Back to blue now, and stays there until the latch is cleared.
  conf::Status trip(const std::string& service, const std::string& reason, const Actor& actor);
  conf::Status reset(const std::string& service, const Actor& actor);
  // While on, no split rises, by whatever means; going back to blue is always
  // allowed. It outlives restarts.
  conf::Status freeze(const std::string& reason, const Actor& actor);
  conf::Status unfreeze(const Actor& actor);
  const balancer::SavedFreeze& freeze() const { return freeze_; }

  Rollouts& rollouts() { return rollouts_; }
  const Rollouts& rollouts() const { return rollouts_; }
  const Judge& judge() const { return judge_; }
  const HealthMonitor& health() const { return health_; }
  const TraceExporter& traces() const { return traces_; }
  // Failed attempts, samples of traffic and exemplars that came faster than this
  // thread could look at them.
  uint64_t notes_dropped() const { return mailbox_.dropped(); }
  const AccessLog& access_log() const { return access_log_; }
  const TlsStore& tls() const { return tls_; }

  // Reads the file again. All or nothing: on any error the old one stays whole.
  void reload(const Actor& actor, std::function<void(conf::Result<ReloadReport>)> done);
  // Runs `done` when every worker has come to the end of what it was doing.
  void barrier(std::function<void()> done);
  // Collects from all workers.
  void sessions(std::function<void(std::vector<SessionInfo>)> done);

  // Stops accepting, lets requests under way finish (at most drain_timeout),
  // then run() returns 0.
  void drain(const Actor& actor);
  // The same without waiting.
  void shutdown(const Actor& actor);

  // Starts the binary again; when the new process serves, this one drains. If it
  // does not come to that, everything stays as it is, and an event says why.
  void upgrade(const Actor& actor);
  // A server beside the listeners, whose socket goes over with an upgrade.
  class Part {
   public:
    virtual ~Part() = default;
    virtual NamedSockets sockets() const = 0;
    virtual conf::Status begin() = 0;  // accept
    virtual void pause() = 0;          // accept no more, and end what was begun
  };
  // The inherited socket of a part, or nothing.
  std::optional<int> inherited(const std::string& name);
  // Lets the part begin, at once or when this process accepts.
  conf::Status add_part(Part& part);
  // May this process remove the paths of its sockets? Not while they are another's
  // as well, before or after an upgrade.
  bool owns_paths() const { return successor_ == 0 && !inheritance_.any(); }
  // The process that has taken over from this one; 0: none.
  int successor() const { return successor_; }

  // Called after anything changed that a `wait` could be waiting for. The
  // watcher must not add or remove watchers while it is called.
  uint64_t on_change(std::function<void()> watcher);
  void forget_change(uint64_t token);
  // For the parts that change something that is waited for.
  void changed();

  void add_event(std::string type, std::string service, std::string message,
                 std::vector<std::pair<std::string, std::string>> fields = {});
  // Is everything that is in force also on the disk? False while anything is
  // still to be written, also again, and while another process has the state;
  // true without a state_dir.
  bool state_saved() const { return !handing_over_ && unsaved_.empty() && !writer_.saving(); }
  // What the disk refused and has not taken since: services, and
  // StateWriter::kFreeze.
  const std::set<std::string>& unsaved() const { return unsaved_; }
  // What operators set and `config` says differently, a sentence for each.
  std::vector<std::string> values_by_hand(const conf::Config& config) const;
  // Calls `done` when all that was to be saved until now is on the disk, or, with
  // false, when the disk has refused some of it or took longer than kDurableMs.
  // At once where there is nothing to wait for.
  void when_durable(std::function<void(bool durable)> done);

  // For the parts that leave a report in state_dir; an event says how it went.
  void write_report(std::string_view kind, const std::string& service, int64_t unix_ms, std::string json,
                    std::string text);
  HttpClient& http_client() { return http_client_; }
  Webhooks& webhooks() { return webhooks_; }
  // Where a request of our own can come in: a listener without TLS and the
  // PROXY protocol, its wildcard address replaced by loopback.
  std::optional<conf::Address> plain_listener() const;

  // An endpoint's condition was changed: workers, waiters and the judge look.
  void endpoints_changed(const std::string& service, conf::Colour colour);
  // For the judge and the rollouts, who have decided already.
  void put_split(const std::string& service, conf::BasisPoints green, const std::string& source);
  void save_service(const std::string& service);
  // Sends the requests that wait for green to blue, in every worker, then
  // calls `done` with the time when the last of them did it.
  void redirect_green(const std::string& service, std::function<void(uint64_t last_us)> done);
  // Runs when the loop is about to end, for those who hold handles on it.
  void on_stop(std::function<void()> closer) { closers_.push_back(std::move(closer)); }

 private:
  class WorkerReporter;
  struct OpenListener {
    uint64_t id = 0;
    conf::Listener conf;
    conf::Address address;
    std::vector<int> fds;  // the workers'
    UnixPath path;         // nothing, where it is none
  };
  struct Watcher {
    uint64_t token;
    std::function<void()> call;
  };
  // Of what was asked of the writer.
  struct Settling {
    uint64_t through;
    uint64_t latest_ms;
    std::function<void(bool in_time)> call;
  };
  // What is in force and not in the configuration.
  struct InForce {
    std::map<std::string, balancer::SavedService> services;
    balancer::SavedFreeze freeze;
  };

  conf::Result<ServiceEntry*> find_service(const std::string& service);
  conf::Status acquire();
  uint32_t planned_workers() const;
  static std::string name_for(const conf::Address& bind, size_t nth);
  std::vector<NamedSockets> named_listeners() const;
  conf::Status open_listener(const conf::Listener& listener);
  void give_to_workers(const OpenListener& listener);
  void remove_path(OpenListener& listener) const;
  void remove_paths();
  // Each service has an endpoint that may be used, or knows that it has none.
  bool first_checks_over() const;
  void accept_when_ready();
  void let_go_of_state();
  void pause_parts();
  void begin_parts();  // again
  std::string state_in_force() const;
  conf::Status read_handover(const std::string& state);
  // What the predecessor changed after its first word.
  void take_last_word(const std::string& state);
  // Does this process decide already, or does a predecessor?
  bool judges() const { return accepting_ || !inheritance_.any(); }
  void take_back_state(const std::string& why, bool had_let_go);
  void give_up_places();
  void tell_places();
  void await_places();
  void take_places(const Places& places);
  void apply_places();
  void handed_over_to(int pid);
  void close_listener(uint64_t id);
  std::vector<OpenListener*> find_open(const std::vector<conf::Listener>& wanted);
  conf::Status open_new_listeners(const conf::Config& next);
  void update_listeners(const conf::Config& next);
  std::shared_ptr<const ListenerTraits> traits_of(const conf::Listener& listener) const;
  // Gives open listeners what is now to be said of them.
  void refresh_listeners();
  void start_signals();
  static void on_signal(uv_signal_t* handle, int number);
  void publish_plan(std::function<void()> done);
  void names_changed();
  // Does the split move with the file, since nobody else has set it?
  bool split_follows_file(const std::string& service, const conf::Config& next) const;
  void apply_file_splits(const conf::Config& next);
  conf::Status open_store();
  void doubt(std::string why);
  void mind_recovery(const balancer::Journal::Recovery& recovery, const std::vector<std::string>& unreadable);
  void restore_absent(const std::string& service, const balancer::SavedService& saved);
  void report_written(const std::string& service, const conf::Result<std::string>& path);
  void when_settled(uint64_t most_ms, std::function<void(bool in_time)> done);
  void look_at_settling();
  balancer::SavedService saved_of(const std::string& service) const;
  void restore_states();
  void begin_on_blue(const std::string& why);
  void leave_absent_on_blue();
  void take_found(const StateWriter::Found& found);
  void restore_by_hand_late(ServiceEntry& entry, const balancer::ByHand& by_hand);
  void join(const InForce& journalled);
  std::string join_service(ServiceEntry& entry, const balancer::SavedService& saved);
  void put_in_force(ServiceEntry& entry, const balancer::SavedService& saved);
  void restore_rollout(const std::string& service, const std::string& saved);
  conf::Status change_freeze(balancer::SavedFreeze next, const Actor& actor);
  void save_freeze();
  void save_all();
  void note_saved(const std::string& what, const conf::Status& status);
  void save_again();
  void settle_journal();
  void tick();
  void watch_caps();
  // What events of a cap say beside their message.
  struct CapEvent {
    std::string service;
    std::vector<std::pair<std::string, std::string>> fields;
  };
  // `warned`: those over their line at the last look, and when they last were.
  void watch_cap(balancer::Cap& cap, double warn_at, const std::string& what,
                 const std::map<std::string, uint64_t>& warned, CapEvent event);
  void watch_clients();
  void watch_access_log();
  void watch_overload();
  conf::Status divide_connections();
  void share_connections();
  void go_on_sharing();
  conf::Result<TlsStore::Set> load_tls(const conf::Config& config);
  void watch_files();
  void watch_config();
  void reload_unasked(const Actor& actor);
  void watch_certificates();
  void cut_off();
  void stop_workers();
  void finish();
  std::set<std::string> dns_names() const;

  Loop loop_;
  Mailbox mailbox_;
  conf::Config config_;
  const std::string version_;
  const uint64_t started_wall_us_;
  RunState state_ = RunState::starting;
  std::atomic<uint32_t> queued_{0};
  std::shared_ptr<balancer::CapSet> client_caps_ =
      std::make_shared<balancer::CapSet>();  // one: places for clients
  DescriptorBudget descriptors_;
  static constexpr uint64_t kGrowAfterUs = 500'000;
  uint64_t grow_connections_us_ = 0;
  bool clients_wait_ = false;
  Shed told_shed_;  // by the latest event
  uint64_t next_overload_event_us_ = 0;
  std::atomic<uint32_t> clients_{0};
  std::vector<std::unique_ptr<WorkerReporter>> reporters_;
  std::vector<std::unique_ptr<Worker>> workers_;
  Registry registry_;
  Resolver resolver_;
  TlsStore tls_;
  AccessLog access_log_;
  DaemonLog daemon_log_;
  EventLog events_;
  std::vector<OpenListener> listeners_;
  uint64_t next_listener_ = 1;
  std::vector<std::unique_ptr<uv_signal_t>> signals_;
  Timer drain_deadline_;
  std::vector<Watcher> watchers_;
  uint64_t next_watcher_ = 1;
  Judge judge_{*this};
  HealthMonitor health_{*this};
  Timer ticker_;
  HttpClient http_client_;
  TraceExporter traces_;
  Webhooks webhooks_;
  Rollouts rollouts_{*this};
  StateWriter writer_;
  std::deque<Settling> settling_;
  // The journal may lack a trip: why, until that has been minded; empty: no.
  std::string in_doubt_;
  std::vector<std::string> unreadable_services_;  // of the journal
  bool parts_paused_ = false;                     // for a new process that wants the state
  bool handing_over_ = false;                     // from letting go of the state until it is taken back
  balancer::SavedFreeze freeze_;
  std::set<std::string> unsaved_;
  bool settle_when_saved_ = false;  // the journal may say that something is missing
  uint64_t save_again_ms_ = 0;
  FileWatch config_file_;
  uint64_t config_looked_ms_ = 0;
  std::map<std::string, uint64_t> warned_caps_;  // when each was last over its line, us
  std::set<std::string> warned_certificates_;    // event, user and fingerprint
  std::vector<std::function<void()>> closers_;
  Inheritance inheritance_;
  Upgrade upgrade_;
  Timer places_timer_;
  std::optional<Places> told_places_;  // the last that went to a successor
  PlacesLine predecessor_;
  // As the predecessor said last; none: it has not said yet, and may have all.
  std::optional<Places> places_elsewhere_ = Places{};
  std::vector<Part*> parts_;
  bool announced_ = false;  // everything has started
  bool accepting_ = false;
  uint64_t accept_latest_us_ = 0;  // whether there is an endpoint to be used or not
  int successor_ = 0;

  // From the journal, and over it from a predecessor.
  InForce remembered_;
  // The journal's own, where the predecessor could not read it.
  std::optional<InForce> unjoined_;
};

}  // namespace sluice::proxy
