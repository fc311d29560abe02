// UpstreamPool: one upstream as one worker sees it: which endpoint a request
// goes to, the idle connections, and the queue of requests that found no place
// under the caps, or came before the first check of any endpoint was over.
//
// Order of things: a request that may not pass a waiter (see Cap) waits behind
// it; a connection that becomes free goes to the longest waiter of this worker
// unless another worker's has waited kFairnessUs longer, then its place is given
// up to that one. Idle connections keep their places and are closed when
// somebody waits for a place under one of their caps.
//
// Where there is no place for a new connection a request takes one that there is,
// to whichever endpoint, and the balance would be what the connections happen to
// be: an endpoint that was out or is new would get nothing. So now and then a
// connection is ended for the endpoint that the balance has chosen instead (Swap).
//
// Thread: the worker's. Owner: WorkerContext.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "balancer/picker.h"
#include "balancer/plan.h"
#include "balancer/retry_budget.h"
#include "proxy/exemplars.h"
#include "proxy/tls_session.h"
#include "proxy/upstream_connection.h"
#include "proxy/worker_context.h"

namespace sluice::proxy {

// An endpoint with this worker's connections to it.
struct PooledEndpoint : balancer::EndpointLoad {
  std::shared_ptr<balancer::EndpointState> shared;
  UpstreamConnection* first_idle = nullptr;  // the latest used first
  UpstreamConnection* last_idle = nullptr;
  uint32_t idle_count = 0;
  PooledEndpoint* next_with_idle = nullptr;  // of the pool's list, while it has idle connections
  PooledEndpoint* previous_with_idle = nullptr;
  uint32_t connections = 0;
  bool in_plan = false;
  TlsSession tls_session;  // where the upstream is secured
};

class UpstreamPool {
 public:
  static constexpr uint64_t kFairnessUs = 10'000;
  // From one Swap to the next; longer, so that of what the places can carry no more
  // than one part in kSwapShare is lost from a connection's end to the other's begin.
  static constexpr uint64_t kSwapUs = 100'000;
  static constexpr uint64_t kSwapShare = 100;
  static constexpr uint32_t kLeastLetGoMs = 5000;
  static constexpr uint32_t kLeastRescues = 10;  // at once, however little goes on

  UpstreamPool(WorkerContext& context, std::shared_ptr<balancer::UpstreamState> state);
  UpstreamPool(const UpstreamPool&) = delete;
  UpstreamPool& operator=(const UpstreamPool&) = delete;
  ~UpstreamPool();

  balancer::UpstreamState& state() { return *state_; }
  balancer::UpstreamStats& stats() { return state_->stats(context_.number); }

  // Takes over endpoints, caps and settings of a new plan.
  void update(const balancer::ServicePlan& service, conf::Colour colour);
  // No plan has it any more. Requests of an older plan still use it as it is;
  // the context lets go of it when it is unused().
  void retire();
  bool unused() const { return retired_ && connections_.empty() && first_waiter_ == nullptr && active == 0; }

  // How its connections are secured; null: not at all.
  const std::shared_ptr<const TlsClientContext>& tls() const { return tls_; }
  // Goes up with each change of how connections are secured and of which budgets
  // they count under; what was made before is not used again.
  uint32_t terms() const { return terms_; }
  // How long an endpoint that owes an answer keeps its place when nobody waits
  // for that any more: as long as the answer may take to begin (first_byte), but
  // kLeastLetGoMs at least, as one that was impatiently given up is at work still.
  uint32_t let_go_ms() const { return let_go_ms_; }
  bool has_usable_endpoint() { return picker_->eligible_count(state_->epoch()) > 0; }
  // There is none, but a first check that is not over may bring one.
  bool awaits_first_check() { return picker_->awaits_first_check(state_->epoch()); }
  // By the balance, and none that the exchange has tried if there is another; null:
  // none may be used.
  PooledEndpoint* pick(const Exchange& exchange);

  // A connection to `endpoint` for the exchange, idle or dialled, or null when
  // there is no place for one; `blocking` is then the cap that has none, or null
  // where others wait already.
  UpstreamConnection* acquire(PooledEndpoint& endpoint, Exchange& exchange, balancer::Cap*& blocking);
  // Opens one for a place that the exchange was given.
  UpstreamConnection& dial(PooledEndpoint& endpoint, Exchange& exchange, balancer::Permit permit);
  void release(UpstreamConnection& connection, bool reusable);

