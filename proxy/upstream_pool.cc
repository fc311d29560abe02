#include "proxy/upstream_pool.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "proxy/exchange.h"

namespace sluice::proxy {

using balancer::Cap;
using balancer::Permit;

namespace {

// A kept connection may have been left by its peer: what can't be sent again
// would be lost there.
bool would_lose(const UpstreamConnection& connection, const Exchange& exchange) {
  return !exchange.may_be_repeated() && connection.peer_may_have_left();
}

}  // namespace

UpstreamPool::UpstreamPool(WorkerContext& context, std::shared_ptr<balancer::UpstreamState> state)
    : context_(context),
      state_(std::move(state)),
      picker_(std::make_unique<balancer::Picker>(std::vector<balancer::Picker::Entry>{}, conf::Balance::p2c,
                                                 balancer::Picker::Panic{})) {}

UpstreamPool::~UpstreamPool() {
  assert(connections_.empty() && first_waiter_ == nullptr);
}

void UpstreamPool::update(const balancer::ServicePlan& service, conf::Colour colour) {
  const balancer::UpstreamPlan& plan = service.upstream(colour);
  retired_ = false;
  if (caps_ != nullptr && (*caps_ != *plan.caps || tls_ != plan.tls)) {
    ++terms_;
    close_idle();
  }
  const auto caps_before = std::exchange(caps_, plan.caps);  // until no waiter stands there
  tls_ = plan.tls;
  settings_ = service.conf.upstream(colour);
  connect_timeout_ms_ = service.conf.timeouts.connect_ms;
  idle_timeout_ms_ = service.conf.timeouts.idle_ms;
  let_go_ms_ = std::max(kLeastLetGoMs, service.conf.timeouts.first_byte_ms);
  for (auto& [state, endpoint] : endpoints_) endpoint->in_plan = false;
  std::vector<balancer::Picker::Entry> entries;
  entries.reserve(plan.endpoints.size());
  for (const balancer::EndpointPlan& one : plan.endpoints) {
    std::unique_ptr<PooledEndpoint>& slot = endpoints_[one.state.get()];
    if (slot == nullptr) {
      slot = std::make_unique<PooledEndpoint>();
      slot->shared = one.state;
      slot->state = one.state.get();
    }
    slot->in_plan = true;
    entries.push_back({slot.get(), one.weight});
  }
  // All of green gone is blue's share; blue has nobody to leave its own to.
  picker_ = std::make_unique<balancer::Picker>(std::move(entries), settings_.balance,
                                               balancer::Picker::Panic::of(service.conf.outlier, colour));
  drop_unused_endpoints();
  pump();
}

void UpstreamPool::retire() {
  retired_ = true;
  for (auto& [state, endpoint] : endpoints_) endpoint->in_plan = false;
  close_idle();
}

void UpstreamPool::drop_unused_endpoints() {
  for (auto it = endpoints_.begin(); it != endpoints_.end();) {
    PooledEndpoint& endpoint = *it->second;
    if (!endpoint.in_plan) {
      while (endpoint.first_idle != nullptr) endpoint.first_idle->end();
    }
    const bool unused = !endpoint.in_plan && endpoint.connections == 0 && endpoint.active == 0;
    if (unused && swap_.to == &endpoint) end_swap();
    it = unused ? endpoints_.erase(it) : std::next(it);
  }
}

PooledEndpoint* UpstreamPool::pick(const Exchange& exchange) {
  PooledEndpoint* const swapped = take_swapped();
  if (swapped != nullptr && !exchange.has_tried(*swapped)) return swapped;
  const auto tried = exchange.tried();
  const balancer::EndpointLoad* loads[Exchange::kMostAttempts];
  std::copy(tried.begin(), tried.end(), loads);
  return static_cast<PooledEndpoint*>(
      picker_->pick(context_.loop.random(), state_->epoch(), loads, tried.size()));
}

void UpstreamPool::count_idle(const UpstreamConnection& connection, int32_t delta) {
  for (const auto& cap : connection.permit().caps()) cap->add_idle(context_.number, delta);
}

UpstreamConnection* UpstreamPool::take_idle(PooledEndpoint& endpoint) {
  UpstreamConnection* const connection = endpoint.first_idle;
  if (connection != nullptr) unlink_idle(*connection);
  return connection;
}

// For want of a place: any endpoint that may get requests will do.
UpstreamConnection* UpstreamPool::take_any_idle(const Exchange& exchange) {
  for (PooledEndpoint* one = first_with_idle_; one != nullptr; one = one->next_with_idle) {
    if (one->in_plan && picker_->may_use(*one->state, state_->epoch()) &&
        may_take(*one->first_idle, exchange)) {
      return take_idle(*one);
    }
  }
  return nullptr;
}

// Not where who waits would be refused before an origin has to have let go.
bool UpstreamPool::may_swap() const {
  const bool is_begun = swap_.phase != Swap::Phase::none && swap_.phase != Swap::Phase::wanted;
  return !is_begun && context_.loop.now_us() >= swap_.next_us &&
         settings_.queue_timeout_ms > UpstreamConnection::kCloseWaitMs;
}

// A request that the balance had for `endpoint` goes elsewhere, for want of a place.
void UpstreamPool::swap_to(PooledEndpoint& endpoint) {
  if (!may_swap()) return;
  swap_.phase = Swap::Phase::wanted;
  swap_.to = &endpoint;
}

// Is this one, which nobody uses now, to be ended for it?
bool UpstreamPool::is_to_be_swapped(UpstreamConnection& connection) {
  if (swap_.phase != Swap::Phase::wanted || &connection.endpoint() == swap_.to) return false;
  if (!swap_.to->in_plan || !picker_->may_use(*swap_.to->state, state_->epoch())) {
    swap_.phase = Swap::Phase::none;
    return false;
  }
  swap_.phase = Swap::Phase::ending;
  swap_.connection = &connection;
  swap_.began_us = context_.loop.now_us();
  return true;
}

// Null where there is none, or where it may not be used any more.
PooledEndpoint* UpstreamPool::take_swapped() {
  if (swap_.phase != Swap::Phase::free) return nullptr;
  if (swap_.to->in_plan && picker_->may_use(*swap_.to->state, state_->epoch())) return swap_.to;
  end_swap();
  return nullptr;
}

void UpstreamPool::end_swap() {
  const uint64_t now_us = context_.loop.now_us();
  if (swap_.phase != Swap::Phase::none && swap_.phase != Swap::Phase::wanted) {
    const uint64_t places = std::max<size_t>(1, connections_.size());
    const uint64_t least_us = std::max(kSwapUs, kSwapShare * (now_us - swap_.began_us) / places);
    // At random, or requests in a steady order would always meet the same endpoint's.
    swap_.next_us = now_us + least_us + context_.loop.random().below(least_us);
  }
  swap_.phase = Swap::Phase::none;
  swap_.to = nullptr;
  swap_.connection = nullptr;
}

void UpstreamPool::connected(const UpstreamConnection& connection) {
  if (swap_.phase == Swap::Phase::dialling && swap_.connection == &connection) end_swap();
}

// Not for who has met a peer that had left, nor to an endpoint that has failed
// this request where there is another.
bool UpstreamPool::may_take(UpstreamConnection& connection, const Exchange& exchange) const {
  if (exchange.wants_fresh()) return false;
  if (exchange.has_tried(connection.endpoint()) && has_untried(exchange)) return false;
  return !would_lose(connection, exchange);
}

bool UpstreamPool::has_untried(const Exchange& exchange) const {
  return std::any_of(endpoints_.begin(), endpoints_.end(), [&](const auto& one) {
    return one.second->in_plan && !exchange.has_tried(*one.second) &&
           picker_->may_use(*one.first, state_->epoch());
  });
}

void UpstreamPool::link_idle(UpstreamConnection& connection) {
  PooledEndpoint& endpoint = connection.endpoint();
  connection.next_idle_ = endpoint.first_idle;
  (endpoint.first_idle != nullptr ? endpoint.first_idle->previous_idle_ : endpoint.last_idle) = &connection;
  endpoint.first_idle = &connection;
  count_idle(connection, 1);
  if (++endpoint.idle_count > 1) return;
  endpoint.previous_with_idle = last_with_idle_;
  (last_with_idle_ != nullptr ? last_with_idle_->next_with_idle : first_with_idle_) = &endpoint;
  last_with_idle_ = &endpoint;
}

void UpstreamPool::unlink_idle(UpstreamConnection& connection) {
  PooledEndpoint& endpoint = connection.endpoint();
  UpstreamConnection*& from_left =
      connection.previous_idle_ != nullptr ? connection.previous_idle_->next_idle_ : endpoint.first_idle;
  UpstreamConnection*& from_right =
      connection.next_idle_ != nullptr ? connection.next_idle_->previous_idle_ : endpoint.last_idle;
  from_left = connection.next_idle_;
  from_right = connection.previous_idle_;
  connection.next_idle_ = connection.previous_idle_ = nullptr;
  count_idle(connection, -1);
  if (--endpoint.idle_count > 0) return;
  (endpoint.previous_with_idle != nullptr ? endpoint.previous_with_idle->next_with_idle : first_with_idle_) =
      endpoint.next_with_idle;
  (endpoint.next_with_idle != nullptr ? endpoint.next_with_idle->previous_with_idle : last_with_idle_) =
      endpoint.previous_with_idle;
  endpoint.next_with_idle = endpoint.previous_with_idle = nullptr;
}

UpstreamConnection* UpstreamPool::acquire(PooledEndpoint& endpoint, Exchange& exchange, Cap*& blocking) {
  blocking = nullptr;
  if (!exchange.wants_fresh()) {
    while (endpoint.first_idle != nullptr && would_lose(*endpoint.first_idle, exchange)) {
      endpoint.first_idle->close();
    }
    if (UpstreamConnection* const idle = take_idle(endpoint); idle != nullptr) {
      if (swap_.phase == Swap::Phase::free && swap_.to == &endpoint) end_swap();
      idle->attach(&exchange);
      return idle;
    }
  }
  if (first_waiter_ != nullptr) return nullptr;  // they come first
  Permit permit = Permit::try_acquire(caps_, Cap::kNobody - 1, &blocking);
  if (!permit) {
    if (swap_.phase == Swap::Phase::free) end_swap();  // another upstream had the place
    UpstreamConnection* const idle = take_any_idle(exchange);
    if (idle == nullptr) return nullptr;
    if (&idle->endpoint() != &endpoint) swap_to(endpoint);
    idle->attach(&exchange);
    return idle;
  }
  return &dial(endpoint, exchange, std::move(permit));
}

void UpstreamPool::release(UpstreamConnection& connection, bool reusable) {
  const PooledEndpoint& endpoint = connection.endpoint();
  if (!reusable || connection.terms() != terms_ || context_.draining || !endpoint.in_plan ||
      !picker_->may_use(*endpoint.state, state_->epoch())) {
    connection.end();
    return;
  }
  const bool waiters = first_waiter_ != nullptr;
  // Its place is for another one then.
  if (waiters && !may_take(connection, *first_waiter_)) {
    connection.end();
    return;
  }
  for (const auto& cap : connection.permit().caps()) {
    const bool wanted = cap->has_waiters() && !(waiters && is_fair_to_keep(connection));
    if (wanted || cap->over()) {
      connection.end();
      return;
    }
  }
  if (waiters && may_swap()) {
    // Each request picks when it comes, too: taking turns, those here would always be
    // the same endpoint's.
    if (context_.loop.random().below(2) == 0) pick(*first_waiter_);
    PooledEndpoint* const chosen = pick(*first_waiter_);
    if (chosen != nullptr && chosen != &endpoint) swap_to(*chosen);
  }
  // From here it is idle, if only for a moment.
  link_idle(connection);
  connection.become_idle(idle_timeout_ms_);
  if (is_to_be_swapped(connection)) {
    connection.end();
    return;
  }
  if (!waiters) return;
  Exchange& next = *first_waiter_;
  leave_queue(next);
  unlink_idle(connection);
  connection.attach(&next);
  next.on_connection(connection);
}

// Our oldest waiter may have the connection unless another worker's is older by
// more than what keeping a warm connection is worth.
bool UpstreamPool::is_fair_to_keep(const UpstreamConnection& connection) const {
  for (const auto& cap : connection.permit().caps()) {
    if (cap->has_waiters() && cap->oldest_waiter() + kFairnessUs < first_waiter_->waiting_since_us())
      return false;
  }
  return true;
}

// Who waits only until an idle connection gives its place up is not in line
// behind requests: so many may wait beside max_queue.
UpstreamPool::Queueing UpstreamPool::enqueue(Exchange& exchange, Cap* blocking) {
  if (first_waiter_ != nullptr) blocking = blocked_on_;
  const uint32_t queued = state_->queued().fetch_add(1, std::memory_order_relaxed);
  if (queued >= settings_.max_queue &&
      (blocking == nullptr || queued - settings_.max_queue >= blocking->coming_free())) {
    state_->queued().fetch_sub(1, std::memory_order_relaxed);
    return Queueing::full;
  }
  // Behind the last, unless it has waited here before.
  Exchange* before = last_waiter_;
  while (before != nullptr && before->waiting_since_us() > exchange.waiting_since_us()) {
    before = before->previous_waiter_;
  }
  Exchange* const behind = before != nullptr ? before->next_waiter_ : first_waiter_;
  exchange.previous_waiter_ = before;
  exchange.next_waiter_ = behind;
  (before != nullptr ? before->next_waiter_ : first_waiter_) = &exchange;
  (behind != nullptr ? behind->previous_waiter_ : last_waiter_) = &exchange;
  exchange.in_queue_ = true;
  ++waiters_;
  blocked_on_ = blocking;
  context_.publish_oldest(blocked_on_);
  // A place may have become free before we were seen to wait.
  reclaim(1);
  context_.serve_caps_later();
  return Queueing::queued;
}

void UpstreamPool::stand_at(Cap* cap) {
  Cap* const before = std::exchange(blocked_on_, cap);
  context_.publish_oldest(before);
  context_.publish_oldest(cap);
  if (before != nullptr) before->wake_if_free();
}

// Places may be had from idle connections, ours first.
void UpstreamPool::reclaim(uint32_t wanted) {
  if (blocked_on_ == nullptr) return;
  for (uint32_t had = context_.give_up_idle(*blocked_on_, wanted); had < wanted; ++had) {
    if (!blocked_on_->ask_reclaim(context_.number)) return;
  }
}

void UpstreamPool::leave_queue(Exchange& exchange) {
  if (!exchange.in_queue_) return;
  exchange.in_queue_ = false;
  --waiters_;
  (exchange.previous_waiter_ != nullptr ? exchange.previous_waiter_->next_waiter_ : first_waiter_) =
      exchange.next_waiter_;
  (exchange.next_waiter_ != nullptr ? exchange.next_waiter_->previous_waiter_ : last_waiter_) =
      exchange.previous_waiter_;
  exchange.next_waiter_ = exchange.previous_waiter_ = nullptr;
  state_->queued().fetch_sub(1, std::memory_order_relaxed);
  Cap* const cap = first_waiter_ == nullptr ? std::exchange(blocked_on_, nullptr) : blocked_on_;
  context_.publish_oldest(cap);
  if (cap != nullptr) cap->wake_if_free();
}

void UpstreamPool::pump() {
  while (first_waiter_ != nullptr) {
    Exchange& next = *first_waiter_;
    if (!has_usable_endpoint()) {
      if (awaits_first_check()) {
        stand_at(nullptr);  // those who wait for a place do not wait behind them
        return;
      }
      leave_queue(next);
      next.redirect();
      continue;
    }
    if (UpstreamConnection* const idle = take_any_idle(next); idle != nullptr) {
      leave_queue(next);
      idle->attach(&next);
      next.on_connection(*idle);
      continue;
    }
    Cap* blocking = nullptr;
    Permit permit = Permit::try_acquire(caps_, next.waiting_since_us(), &blocking);
    if (!permit) {
      if (blocking != blocked_on_) {
        stand_at(blocking);
        reclaim(waiters_);
        // Seen to wait there only now: look once more.
        continue;
      }
      return;
    }
    leave_queue(next);
    next.on_place(std::move(permit));
  }
}

UpstreamConnection& UpstreamPool::dial(PooledEndpoint& endpoint, Exchange& exchange, Permit permit) {
  auto connection = std::make_unique<UpstreamConnection>(context_, *this, endpoint, std::move(permit));
  UpstreamConnection& result = *connection;
  connections_.emplace(&result, std::move(connection));
  if (swap_.to == &endpoint && swap_.phase == Swap::Phase::free) {
    swap_.phase = Swap::Phase::dialling;
    swap_.connection = &result;
  } else if (swap_.to == &endpoint && swap_.phase == Swap::Phase::wanted) {
    end_swap();  // it has a place without
  }
  result.dial(&exchange, connect_timeout_ms_);
  return result;
}

uint64_t UpstreamPool::oldest_waiter_us() const {
  return first_waiter_ == nullptr ? Cap::kNobody : first_waiter_->waiting_since_us();
}

void UpstreamPool::redirect_waiters() {
  while (first_waiter_ != nullptr) {
    Exchange& next = *first_waiter_;
    leave_queue(next);
    next.redirect();
  }
}

uint32_t UpstreamPool::give_up_idle(const Cap& cap, uint32_t count) {
  uint32_t given = 0;
  for (PooledEndpoint* endpoint = first_with_idle_; endpoint != nullptr && given < count;) {
    PooledEndpoint* const next = endpoint->next_with_idle;
    // The least recently used go first.
    for (UpstreamConnection* one = endpoint->last_idle; one != nullptr && given < count;) {
      UpstreamConnection* const previous = one->previous_idle_;
      const auto& caps = one->permit().caps();
      if (std::any_of(caps.begin(), caps.end(), [&](const auto& held) { return held.get() == &cap; })) {
        one->end();
        ++given;
      }
      one = previous;
    }
    endpoint = next;
  }
  return given;
}

void UpstreamPool::answer_reclaims() {
  if (caps_ == nullptr) return;
  for (const auto& cap : *caps_) {
    if (const uint32_t wanted = cap->take_reclaims(context_.number); wanted > 0) {
      context_.give_up_idle(*cap, wanted);
    }
  }
}

void UpstreamPool::close_idle() {
  for (auto& [state, endpoint] : endpoints_) {
    while (endpoint->first_idle != nullptr) endpoint->first_idle->end();
  }
}

void UpstreamPool::close_all() {
  for (auto& [pointer, connection] : connections_) connection->close();
}

void UpstreamPool::forget(UpstreamConnection& connection) {
  const PooledEndpoint& endpoint = connection.endpoint();
  if (swap_.connection == &connection) {
    swap_.connection = nullptr;
    if (swap_.phase == Swap::Phase::ending) {
      swap_.phase = Swap::Phase::free;
    } else {
      end_swap();  // it could not be connected
    }
  }
  connections_.erase(&connection);
  if (retired_) {
    context_.sweep_pools_later();  // its endpoints stay as long as its picker does
  } else if (!endpoint.in_plan) {
    drop_unused_endpoints();
  }
}

}  // namespace sluice::proxy
