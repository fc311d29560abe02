#include "proxy/knocks.h"

#include <algorithm>

#include "proxy/socket_probe.h"

namespace sluice::proxy {
namespace {

conf::Health by_tcp() {
  conf::Health settings;
  settings.enabled = settings.tcp = true;
  settings.interval_ms = 1000;
  settings.timeout_ms = 1000;
  settings.rise = settings.fall = 1;
  return settings;
}

}  // namespace

Knocks::Knocks(Loop& loop)
    : loop_(loop),
      scheduler_(
          loop.random().next(), [](health::CheckId, const health::CheckTransition&) {},
          [](health::CheckId) {}) {}

uint32_t Knocks::unanswered(const std::vector<balancer::EndpointPlan>& endpoints) {
  std::erase_if(checks_, [&](const auto& known) {
    const bool gone =
        std::none_of(endpoints.begin(), endpoints.end(),
                     [&](const balancer::EndpointPlan& one) { return one.state == known.first; });
    if (gone) scheduler_.remove(known.second);
    return gone;
  });
  const uint64_t now_ms = loop_.now_ms();
  uint32_t missing = 0;
  for (const balancer::EndpointPlan& one : endpoints) {
    const auto [known, fresh] = checks_.try_emplace(one.state, 0);
    if (fresh) {
      known->second =
          scheduler_.add(by_tcp(), std::make_unique<SocketProbe>(loop_, one.state, by_tcp(), plain_), now_ms);
    }
    const health::ActiveCheck* const check = scheduler_.find(known->second);
    if (check->health() != balancer::EndpointHealth::up) ++missing;
  }
  scheduler_.advance(now_ms);
  return missing;
}

}  // namespace sluice::proxy
