// Exchange: one request and its response, from the head that arrived to the
// last octet that left.
//
//             +-> queued --+
//   begin() --+            +-> connecting -> streaming -> finish()
//             +------------+       |  ^          |
//                    retry, rescue +--+----------+  before the response's head
//                                                   has gone down
//
// It is the only object that knows both sides, so whatever concerns both lives
// here and nowhere else: which upstream, another attempt, what is told to the
// client when there is none, back-pressure, and what is counted. finish() runs
// exactly once for each begin(): it gives the upstream connection back, counts,
// logs and tells the downstream connection.
//
// An exchange is taken from the worker's free list and goes back to it; its
// buffers keep their memory. Its own copy of the request's head, and of the
// first kReplayBytes of its body, make another attempt possible.
//
// Thread: the worker's.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/codec.h"
#include "proxy/downstream.h"
#include "proxy/request_id.h"
#include "proxy/upstream_pool.h"

namespace sluice::proxy {

struct SessionInfo;

class Exchange {
 public:
  static constexpr size_t kReplayBytes = 64 * 1024;
  static constexpr size_t kKeptReplayBytes = 4 * 1024;  // capacity kept when it is free
  static constexpr uint32_t kMostAttempts = 8;

  explicit Exchange(WorkerContext& context);
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // Takes the head that `codec` holds and starts. Everything that follows may
  // already happen within this call, finish() too.
  void begin(Downstream& downstream, StreamId stream);

  // From the downstream side.
  // May the next event of the request (octets of its body, its end) be given?
  bool accepts_input() const;
  bool expects_more_body() const;
  bool request_outstanding() const { return !request_complete_ && expects_more_body(); }
  // Does the client owe us its body now? Not while it waits for a 100.
  uint32_t client_body_ms() const { return conf().timeouts.client_body_ms; }  // while it awaits one
  bool awaits_body() const {
    return phase_ == Phase::streaming && request_outstanding() && !awaits_continue_;
  }
  // Would more be taken, if there were room?
  bool wants_input() const { return phase_ == Phase::tunnel || request_outstanding(); }
  bool may_be_repeated() const { return is_idempotent(head_.method); }
  // Has it met a kept connection whose peer had left?
  bool wants_fresh() const { return fresh_only_; }
  // Where its attempts so far were.
  std::span<const PooledEndpoint* const> tried() const;
  bool has_tried(const PooledEndpoint& endpoint) const;
  bool waits_for_a_place() const { return phase_ == Phase::queued; }
  bool blocked_on_upstream() const { return phase_ >= Phase::streaming && !accepts_input(); }
  void on_request_data(const char* data, size_t size);
  // The body waits for the upstream to take what it was given.
  void watch_upstream();
  void on_request_end(Fields* trailers);
  void on_bad_request(const Problem& problem);  // in the middle of its body
  void on_downstream_drained();
  void on_downstream_gone();         // it is broken, or the request never ended
  void on_downstream_timeout();      // the body stopped arriving
  bool on_downstream_half_closed();  // nothing more will come; false: give it up

  // From the upstream side.
  void on_connected();
  void on_response();
  void on_response_data(const char* data, size_t size);
  void on_response_end(Fields* trailers);
  void on_upstream_failed(const UpstreamFailure& failure);
  void on_upstream_drained();
  size_t downstream_pending() const { return downstream_->pending(); }
  void on_upstream_paused() { downstream_->watch_drain(); }

  // From the pool, while queued: a place, or a connection of this worker.
  void on_place(balancer::Permit permit);
  void on_connection(UpstreamConnection& connection);
  void redirect();  // the upstream was left, begin elsewhere
  uint64_t waiting_since_us() const { return waiting_since_us_; }

  void describe(SessionInfo& info, uint64_t now_us) const;

 private:
  friend class UpstreamPool;
  enum class Phase : uint8_t { free, starting, queued, connecting, streaming, tunnel };

  // exchange.cc: the course of things.
  void prepare_head();
  void join_trace(std::string_view traceparent);
  void trace_attempt();
  void route();
  void sample();
  void attempt();
  void use(UpstreamConnection& connection);
  void send_request();
  void end_continue();
  void write_body(const char* data, size_t size);
  void end_body(const Fields* trailers);
  void forward_response(const ResponseHead& head);
  void settle_attempt(balancer::Outcome outcome, uint16_t status);
  void leave_upstream(bool complete);
  void end_tunnel_direction();
  void finish(bool last);
  void abort();
  void log() const;

  // exchange_queue.cc: waiting for a place.
  void enqueue(balancer::Cap* blocking);
  void left_queue();

  // exchange_colour.cc: blue or green.
  conf::Colour choose_colour();
  bool read_sticky_key(std::string_view& key) const;
  bool is_latched() const;
  void mind_the_latch();
  void become(conf::Colour colour);

  // exchange_deadline.cc: what to do when time passes, and whose time it was.
  void on_deadline();
  void arm_deadline();
  uint64_t asked_us() const;
  bool is_late() const;
  bool waits_for_client() const;

