// What an exchange does when time passes, and whose time it was.
#include <algorithm>

#include "proxy/exchange.h"

namespace sluice::proxy {

using balancer::Outcome;
using balancer::Refusal;

// The next moment at which something is due: the end of the queue's patience,
// of the whole request's, or of what is not yet called slow.
void Exchange::arm_deadline() {
  constexpr uint64_t kNever = ~uint64_t{0};
  uint64_t due_us = kNever;
  if (const uint64_t whole_ms = conf().timeouts.request_ms; whole_ms > 0)
    due_us = started_us_ + whole_ms * 1000;
  if (phase_ == Phase::queued) {
    const uint64_t patience_us = uint64_t{conf().upstream(colour_).queue_timeout_ms} * 1000;
    due_us = std::min(due_us, queued_us_ + patience_us - std::min(patience_us, waited_us_));
  } else if (conf().trip.slow_ms > 0 && !attempt_settled_ && request_complete_ && !response_started_) {
    due_us = std::min(due_us, asked_us() + uint64_t{conf().trip.slow_ms} * 1000 + 1000);
  }
  if (due_us == kNever) {
    deadline_.disarm();
    return;
  }
  const uint64_t now_us = context_.loop.now_us();
  context_.loop.arm(deadline_, due_us > now_us ? (due_us - now_us + 999) / 1000 : 0);
}

// Since when the upstream owes the beginning of its answer: a client that takes
// its time to upload, or to read, makes no upstream slow.
uint64_t Exchange::asked_us() const {
  return std::max(attempt_us_, complete_us_);
}

bool Exchange::is_late() const {
  const uint64_t slow_us = uint64_t{conf().trip.slow_ms} * 1000;
  return slow_us > 0 && request_complete_ && !response_started_ &&
         context_.loop.now_us() > asked_us() + slow_us;
}

// Whose turn it is: false when it is the upstream's.
bool Exchange::waits_for_client() const {
  if (response_started_) return downstream_->pending() > 0;
  return awaits_body() && accepts_input();  // not while it waits for a 100
}

void Exchange::on_deadline() {
  const uint64_t whole_ms = conf().timeouts.request_ms;
  const bool whole = whole_ms > 0 && context_.loop.now_ms() >= started_us_ / 1000 + whole_ms;
  if (phase_ == Phase::queued) {
    pool_->leave_queue(*this);
    left_queue();
    if (pool_->awaits_first_check()) {
      refuse(Refusal::no_endpoint, 503, "destination_unavailable",
             "the first check of an endpoint takes too long");
      return;
    }
    refuse(Refusal::queue_timeout, 503, "connection_limit_reached", "no connection became free in time");
    return;
  }
  if (!whole) {
    // Late already, however it will end: the judge need not wait for that.
    if (is_late()) settle_attempt(Outcome::slow, 0);
    arm_deadline();
    return;
  }
  const bool clients_fault = waits_for_client();
  settle_attempt(clients_fault ? Outcome::cancelled : Outcome::timeout, 0);
  if (response_started_) {
    abort();
    return;
  }
  leave_upstream(false);
  if (clients_fault) {
    reply(408, "http_request_error", "the whole request took longer than its limit");
  } else {
    reply(504, "http_response_timeout", "the whole request took longer than its limit");
  }
}

}  // namespace sluice::proxy
