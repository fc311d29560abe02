// How an exchange waits for a place under the caps, or for the first check of an
// endpoint, and what it does with what it is given.
#include <algorithm>
#include <utility>

#include "proxy/exchange.h"

namespace sluice::proxy {

using balancer::Refusal;
using conf::Colour;

// `blocking`: the cap that has no place; null: others wait already, or a first
// check is awaited.
void Exchange::enqueue(balancer::Cap* blocking) {
  queued_us_ = context_.loop.now_us();
  if (waiting_since_us_ == 0) waiting_since_us_ = queued_us_;
  if (context_.queued != nullptr &&
      context_.queued->fetch_add(1, std::memory_order_relaxed) >= context_.max_queued) {
    context_.queued->fetch_sub(1, std::memory_order_relaxed);
    context_.shed_requests.add();
    refuse(Refusal::overload, 503, "connection_limit_reached", "too many requests are waiting");
    return;
  }
  phase_ = Phase::queued;
  if (pool_->enqueue(*this, blocking) == UpstreamPool::Queueing::full) {
    left_queue();
    refuse(Refusal::queue_full, 503, "connection_limit_reached", "the queue for a connection is full");
    return;
  }
  arm_deadline();
}

// What waiting meant for the process-wide limit and for the deadlines.
void Exchange::left_queue() {
  phase_ = Phase::starting;
  if (context_.queued != nullptr) context_.queued->fetch_sub(1, std::memory_order_relaxed);
  const uint64_t waited_us = context_.loop.now_us() - queued_us_;
  waited_us_ += waited_us;
  queue_us_ += waited_us;
  stats().queue_duration.record(waited_us * 1000);
  arm_deadline();
}

void Exchange::on_place(balancer::Permit permit) {
  left_queue();
  PooledEndpoint* const endpoint = is_latched() ? nullptr : pool_->pick(*this);
  if (endpoint == nullptr) {
    permit.release();
    attempt();
    return;
  }
  use(pool_->dial(*endpoint, *this, std::move(permit)));
}

void Exchange::on_connection(UpstreamConnection& connection) {
  left_queue();
  if (is_latched()) {
    // The others first, or each would be given the connection and pass it on.
    pool_->redirect_waiters();
    connection.release();
    attempt();
    return;
  }
  use(connection);
}

void Exchange::redirect() {
  left_queue();
  restart(Colour::blue);
}

}  // namespace sluice::proxy
