// What an exchange does when an attempt fails: another attempt, blue instead of
// green, or an answer of the proxy's own.
#include <algorithm>

#include "proxy/exchange.h"

namespace sluice::proxy {

using balancer::Outcome;
using balancer::Refusal;
using conf::Colour;

void Exchange::on_upstream_failed(const UpstreamFailure& failure) {
  upstream_ = nullptr;  // it has closed itself
  if (!traced_attempts_.empty()) traced_attempts_.back().error = failure.error;
  if (phase_ == Phase::tunnel) {
    leave_upstream(false);
    abort();
    return;
  }
  if (failure.ours) {
    settle_attempt(Outcome::cancelled, 0);
    leave_upstream(false);
    refuse(Refusal::overload, failure.status, failure.error, failure.detail);
    return;
  }
  // A kept-alive connection that its peer closed while our request was on its
  // way says nothing about the peer's health, if the request can go elsewhere.
  const bool harmless = failure.stale && forgives_stale();
  settle_attempt(harmless ? Outcome::cancelled : failure.outcome, 0);
  if (response_started_) {
    abort();
    return;
  }
  if (harmless) {
    begin_on_fresh();
    return;
  }
  if (!try_again(failure, 0)) answer_failure(failure);
}

bool Exchange::forgives_stale() const {
  return !stale_retried_ && !interim_sent_ && may_replay() && is_idempotent(head_.method);
}

// A peer that is tired of a kept-alive connection may say so, and close, as a
// request is on its way (RFC 9110, 15.5.9). Whoever says 408 later, or goes on,
// means the request.
bool Exchange::answers_the_silence_before() const {
  return upstream_->reused() && upstream_->codec().peer_closes() && request_complete_ && !attempt_settled_ &&
         context_.loop.now_us() - attempt_us_ < kSaidBeforeUs && forgives_stale();
}

void Exchange::begin_on_fresh() {
  stale_retried_ = true;
  fresh_only_ = true;
  restart(colour_);
}

// Is all of the request that went out still in hand?
bool Exchange::may_replay() const {
  return body_bytes_ == 0 || (!replay_lost_ && replay_.size() == body_bytes_);
}

// Starts another attempt if one is allowed. `status`: of the response that made
// the attempt a failure, or 0.
bool Exchange::try_again(const UpstreamFailure& failure, uint16_t status) {
  if (interim_sent_) return false;
  if (rescue_permitted(status)) {
    stats().counters.rescues.add();
    leave_upstream(false);
    is_rescue_ = true;
    ++service_->pools[static_cast<size_t>(Colour::blue)]->rescuing;
    fresh_only_ = false;
    restart(Colour::blue);
    return true;
  }
  if (retry_permitted(failure, status) && pool_->take_retry(conf().retry.budget)) {
    stats().counters.retries.add();
    settle_attempt(Outcome::ok, status);  // a 4xx is no failure, though it is tried again
    leave_upstream(false);
    ++retries_;
    is_retry_ = true;
    restart(colour_);
    return true;
  }
  return false;
}

bool Exchange::retry_permitted(const UpstreamFailure& failure, uint16_t status) const {
  const conf::Retry& retry = conf().retry;
  if (retries_ >= retry.max || attempts_ >= kMostAttempts || !may_replay()) return false;
  if (failure.outcome == Outcome::connect) return retry.on_connect;
  if (!is_idempotent(head_.method)) return false;
  if (status != 0) {
    return std::find(retry.on_status.begin(), retry.on_status.end(), status) != retry.on_status.end();
  }
  return failure.outcome == Outcome::reset && retry.on_reset;
}

bool Exchange::rescue_permitted(uint16_t status) const {
  if (!conf().rescue || colour_ != Colour::green || is_rescue_ || attempts_ >= kMostAttempts) return false;
  if (status != 0 && status < 500) return false;
  if (!is_safe(head_.method) || !may_replay()) return false;
  return service_->pools[static_cast<size_t>(Colour::blue)]->rescue_allowed();
}

// Begins anew, as the request stands; the attempt before has been left.
void Exchange::restart(Colour colour) {
  leave_upstream(false);
  phase_ = Phase::starting;
  become(colour);
  attempt();
}

void Exchange::answer_failure(const UpstreamFailure& failure) {
  leave_upstream(false);
  reply(failure.status, failure.error, failure.detail);
}

}  // namespace sluice::proxy
