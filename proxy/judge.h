// Judge: brings what the workers saw to each service's TripBreaker, and carries
// out its verdict.
//
//   worker: an attempt fails ──mailbox──> Judge::on_failure
//     the ok attempts so far are summed from the workers' counters,
//     add_oks, add_error ── trip? ──> the latch, the split: one store each,
//     in force for every request from here on; then queued green requests are
//     sent to blue, and when every worker has passed that point the event is
//     written: no green request starts after it. Journal and report follow on
//     the StateWriter's thread, for which nobody waits here.
//
// A tick between failures feeds the ok attempts on, and notices when green has
// no endpoint left.
//
// Thread: the control thread. Owner: Control.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "balancer/histogram.h"
#include "balancer/trip_breaker.h"
#include "conf/config.h"
#include "conf/result.h"
#include "proxy/report.h"

namespace sluice::proxy {

class Control;
struct ServiceEntry;

class Judge {
 public:
  static constexpr uint64_t kTickMs = 100;

  explicit Judge(Control& control) : control_(control) {}
  Judge(const Judge&) = delete;
  Judge& operator=(const Judge&) = delete;

  // Takes over the services and settings of the current configuration.
  void configure();
  // The split is about to change: what has ended so far belongs to the old one.
  void split_changes(const std::string& service);
  // The service has a new split: a step begins.
  void split_changed(const std::string& service);
  // What was known of blue, for the journal and before a restart.
  balancer::BlueKnown blue_known(const std::string& service) const;
  void recall_blue(const std::string& service, const balancer::BlueKnown& known);
  // A trip that was in force before the process was restarted.
  void restore(const std::string& service, const std::string& reason);

  void on_failure(const FailureNote& note);
  void on_sample(const SampleNote& note);
  void tick();
  // An endpoint's condition changed.
  void look_at_endpoints(const std::string& service);

  conf::Status trip_by_hand(const std::string& service, const std::string& reason);
  conf::Status reset(const std::string& service);

  const balancer::TripBreaker* find(const std::string& service) const;
  // How often each service tripped since the start, by detector.
  const std::map<std::pair<std::string, balancer::Detector>, uint64_t>& trips() const { return trips_; }
  // The evidence of the last trip, also after a reset; null: there was none.
  const balancer::Evidence* last_trip(const std::string& service) const;
  // What led to the trip whose latch is on, else what there is since the step
  // began. None: no such service.
  std::optional<balancer::Evidence> evidence(const std::string& service) const;

 private:
  // When green had its last endpoint, and how many oks of blue had been seen then.
  struct Lost {
    uint64_t at_ms;
    uint64_t blue_oks;
  };
  struct Case {
    Case(const std::string& service, const conf::Trip& settings) : breaker(service, settings) {}
    balancer::TripBreaker breaker;
    uint64_t ok_seen[2] = {0, 0};      // by the lot
    uint64_t others_seen[2] = {0, 0};  // placed by something else
    bool green_had_endpoint = false;
    std::optional<Lost> green_lost;
    bool held = false;
    std::unique_ptr<balancer::HistogramSnapshot> latency_before[2];  // when the step began
    std::unique_ptr<balancer::Evidence> last_trip;
  };

  void feed_oks(Case& one, const ServiceEntry& entry);
  bool blue_answers_since(const Lost& lost, const Case& one, const ServiceEntry& entry) const;
  // What a verdict asks for, if it is new. `first_us`: when the failure that
  // led to it ended, on the worker's clock.
  void act(const std::string& service, Case& one, uint64_t first_us);
  balancer::Evidence gather(const Case& one, const ServiceEntry& entry) const;
  void carry_out_trip(const std::string& service, Case& one, uint64_t first_us);
  // The event; `last_us` is when the last worker had switched.
  void tell_of_trip(const std::string& service, conf::BasisPoints green_before, uint64_t first_us,
                    uint64_t decided_us, uint64_t last_us);

  Control& control_;
  std::map<std::string, std::unique_ptr<Case>> cases_;
  std::map<std::pair<std::string, balancer::Detector>, uint64_t> trips_;
};

}  // namespace sluice::proxy
