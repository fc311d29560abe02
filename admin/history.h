// History: once a second, what has happened since, kept for those who look:
// windows of latency, points for charts, and how promises were kept.
//
//   workers' counters ──each second──> Latencies ──> Timeline   of each service
//                                                ──> SloHistory of each service
//                                                ──> watchers   (the live stream)
//
// It costs the workers nothing and the control thread some tens of microseconds
// a second for each upstream. A service that a reload has removed is forgotten.
//
// Owner: the Server. Thread: the control thread's.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "admin/latency.h"
#include "admin/slo.h"
#include "admin/timeline.h"
#include "proxy/control.h"

namespace sluice::admin {

class History {
 public:
  static constexpr uint64_t kTickMs = 1000;
  static constexpr size_t kTicksInTen = 10;

  explicit History(proxy::Control& control);
  History(const History&) = delete;
  History& operator=(const History&) = delete;

  // Begins; further calls change nothing.
  void start();
  // Called after each second. Watchers live as long as the History.
  void on_tick(std::function<void()> watcher) { watchers_.push_back(std::move(watcher)); }

  const Latencies& latencies() const { return latencies_; }
  // Null: there is no such service, or it was not there a second ago.
  const Timeline* timeline(const std::string& service) const;
  const SloHistory* slo(const std::string& service) const;
  // Did the last second complete a point of ten?
  bool completed_ten() const { return ticks_ % kTicksInTen == 0; }

 private:
  struct Service {
    Timeline timeline;
    SloHistory slo;
  };

  void tick();
  void take(const std::string& name, const proxy::ServiceEntry& entry, Service& service);

  proxy::Control& control_;
  proxy::Timer ticker_;
  Latencies latencies_;
  uint64_t ticks_ = 0;
  std::map<std::string, Service> services_;
  std::vector<std::function<void()>> watchers_;
};

}  // namespace sluice::admin
