#include "proxy/worker.h"

#include <pthread.h>

#include <cstdlib>
#include <utility>

#include "proxy/exchange.h"
#include "proxy/uv_stream.h"

namespace sluice::proxy {

std::unique_ptr<Stream> Worker::SocketDialer::dial(const balancer::EndpointState& endpoint,
                                                   Stream::Handler* handler) {
  const conf::Address& address = endpoint.address();
  auto stream = std::make_unique<UvStream>(loop_, address.kind == conf::Address::Kind::unix_socket
                                                      ? UvStream::Kind::unix_socket
                                                      : UvStream::Kind::tcp);
  stream->set_handler(handler);
  stream->connect(address);
  return stream;
}

Worker::Worker(uint32_t number, uint64_t seed, Reporter& reporter, std::atomic<uint32_t>& queued,
               std::atomic<uint32_t>& clients)
    : loop_(seed), mailbox_(loop_), dialer_(loop_), context_(loop_, number, dialer_, reporter) {
  context_.queued = &queued;
  context_.clients = &clients;
  if (uv_async_init(loop_.uv(), &caps_async_, [](uv_async_t* handle) {
        Worker& self = *static_cast<Worker*>(handle->data);
        const Loop::Scope scope(self.loop_);
        self.context_.serve_caps();
        for (const OwnListener& one : self.listeners_) one.listener->resume();
      }) != 0) {
    std::abort();
  }
  caps_async_.data = this;
  // Before each wait: what others want to know about us.
  uv_prepare_init(loop_.uv(), &prepare_);
  prepare_.data = this;
  uv_prepare_start(&prepare_,
                   [](uv_prepare_t* handle) { static_cast<Worker*>(handle->data)->note_connections(); });
}

Worker::~Worker() = default;

void Worker::note_connections() {
  connection_count_.store(static_cast<uint32_t>(connections_.size()), std::memory_order_relaxed);
  context_.reporter.turn_ended(loop_.now_us());
  if (on_empty_ && connections_.size() == 0) std::exchange(on_empty_, nullptr)();
}

void Worker::start() {
  thread_ = std::thread([this] { run(); });
}

void Worker::join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::run() {
  const std::string name = "worker-" + std::to_string(context_.number);
  pthread_setname_np(pthread_self(), name.c_str());
  loop_.run();
  if (loop_.close() != 0) std::abort();  // a handle was left open: a bug of ours
}

void Worker::adopt(std::shared_ptr<const balancer::Plan> plan, const conf::Overload& overload) {
  context_.max_queued = overload.max_queued;
  context_.max_clients = overload.max_connections == 0 ? UINT32_MAX : overload.max_connections;
  context_.adopt(std::move(plan));
}

void Worker::add_listener(uint64_t id, std::shared_ptr<const ListenerTraits> traits, int fd, bool is_unix) {
  listeners_.push_back(
      {id, std::make_unique<Listener>(context_, connections_, std::move(traits), fd, is_unix)});
}

void Worker::set_listener_traits(uint64_t id, const std::shared_ptr<const ListenerTraits>& traits) {
  for (const OwnListener& one : listeners_) {
    if (one.id == id) one.listener->set_traits(traits);
  }
}

void Worker::remove_listener(uint64_t id) {
  std::erase_if(listeners_, [id](const OwnListener& one) { return one.id == id; });
}

std::vector<SessionInfo> Worker::sessions() const {
  std::vector<SessionInfo> result;
  const uint64_t now_us = loop_.now_us();
  connections_.for_each([&](const DownstreamConnection& one) {
    SessionInfo info;
    info.worker = context_.number;
    info.client = one.client_ip();
    info.age_us = now_us - one.since_us();
    info.requests = one.requests();
    info.state = "idle";
    if (one.exchange() != nullptr) {
      info.active = true;
      one.exchange()->describe(info, now_us);
    }
    result.push_back(std::move(info));
  });
  return result;
}

void Worker::begin_drain(std::function<void()> empty) {
  on_empty_ = std::move(empty);
  while (!listeners_.empty()) remove_listener(listeners_.front().id);
  context_.begin_drain();
  connections_.drain();
}

void Worker::close_all() {
  begin_drain(nullptr);
  connections_.close_all();
  context_.close_all();
}

void Worker::stop() {
  mailbox_.close();
  uv_close(reinterpret_cast<uv_handle_t*>(&caps_async_), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&prepare_), nullptr);
  loop_.stop();
}

}  // namespace sluice::proxy
