#include "proxy/worker_context.h"

#include <algorithm>
#include <set>

#include "proxy/exchange.h"
#include "proxy/upstream_pool.h"

namespace sluice::proxy {

WorkerContext::~WorkerContext() = default;

UpstreamPool& WorkerContext::pool(const std::shared_ptr<balancer::UpstreamState>& state) {
  std::unique_ptr<UpstreamPool>& slot = pools_[state.get()];
  if (slot == nullptr) slot = std::make_unique<UpstreamPool>(*this, state);
  return *slot;
}

void WorkerContext::adopt(std::shared_ptr<const balancer::Plan> next) {
  auto mine = std::make_unique<WorkerPlan>();
  std::set<const UpstreamPool*> wanted;
  for (const balancer::ServicePlan& service : next->services) {
    WorkerPlan::Service& entry = mine->services.emplace_back();
    entry.plan = &service;
    for (const conf::Colour colour : conf::kColours) {
      UpstreamPool& one = pool(service.upstream(colour).state);
      one.update(service, colour);
      wanted.insert(&one);
      entry.pools[static_cast<size_t>(colour)] = &one;
    }
  }
  for (const auto& [state, one] : pools_) {
    if (!wanted.contains(one.get())) one->retire();
  }
  sweep_pools_later();
  mine->plan = std::move(next);
  WorkerPlan* const before = plan;
  plan = mine.get();
  plans_.push_back(std::move(mine));
  if (before == nullptr) return;
  before->current = false;
  ++before->exchanges;  // so that the next line decides
  release_plan(before);
}

void WorkerContext::release_plan(WorkerPlan* used) {
  if (--used->exchanges > 0 || used->current) return;
  std::erase_if(plans_, [used](const auto& one) { return one.get() == used; });
  sweep_pools_later();
}

void WorkerContext::sweep_pools() {
  if (plans_.size() > 1) return;  // an older one may still refer to them
  std::erase_if(pools_, [](const auto& one) { return one.second->unused(); });
}

Exchange* WorkerContext::new_exchange() {
  if (free_exchanges_.empty()) {
    exchanges_.push_back(std::make_unique<Exchange>(*this));
    return exchanges_.back().get();
  }
  Exchange* const exchange = free_exchanges_.back();
  free_exchanges_.pop_back();
  return exchange;
}

void WorkerContext::recycle(Exchange* exchange) {
  free_exchanges_.push_back(exchange);
}

void WorkerContext::publish_oldest(balancer::Cap* cap) {
  if (cap == nullptr) return;
  uint64_t oldest = balancer::Cap::kNobody;
  for (const auto& [state, one] : pools_) {
    if (one->blocked_on() == cap) oldest = std::min(oldest, one->oldest_waiter_us());
  }
  cap->set_oldest_waiter(number, oldest);
}

uint32_t WorkerContext::give_up_idle(const balancer::Cap& cap, uint32_t count) {
  uint32_t given = 0;
  for (const auto& [state, one] : pools_) {
    if (given < count) given += one->give_up_idle(cap, count - given);
  }
  return given;
}

void WorkerContext::serve_caps() {
  for (const auto& [state, one] : pools_) one->answer_reclaims();
  for (const auto& [state, one] : pools_) one->pump();
}

void WorkerContext::redirect_waiters(balancer::UpstreamState* upstream) {
  const auto found = pools_.find(upstream);
  if (found != pools_.end()) found->second->redirect_waiters();
}

void WorkerContext::begin_drain() {
  draining = true;
  for (const auto& [state, one] : pools_) one->close_idle();
}

void WorkerContext::close_all() {
  for (const auto& [state, one] : pools_) one->close_all();
}

}  // namespace sluice::proxy
