#include "proxy/listener.h"

#include <utility>

#include "proxy/client_address.h"
#include "proxy/process_limits.h"
#include "proxy/proxy_protocol_stream.h"
#include "proxy/uv_stream.h"

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

void Listener::accept() {
  auto accepted =
      std::make_unique<UvStream>(context_.loop, is_unix_ ? UvStream::Kind::unix_socket : UvStream::Kind::tcp);
  const uint64_t most = uint64_t{context_.max_clients} + most_shed(context_.max_clients);
  if (accepted->accept(handle()) != 0 || context_.clients->load(std::memory_order_relaxed) >= most) {
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
  DownstreamConnection& connection =
      DownstreamConnection::start(context_, connections_, traits_, std::move(stream), std::move(ip), trusted);
  if (greeting != nullptr) {
    greeting->on_source([&connection](const ClientAddress& source) { connection.set_client(source); });
  }
}

void Listener::close(std::function<void(Listener*)> closed) {
  closed_ = std::move(closed);
  uv_close(reinterpret_cast<uv_handle_t*>(handle()), [](uv_handle_t* handle) {
    Listener* const self = static_cast<Listener*>(handle->data);
    self->closed_(self);
  });
}

}  // namespace sluice::proxy