  enum class Queueing : uint8_t { queued, full };
  // `blocking`: of acquire(), or null for who waits for a first check.
  Queueing enqueue(Exchange& exchange, balancer::Cap* blocking);
  void leave_queue(Exchange& exchange);  // no-op when it is not queued
  bool has_waiters() const { return first_waiter_ != nullptr; }
  // The cap that this pool's waiters stand at, and since when its oldest does.
  const balancer::Cap* blocked_on() const { return blocked_on_; }
  uint64_t oldest_waiter_us() const;
  // Serves waiters as far as there are places.
  void pump();
  // All waiters leave and begin anew elsewhere.
  void redirect_waiters();
  // Closes up to `count` idle connections under `cap`.
  uint32_t give_up_idle(const balancer::Cap& cap, uint32_t count);
  // Closes as many as other workers asked for.
  void answer_reclaims();
  void close_idle();
  void close_all();

  void count_request() { retry_budget_.count_request(context_.loop.now_us()); }
  // Takes a retry out of the budget, if it has one; `share` as in [retry] budget.
  bool take_retry(double share) {
    return retry_budget_.try_take(share, context_.loop.now_us(), state_->retry_floor());
  }
  // May another of green's requests be replayed here? Bounded by what this
  // upstream carries anyway, so that a rescue can't drown it.
  // Nor where others wait already.
  bool rescue_allowed() const {
    return first_waiter_ == nullptr && (rescuing < kLeastRescues || rescuing < active / 2);
  }
  // Is a request that took so long to be told as an exemplar?
  bool exemplar_due(uint64_t duration_ns) { return exemplar_pace_.due(duration_ns, context_.loop.now_us()); }
  uint32_t rescuing = 0;  // from the decision to the end
  uint32_t active = 0;    // exchanges at this upstream, from this worker

 private:
  friend class UpstreamConnection;

  // A place that goes from one endpoint to another; one at a time.
  struct Swap {
    enum class Phase : uint8_t {
      none,
      wanted,  // of the next connection that nobody uses, if it is not to `to`
      ending,  // `connection`
      free,    // the next pick is `to`
      dialling,
    };
    Phase phase = Phase::none;
    PooledEndpoint* to = nullptr;
    const UpstreamConnection* connection = nullptr;
    uint64_t began_us = 0;
    uint64_t next_us = 0;
  };

  UpstreamConnection* take_idle(PooledEndpoint& endpoint);
  UpstreamConnection* take_any_idle(const Exchange& exchange);
  void link_idle(UpstreamConnection& connection);
  bool may_swap() const;
  void swap_to(PooledEndpoint& endpoint);
  bool is_to_be_swapped(UpstreamConnection& connection);
  PooledEndpoint* take_swapped();
  void end_swap();
  void connected(const UpstreamConnection& connection);
  bool may_take(UpstreamConnection& connection, const Exchange& exchange) const;
  bool has_untried(const Exchange& exchange) const;
  void unlink_idle(UpstreamConnection& connection);
  void forget(UpstreamConnection& connection);  // it has closed
  bool is_fair_to_keep(const UpstreamConnection& connection) const;
  // Whose place the waiters stand at from now on; null: none's.
  void stand_at(balancer::Cap* cap);
  void reclaim(uint32_t wanted);
  void count_idle(const UpstreamConnection& connection, int32_t delta);
  void drop_unused_endpoints();

  WorkerContext& context_;
  std::shared_ptr<balancer::UpstreamState> state_;
  std::shared_ptr<const balancer::CapSet> caps_;
  conf::Upstream settings_;
  std::shared_ptr<const TlsClientContext> tls_;
  uint32_t terms_ = 0;
  uint32_t connect_timeout_ms_ = 1000;
  uint32_t idle_timeout_ms_ = 60000;
  uint32_t let_go_ms_ = kLeastLetGoMs;
  std::unordered_map<balancer::EndpointState*, std::unique_ptr<PooledEndpoint>> endpoints_;
  std::unique_ptr<balancer::Picker> picker_;
  std::unordered_map<UpstreamConnection*, std::unique_ptr<UpstreamConnection>> connections_;
  PooledEndpoint* first_with_idle_ = nullptr;  // the longest in the list
  PooledEndpoint* last_with_idle_ = nullptr;
  Swap swap_;
  balancer::RetryBudget retry_budget_;
  ExemplarPace exemplar_pace_;
  Exchange* first_waiter_ = nullptr;
  Exchange* last_waiter_ = nullptr;
  uint32_t waiters_ = 0;
  bool retired_ = false;
  balancer::Cap* blocked_on_ = nullptr;  // of caps_: where this pool's waiters stand; null without any
};

}  // namespace sluice::proxy
