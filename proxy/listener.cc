#include "proxy/listener.h"

#include <unistd.h>

#include <limits>
#include <utility>

#include "proxy/client_address.h"
#include "proxy/proxy_protocol_stream.h"
#include "proxy/tls_stream.h"

namespace sluice::proxy {

Listener::Listener(WorkerContext& context, ConnectionSet& connections,
                   std::shared_ptr<const ListenerTraits> traits, int fd, bool is_unix)
    : context_(context),
      connections_(connections),
      traits_(std::move(traits)),
      is_unix_(is_unix),
      socket_(context.loop, [this] { accept(socket_.waiting()); }) {
  socket_.adopt(fd);
  socket_.begin();
}

// Those in the kernel's queue count as connected, and may have asked already:
// they are served, since closing the socket would reset them.
Listener::~Listener() {
  accept(std::numeric_limits<size_t>::max());
  set_paused(false);
  if (held_ >= 0) close(held_);
}

// With every place taken the connection that was accepted waits here, and no
// other is accepted until it has a place: the rest wait in the kernel.
bool Listener::take_place(balancer::Permit& place) {
  if (context_.client_caps == nullptr) return true;
  place = balancer::Permit::try_acquire(
      context_.client_caps, paused_ ? context_.paused_since_us : balancer::Cap::kNobody - 1, nullptr);
  if (!place && !paused_) {
    set_paused(true);
    // A place may have become free before we were seen to wait.
    place = balancer::Permit::try_acquire(context_.client_caps, context_.paused_since_us, nullptr);
  }
  if (!place) return false;
  set_paused(false);
  return true;
}

void Listener::set_paused(bool paused) {
  if (paused == paused_) return;
  paused_ = paused;
  balancer::Cap& places = *context_.client_caps->front();
  if (paused) {
    socket_.pause();
    if (context_.paused_listeners++ > 0) return;
    context_.paused_since_us = context_.loop.now_us();
    places.set_oldest_waiter(context_.number, context_.paused_since_us);
    return;
  }
  socket_.begin();
  if (--context_.paused_listeners == 0) places.set_oldest_waiter(context_.number, balancer::Cap::kNobody);
  places.wake_if_free();
}

void Listener::accept(size_t most) {
  for (size_t i = 0; i < most; ++i) {
    if (held_ < 0) held_ = socket_.accept(&held_peer_);
    if (held_ < 0) return;
    balancer::Permit place;
    if (!take_place(place)) return;
    begin(std::exchange(held_, -1), held_peer_, std::move(place));
  }
}

void Listener::begin(int client, const sockaddr_storage& peer, balancer::Permit place) {
  auto accepted = UvStream::of_accepted(context_.loop,
                                        is_unix_ ? UvStream::Kind::unix_socket : UvStream::Kind::tcp, client);
  if (accepted == nullptr) return;
  if (traits_->tls != nullptr && !traits_->tls->has_room()) {
    traits_->tls->counters().count(TlsCounters::refused);
    UvStream::discard(std::move(accepted));
    return;
  }
  std::unique_ptr<Stream> stream = std::move(accepted);
  std::string ip;
  bool trusted = is_unix_;  // who may connect to a unix socket is said by its mode
  if (!is_unix_) {
    const ClientAddress address = ClientAddress::of(peer);
    ip = address.text();
    trusted = address.is_in(traits_->trusted);
  }
  ProxyProtocolStream* greeting = nullptr;
  if (traits_->proxy_protocol && trusted) {
    auto wrapped = std::make_unique<ProxyProtocolStream>(std::move(stream));
    greeting = wrapped.get();
    stream = std::move(wrapped);
  }
  if (traits_->tls != nullptr) stream = TlsStream::accept(context_.loop, std::move(stream), traits_->tls);
  DownstreamConnection& connection = DownstreamConnection::start(
      context_, connections_, traits_, std::move(stream), std::move(ip), trusted, std::move(place));
  if (greeting != nullptr) {
    greeting->on_source([&connection](const ClientAddress& source) { connection.set_client(source); });
  }
}

}  // namespace sluice::proxy
