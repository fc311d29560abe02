// DownstreamConnection: one client.
//
//   accepted --> waiting for a head --> exchange --> waiting ... --> lingering --> closed
//
// It drives its codec (proxy/codec.h) event by event and holds the exchanges
// that it began; HTTP/1 has one at most, and what a client sends ahead of its
// turn waits in the stash, up to kMostAhead octets, then reading stops, and the
// socket is asked every kWatchMs whether the client is still there. A client that
// does not read its answers gets no further ones.
//
// An end that the client may not have seen coming is lingering: we say that we
// are done, then read and throw away what still comes for a moment, since a
// close with unread input would destroy the answer on its way (RFC 9112, 9.6).
//
// Owner: the listener's worker (ConnectionSet); destroyed when its stream has
// closed. Thread: the worker's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proxy/byte_queue.h"
#include "proxy/client_address.h"
#include "proxy/downstream.h"
#include "proxy/exchange.h"
#include "proxy/stream.h"
#include "proxy/worker_context.h"

namespace sluice::proxy {

class DownstreamConnection;

// All client connections of a worker.
class ConnectionSet {
 public:
  ConnectionSet() = default;
  ConnectionSet(const ConnectionSet&) = delete;
  ConnectionSet& operator=(const ConnectionSet&) = delete;
  ~ConnectionSet();

  size_t size() const { return size_; }
  // Each ends with its next response, or when none is asked for any more.
  void drain();
  void close_all();
  template <typename Visit>
  void for_each(Visit visit) const;

 private:
  friend class DownstreamConnection;
  DownstreamConnection* first_ = nullptr;
  size_t size_ = 0;
};

class TlsServerContext;

// What a connection inherits from the listener that accepted it.
struct ListenerTraits {
  std::vector<conf::Network> trusted;
  bool proxy_protocol = false;                  // trusted peers say first whose connection it is
  std::shared_ptr<const TlsServerContext> tls;  // null: plain
};

class DownstreamConnection final : public Downstream, public Stream::Handler {
 public:
  static constexpr size_t kMostAhead = 64 * 1024;
  static constexpr uint64_t kLingerMs = 1000;
  // An idle client of a process that drains may be about to ask: so long it is
  // waited for, and its answer says that it is the last.
  static constexpr uint64_t kDrainIdleMs = 1000;
  // One client too many has so long to ask and to be told so.
  static constexpr uint64_t kShedMs = 1000;
  static constexpr uint64_t kWatchMs = 200;

  // The connection owns itself from here on, as part of `set`.
  static DownstreamConnection& start(WorkerContext& context, ConnectionSet& set,
                                     std::shared_ptr<const ListenerTraits> traits,
                                     std::unique_ptr<Stream> stream, std::string client_ip, bool trusted,
                                     balancer::Permit place = {});
  ~DownstreamConnection() override;

  // Whose connection the peer passes on; before the first octet of a request.
  void set_client(const ClientAddress& client);
  void drain();
  // At once, the exchange too.
  void gone();
  const Exchange* exchange() const { return exchange_; }
  uint64_t since_us() const { return since_us_; }
  uint64_t requests() const { return requests_; }

  DownstreamCodec& codec() override { return codec_; }
  Outbox& out() override { return out_; }
  size_t pending() const override { return stream_->pending(); }
  void resume_body() override { context_.loop.defer(resume_); }
  void exchange_finished(StreamId stream, bool last, uint32_t idle_ms) override;
  void exchange_aborted(StreamId stream, bool ends_by_close) override;
  void watch_drain() override {
    drain_wanted_ = true;
    await();
  }
  void begin_tunnel(StreamId stream) override;
  void end_tunnel_output() override;
  std::string_view client_ip() const override { return client_ip_; }
  bool trusted() const override { return trusted_; }
  bool secure() const override { return traits_->tls != nullptr; }
  const PeerCertificate* client_certificate() const override { return client_certificate_; }

  void on_connected(int error) override;
  void on_read(char* data, size_t size) override;
  void on_read_end() override;
  void on_stream_error(int error) override;
  void on_drained() override;
  void on_stream_closed() override;

 private:
  friend class ConnectionSet;
  enum class Waiting : uint8_t { nothing, head, idle, body, drain, linger, upstream };

  DownstreamConnection(WorkerContext& context, ConnectionSet& set,
                       std::shared_ptr<const ListenerTraits> traits, std::unique_ptr<Stream> stream,
                       std::string client_ip, bool trusted, balancer::Permit place);

  void pump(Input& input);
  void on_bad();
  void refuse(const Problem& problem, bool head_only = false);
  void answer_bad(const Problem& problem, bool head_only = false);
  void resume();
  void settle(bool from_stash, const Input& input);
  void await();
  void expect(Waiting what, uint64_t delay_ms);
  void expect_progress(Waiting what);
  bool is_behind() const;
  // Octets that the kernel took, but for what TLS adds to those that wait.
  int64_t taken() const {
    return static_cast<int64_t>(out_.bytes()) - static_cast<int64_t>(stream_->pending());
  }
  void expect_first_head();
  void on_deadline();
  void end();
  void tell_half_close();
  bool has_left() const;
  void close();

  WorkerContext& context_;
  ConnectionSet& set_;
  const std::shared_ptr<const ListenerTraits> traits_;
  const balancer::Permit place_;  // among the clients of the process
  std::unique_ptr<Stream> stream_;
  H1DownstreamCodec codec_;
  Outbox out_;
  ByteQueue stash_;
  Timer timer_;
  Deferred resume_;
  Exchange* exchange_ = nullptr;
  std::string client_ip_;
  const PeerCertificate* client_certificate_ = nullptr;  // the stream's
  const uint64_t since_us_;
  uint64_t requests_ = 0;
  int64_t taken_at_check_ = 0;
  uint32_t idle_ms_ = 0;  // as the service of the latest request says; 0: none is known
  Waiting waiting_ = Waiting::nothing;
  bool trusted_;
  bool read_ended_ = false;
  bool end_told_ = false;      // the exchange knows that
  bool drain_wanted_ = false;  // the upstream is paused until pending output is little
  bool shed_ = false;          // one too many: its first request is refused
  bool draining_ = false;      // the next response is the last
  bool last_ = false;          // serve no further request
  bool unclean_ = false;       // the client may be sending what nobody will read
  bool lingering_ = false;
  bool closed_ = false;
  DownstreamConnection* next_ = nullptr;
  DownstreamConnection* previous_ = nullptr;
};

template <typename Visit>
void ConnectionSet::for_each(Visit visit) const {
  for (DownstreamConnection* one = first_; one != nullptr;) {
    DownstreamConnection* const next = one->next_;
    visit(*one);
    one = next;
  }
}

}  // namespace sluice::proxy
