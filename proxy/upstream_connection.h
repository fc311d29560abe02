// UpstreamConnection: one connection to one endpoint.
//
//   connecting --> busy <--> idle --> closing --> (destroyed)
//        \-----------\-----------------/
//
// Busy it belongs to one exchange and tells it what arrives; idle it lies in
// its pool; closing it has said that it will send no more and waits for the
// peer to say the same, so that the place under the caps is given back only
// when the peer has let go too: that is what makes a cap exact as the origin
// counts. A peer that owes no answer has kCloseWaitMs for that, which a busy one
// may need and a healthy one does not. One that does,
// because its client left or its time was up, may still be at work: it has
// UpstreamPool::let_go_ms(), for as long as it does not send more than
// kMostUnwanted of an answer that nobody wants. Then the connection is reset,
// which a peer notices when it next reads or writes.
//
// The pool owns it; it is destroyed when its stream has closed. Thread: the
// worker's.
#pragma once

#include <memory>

#include "balancer/permit.h"
#include "proxy/byte_queue.h"
#include "proxy/h1_upstream_codec.h"
#include "proxy/outbox.h"
#include "proxy/stream.h"
#include "proxy/worker_context.h"

namespace sluice::proxy {

class UpstreamPool;
struct PooledEndpoint;

// Why an attempt came to nothing.
struct UpstreamFailure {
  balancer::Outcome outcome = balancer::Outcome::reset;
  const char* error = "connection_terminated";  // Proxy-Status type
  const char* detail = "";
  uint16_t status = 502;
  // The peer closed a kept-alive connection before it can have read anything.
  bool stale = false;
  // It was for want of our own descriptors or ports: the peer was never asked.
  bool ours = false;
};

class UpstreamConnection final : public Stream::Handler {
 public:
  // Less than queue_timeout is by default, so that whoever waits for the place of a
  // connection that is slow to end gets it in time.
  static constexpr uint64_t kCloseWaitMs = 400;
  static constexpr size_t kMostUnwanted = 256 * 1024;

  UpstreamConnection(WorkerContext& context, UpstreamPool& pool, PooledEndpoint& endpoint,
                     balancer::Permit permit);
  ~UpstreamConnection() override;

  void dial(Exchange* exchange, uint32_t connect_timeout_ms);
  // An idle connection becomes the exchange's.
  void attach(Exchange* exchange);

  // For the exchange that it belongs to.
  UpstreamCodec& codec() { return codec_; }
  Outbox& out() { return out_; }
  size_t pending() const { return stream_->pending(); }
  bool connected() const { return state_ == State::busy; }
  // A tunnel's client has ended its direction.
  void end_output();
  // May its peer have left, though we have not been told? What lies unread while no
  // answer is owed is most likely its farewell: a close_notify, or an answer by 408,
  // and the end behind it can't be seen. A ticket of TLS 1.3 looks the same, and
  // costs no more than a connection that is made anew.
  bool peer_may_have_left() const { return stream_->has_news(); }
  bool reused() const { return requests_ > 0; }
  bool answered() const { return answered_; }  // any octet of the response came
  void pause_reading();
  void resume_reading();
  // Replaces the deadline until which the peer must do something.
  void expect_within(uint64_t delay_ms, const char* error);
  void expect_nothing() { timer_.disarm(); }
  // The exchange is through with it: back to the pool, or closed.
  void release();
  // The exchange gives it up in the middle of a response.
  void abandon();

  PooledEndpoint& endpoint() { return endpoint_; }
  const balancer::Permit& permit() const { return permit_; }
  uint32_t terms() const { return terms_; }  // the pool's, as of dial()

  // For the pool.
  void become_idle(uint32_t idle_timeout_ms);
  void close();  // at once
  void end();    // in order, when no answer is owed; see above
  bool idle() const { return state_ == State::idle; }

  void on_connected(int error) override;
  void on_read(char* data, size_t size) override;
  void on_read_end() override;
  void on_stream_error(int error) override;
  void on_drained() override;
  void on_stream_closed() override;

 private:
  friend class UpstreamPool;
  enum class State : uint8_t { connecting, busy, idle, ending, closed };

  void process(Input& input);
  void end_within(uint64_t wait_ms);
  void count_leaving(int32_t delta);
  bool client_is_full() const;
  void on_deadline();
  enum class Peer : uint8_t { there, gone };
  void fail(const UpstreamFailure& failure, Peer peer = Peer::gone);

  WorkerContext& context_;
  UpstreamPool& pool_;
  PooledEndpoint& endpoint_;
  balancer::Permit permit_;
  std::unique_ptr<Stream> stream_;
  H1UpstreamCodec codec_;
  Outbox out_;
  ByteQueue stash_;
  Timer timer_;
  Exchange* exchange_ = nullptr;
  const char* deadline_error_ = "";
  State state_ = State::connecting;
  bool read_ended_ = false;  // the peer's direction; a tunnel's other one may go on
  bool answered_ = false;
  bool leaves_ = false;  // ended while it was idle, and has its places still
  uint32_t terms_ = 0;
  uint32_t requests_ = 0;
  size_t unwanted_ = 0;  // octets that came while it was ending
  UpstreamConnection* next_idle_ = nullptr;
  UpstreamConnection* previous_idle_ = nullptr;
};

}  // namespace sluice::proxy
