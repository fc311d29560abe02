#include "proxy/listener.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "proxy/tls_stream.h"
#include "proxy/uv_stream.h"

namespace sluice::proxy {
namespace {

// The address of a peer as text and as the octets that Network compares; an
// IPv4-mapped one is shown as the IPv4 address that it is.
struct PeerName {
  char text[INET6_ADDRSTRLEN] = {};
  uint8_t octets[16] = {};
};

PeerName name_of(const sockaddr_storage& peer) {
  PeerName name;
  constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (peer.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(peer);
    std::memcpy(name.octets, kMapped, sizeof(kMapped));
    std::memcpy(name.octets + 12, &v4.sin_addr, 4);
  } else {
    std::memcpy(name.octets, &reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr, 16);
  }
  if (std::memcmp(name.octets, kMapped, sizeof(kMapped)) == 0) {
    inet_ntop(AF_INET, name.octets + 12, name.text, sizeof(name.text));
  } else {
    inet_ntop(AF_INET6, name.octets, name.text, sizeof(name.text));
  }
  return name;
}

}  // namespace

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
  auto stream =
      std::make_unique<UvStream>(context_.loop, is_unix_ ? UvStream::Kind::unix_socket : UvStream::Kind::tcp);
  if (stream->accept(handle()) != 0) {
    UvStream::discard(std::move(stream));
    return;
  }
  const sockaddr_storage peer = stream->peer();
  std::string ip;
  bool trusted = false;
  if (peer.ss_family != AF_UNSPEC) {
    const PeerName name = name_of(peer);
    ip = name.text;
    trusted = std::any_of(traits_->trusted.begin(), traits_->trusted.end(),
                          [&](const conf::Network& network) { return network.contains(name.octets); });
  }
  if (traits_->tls == nullptr) {
    DownstreamConnection::start(context_, connections_, traits_, std::move(stream), std::move(ip), trusted);
    return;
  }
  if (!traits_->tls->has_room()) {
    traits_->tls->counters().count(TlsCounters::refused);
    UvStream::discard(std::move(stream));
    return;
  }
  auto secured = TlsStream::accept(context_.loop, std::move(stream), traits_->tls);
  DownstreamConnection::start(context_, connections_, traits_, std::move(secured), std::move(ip), trusted);
}

void Listener::close(std::function<void(Listener*)> closed) {
  closed_ = std::move(closed);
  uv_close(reinterpret_cast<uv_handle_t*>(handle()), [](uv_handle_t* handle) {
    Listener* const self = static_cast<Listener*>(handle->data);
    self->closed_(self);
  });
}

}  // namespace sluice::proxy
