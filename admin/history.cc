#include "admin/history.h"

#include <algorithm>
#include <utility>

namespace sluice::admin {

using conf::Colour;

History::History(proxy::Control& control)
    : control_(control),
      ticker_([](void* self) { static_cast<History*>(self)->tick(); }, this),
      latencies_(control) {}

void History::start() {
  if (ticker_.armed()) return;
  latencies_.tick();
  control_.loop().arm(ticker_, kTickMs);
}

void History::tick() {
  control_.loop().arm(ticker_, kTickMs);
  latencies_.tick();
  ++ticks_;
  std::map<std::string, Service> kept;
  for (const auto& [name, entry] : control_.registry().services()) {
    Service& service = kept.emplace(name, std::move(services_[name])).first->second;
    take(name, entry, service);
  }
  services_ = std::move(kept);
  for (const auto& watcher : watchers_) watcher();
}

void History::take(const std::string& name, const proxy::ServiceEntry& entry, Service& service) {
  TimelinePoint second;
  second.at_us = proxy::Loop::wall_clock_us();
  second.green = entry.state->split().get().green;
  TimelinePoint ten = second;
  SloCounts counts;
  const uint64_t latency_ns = uint64_t{control_.service_conf(name).slo.latency_ms} * 1'000'000;
  for (const Colour colour : conf::kColours) {
    const auto side = static_cast<size_t>(colour);
    const auto last = latencies_.window(*entry.upstreams[side], Span::second);
    second.sides[side] = TimelinePoint::Side(*last);
    if (completed_ten()) {
      ten.sides[side] = TimelinePoint::Side(*latencies_.window(*entry.upstreams[side], Span::ten_seconds));
    }
    counts += {0, last->requests.count(), last->errors, last->requests.count_at_most(latency_ns)};
    counts.duration_us = std::max(counts.duration_us, last->duration_us);
  }
  service.timeline.add_second(second);
  if (completed_ten()) service.timeline.add_ten(ten);
  service.slo.add(counts);
}

const Timeline* History::timeline(const std::string& service) const {
  const auto found = services_.find(service);
  return found == services_.end() ? nullptr : &found->second.timeline;
}

const SloHistory* History::slo(const std::string& service) const {
  const auto found = services_.find(service);
  return found == services_.end() ? nullptr : &found->second.slo;
}

}  // namespace sluice::admin
