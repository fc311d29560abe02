#include "proxy/listener.h"

#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "proxy/client_address.h"
#include "proxy/proxy_protocol_stream.h"
#include "proxy/tls_stream.h"

namespace sluice::proxy {

Listener::Listener(WorkerContext& context, ConnectionSet& connections,
                   std::shared_ptr<const ListenerTraits> traits, int fd, bool is_unix)
    : context_(context), connections_(connections), traits_(std::move(traits)), is_unix_(is_unix) {
  if (is_unix_) {
    uv_pipe_init(context.loop.uv(), &handle_.pipe, 0);
    uv_pipe_open(&handle_.pipe, fd);
  } else {
    uv_tcp_init(context.loop.uv(), &handle_.tcp);
    uv_tcp_open(&handle_.tcp, fd);
  }
  handle()->data = this;
}

void Listener::start() {
  constexpr int kBacklog = 4096;
  uv_listen(handle(), kBacklog, [](uv_stream_t* handle, int status) {
    Listener& self = *static_cast<Listener*>(handle->data);
    const Loop::Scope scope(self.context_.loop);
    if (status == 0) self.accept();
  });
}

// With every place taken the connection that libuv has accepted stays with it,
// and it accepts no other until this one is taken: the rest wait in the kernel.
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
    if (context_.paused_listeners++ > 0) return;
    context_.paused_since_us = context_.loop.now_us();
    places.set_oldest_waiter(context_.number, context_.paused_since_us);
    return;
  }
  if (--context_.paused_listeners == 0) places.set_oldest_waiter(context_.number, balancer::Cap::kNobody);
  places.wake_if_free();
}

void Listener::accept() {
  balancer::Permit place;
  if (!take_place(place)) return;
  auto stream = make_stream();
  if (stream->accept(handle()) != 0) {
    UvStream::discard(std::move(stream));
    return;
  }
  begin(std::move(stream), std::move(place));
}

std::unique_ptr<UvStream> Listener::make_stream() const {
  return std::make_unique<UvStream>(context_.loop,
                                    is_unix_ ? UvStream::Kind::unix_socket : UvStream::Kind::tcp);
}

void Listener::begin(std::unique_ptr<UvStream> accepted, balancer::Permit place) {
  if (traits_->tls != nullptr && !traits_->tls->has_room()) {
    traits_->tls->counters().count(TlsCounters::refused);
    UvStream::discard(std::move(accepted));
    return;
  }
  const sockaddr_storage peer = accepted->peer();
  std::unique_ptr<Stream> stream = std::move(accepted);
  std::string ip;
  bool trusted = false;
  if (peer.ss_family != AF_UNSPEC) {
    const ClientAddress address = ClientAddress::of(peer);
    ip = address.text();
    trusted = address.is_in(traits_->trusted);
  }
  // Who may connect to a unix socket is said by its mode.
  ProxyProtocolStream* greeting = nullptr;
  if (traits_->proxy_protocol && (trusted || is_unix_)) {
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

// Those in the kernel's queue count as connected, and may have asked already:
// they are served, since closing the socket would reset them.
void Listener::take_queue() {
  uv_os_fd_t fd = -1;
  if (uv_fileno(reinterpret_cast<uv_handle_t*>(handle()), &fd) != 0) return;
  if (paused_) accept();
  while (!paused_) {
    balancer::Permit place;
    if (!take_place(place)) return;
    const int client = accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return;
    auto stream = make_stream();
    if (stream->open(client) != 0) {
      ::close(client);
      UvStream::discard(std::move(stream));
      return;
    }
    begin(std::move(stream), std::move(place));
  }
}

void Listener::close(std::function<void(Listener*)> closed) {
  take_queue();
  set_paused(false);
  closed_ = std::move(closed);
  uv_close(reinterpret_cast<uv_handle_t*>(handle()), [](uv_handle_t* handle) {
    Listener* const self = static_cast<Listener*>(handle->data);
    self->closed_(self);
  });
}

}  // namespace sluice::proxy