  // exchange_failure.cc: what to do when an attempt fails.
  bool try_again(const UpstreamFailure& failure, uint16_t status);
  bool may_replay() const;
  // May the end of a kept-alive connection be nobody's failure?
  bool forgives_stale() const;
  // What was said as a request was on its way has arrived by then.
  static constexpr uint64_t kSaidBeforeUs = 1'000'000;
  bool answers_the_silence_before() const;
  void begin_on_fresh();
  bool retry_permitted(const UpstreamFailure& failure, uint16_t status) const;
  bool rescue_permitted(uint16_t status) const;
  void restart(conf::Colour colour);
  void answer_failure(const UpstreamFailure& failure);

  // exchange_reply.cc: what the proxy says itself, and adds to what it passes on.
  void refuse(balancer::Refusal refusal, uint16_t status, const char* error, const char* detail);
  enum class Then : uint8_t { serve, close };
  // The seconds after which to ask again after a 503 of ours: a place may be free
  // soon, maintenance takes its time.
  static constexpr const char* kRetrySoon = "1";
  static constexpr const char* kRetryLater = "60";
  void reply(uint16_t status, const char* error, const char* detail, Then then = Then::serve,
             const char* retry_after_s = kRetrySoon);
  void reply_maintenance();
  void reply_options();
  void add_forwarding_fields(AddedFields& added);
  std::string_view request_id() const;

  balancer::UpstreamStats& stats() const { return pool_->stats(); }
  const conf::Service& conf() const { return service_->plan->conf; }

  WorkerContext& context_;
  Downstream* downstream_ = nullptr;
  StreamId stream_ = 0;
  WorkerPlan* plan_ = nullptr;
  const WorkerPlan::Service* service_ = nullptr;
  UpstreamPool* pool_ = nullptr;
  UpstreamConnection* upstream_ = nullptr;
  Timer deadline_;

  RequestHead head_;
  std::vector<char> replay_;  // the body so far, while it is small enough
  Fields trailers_;           // of a body that is kept
  bool has_trailers_ = false;
  std::string forwarded_for_;  // built for the added fields
  char made_request_id_[kRequestIdBytes];
  bool has_request_id_ = false;  // the client's is passed on
  bool traced_ = false;          // trace_ and traceparent_ are of this request
  TraceContext trace_;
  char traceparent_[TraceContext::kTextBytes] = {};  // what the upstream is sent: the attempt's span
  std::vector<AttemptRecord> traced_attempts_;       // of a sampled trace

  Phase phase_ = Phase::free;
  conf::Colour colour_ = conf::Colour::blue;
  bool request_complete_ = false;
  bool replay_lost_ = false;       // more body came than is kept
  bool response_started_ = false;  // its head went down
  bool attempt_settled_ = true;
  bool fresh_only_ = false;
  bool stale_retried_ = false;
  bool is_retry_ = false;
  bool is_rescue_ = false;
  bool by_lot_ = false;        // the split chose the colour, and nothing else
  uint64_t answered_us_ = 0;   // of a tunnel: when it began
  bool interim_sent_ = false;  // something of a response has gone down: no other attempt's may follow
  bool tells_who_ = false;     // the client asked for a colour: the answer says whose it is
  bool counted_ = false;       // in the pool's `active`
  bool in_queue_ = false;
  bool awaits_continue_ = false;    // the upstream owes a 100 or an answer before the body comes
  bool aborted_ = false;            // the client did not get a complete answer
  bool last_ = false;               // the connection ends with this response
  bool tunnel_half_ended_ = false;  // by its client or its upstream
  bool by_close_ = false;           // and that is how the client sees its end
  bool downstream_gone_ = false;    // nobody to tell that it is finished
  uint16_t status_ = 0;
  const char* error_ = "";
  const char* error_detail_ = "";
  uint32_t attempts_ = 0;  // begun
  uint32_t retries_ = 0;
  const PooledEndpoint* tried_[kMostAttempts];
  balancer::Outcome outcomes_[kMostAttempts];
  PooledEndpoint* endpoint_ = nullptr;  // during an attempt
  std::string endpoint_name_;           // of the last attempt
  uint64_t generation_ = 0;

  uint64_t started_us_ = 0;
  uint64_t attempt_us_ = 0;
  uint64_t complete_us_ = 0;       // all of the request had come
  uint64_t waiting_since_us_ = 0;  // for the first time, at upstreams of colour_; 0: not yet
  uint64_t queued_us_ = 0;         // when the wait under way began
  uint64_t waited_us_ = 0;         // at upstreams of colour_, before that
  uint64_t queue_us_ = 0;          // all together
  uint64_t connect_us_ = 0;
  uint64_t first_byte_us_ = 0;
  uint64_t body_bytes_ = 0;
  uint64_t response_bytes_ = 0;

  Exchange* next_waiter_ = nullptr;  // for the pool's queue
  Exchange* previous_waiter_ = nullptr;
};

}  // namespace sluice::proxy
