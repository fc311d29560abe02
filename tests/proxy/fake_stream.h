// FakeStream: a Stream whose other end is a test, and FakeDialer, which hands
// such streams out.
//
//   Peer                FakeStream               what is tested
//   send() -----------> incoming --on_read()---> handler
//   received <--room--- pending  <---write()----
//
// A test holds the Peer, which outlives its stream. Nothing is delivered from
// within a call of the stream: FakeNetwork::step() does that later, one event
// at a time, as a loop would, in memory that is overwritten afterwards; so a
// view that is kept too long, a call from within a call and a use after close
// show themselves (the last under the address sanitizer).
//
// As with sockets: an end that was read is read again when reading starts
// again, a write after the end of the output fails, and what is pending when
// the stream is closed is lost. What is held for the end does not arrive before it, and
// an end that does not follow at once aborts the test.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/dialer.h"
#include "proxy/loop.h"
#include "proxy/stream.h"

namespace sluice::proxy::test {

class FakeStream;

// The far end.
class Peer {
 public:
  static constexpr size_t kAll = ~size_t{0};

  // What it sends, delivered in reads of at most `read_size` octets.
  void send(std::string_view text) { incoming_ += text; }
  void end() { end_ = true; }               // after what was sent
  void fail(int error) { error_ = error; }  // likewise: a reset, a timeout
  size_t read_size = kAll;

  // How many octets it lets in from now on; what is above waits in the stream.
  void set_room(size_t octets) { room_ = octets; }
  // Lets `octets` of what waits, or comes, in.
  void take(size_t octets) { room_ = room_ >= kAll - octets ? kAll : room_ + octets; }

  const std::string& received() const { return received_; }
  // What was received since the last call.
  std::string take_received() { return std::exchange(received_, {}); }
  // Forgets the first `size` octets of it.
  void forget(size_t size) { received_.erase(0, size); }
  bool saw_end() const { return saw_end_; }    // the stream shut its output, all of it has come
  bool was_closed() const { return closed_; }  // the stream was closed, one way or the other
  bool was_reset() const { return reset_; }
  bool alive() const { return stream_ != nullptr; }  // false once the stream is destroyed
  bool open() const { return stream_ != nullptr && !closed_; }
  size_t unread() const { return incoming_.size(); }
  size_t pending() const { return pending_.size(); }
  size_t most_pending() const { return most_pending_; }
  bool reading() const { return reading_; }
  bool held_for_end() const { return holding_; }     // the stream was told that the end follows
  const std::string& name() const { return name_; }  // of a dialled stream: the endpoint

  // For dialled streams: how the attempt ends.
  void connect(int error = 0) {
    connect_result_ = error;
    answered_ = true;
  }

 private:
  friend class FakeStream;
  friend class FakeNetwork;
  friend class FakeDialer;

  std::string name_;
  std::string incoming_;
  std::string received_;
  std::string held_;
  std::string pending_;
  FakeStream* stream_ = nullptr;
  size_t room_ = kAll;
  size_t most_pending_ = 0;
  int error_ = 0;
  int write_error_ = 0;
  int connect_result_ = 0;
  bool write_error_told_ = false;
  bool answered_ = false;
  bool connected_ = true;
  bool end_ = false;
  bool saw_end_ = false;
  bool shutdown_wanted_ = false;
  bool above_low_ = false;
  bool reading_ = false;
  bool holding_ = false;
  bool closed_ = false;
  bool reset_ = false;
};

// All fake streams of a test and what is to be delivered to them.
class FakeNetwork {
 public:
  explicit FakeNetwork(Loop& loop) : loop_(loop) {}
  FakeNetwork(const FakeNetwork&) = delete;
  FakeNetwork& operator=(const FakeNetwork&) = delete;

  // A stream and its far end. Only the stream keeps the network busy.
  std::unique_ptr<Stream> make(std::shared_ptr<Peer>& peer);

  // Delivers the next event of each stream that has one; false: nothing left.
  // Deferred work of the loop runs after each.
  bool step();
  // Until nothing is left.
  void run() {
    while (step()) {
    }
  }
  size_t streams() const { return peers_.size(); }

 private:
  friend class FakeStream;
  void run_deferred();
  bool deliver(Peer& peer);
  bool deliver_room(Peer& peer);
  bool deliver_read(Peer& peer);

  Loop& loop_;
  std::vector<std::shared_ptr<Peer>> peers_;  // whose stream is not destroyed
};

class FakeStream final : public Stream {
 public:
  FakeStream(FakeNetwork& network, std::shared_ptr<Peer> peer);
  ~FakeStream() override;

  void start_reading() override;
  void stop_reading() override;
  void write(const iovec* slices, int count) override;
  size_t pending() const override { return peer_->pending_.size(); }
  void hold_for_end() override { peer_->holding_ = true; }
  void shutdown_write() override;
  void close() override;
  void reset() override;
  bool has_news() const override { return !peer_->incoming_.empty() || peer_->end_ || peer_->error_ != 0; }
  FarEnd far_end() const override {
    return peer_->error_ != 0 ? FarEnd::gone : peer_->end_ ? FarEnd::ended : FarEnd::open;
  }

 private:
  friend class FakeNetwork;
  void let_go_held() { peer_->received_ += std::exchange(peer_->held_, {}); }

  FakeNetwork& network_;
  const std::shared_ptr<Peer> peer_;
};

class FakeDialer final : public Dialer {
 public:
  explicit FakeDialer(FakeNetwork& network) : network_(network) {}
  std::unique_ptr<Stream> dial(const balancer::EndpointState& endpoint, Stream::Handler* handler) override;

  bool connects = true;  // false: each attempt waits for Peer::connect()
  // All that were ever dialled, in order.
  std::vector<std::shared_ptr<Peer>> dialled;

 private:
  FakeNetwork& network_;
};

}  // namespace sluice::proxy::test
