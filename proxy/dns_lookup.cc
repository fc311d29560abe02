#include "proxy/dns_lookup.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/time.h>

#include <algorithm>
#include <climits>
#include <cstdlib>

namespace sluice::proxy {

namespace {

int family_of(DnsLookup::Families families) {
  switch (families) {
    case DnsLookup::Families::ipv4:
      return AF_INET;
    case DnsLookup::Families::ipv6:
      return AF_INET6;
    case DnsLookup::Families::both:
      break;
  }
  return AF_UNSPEC;
}

}  // namespace

// A socket of c-ares, watched by libuv; c-ares opens and closes it.
struct DnsLookup::Socket {
  uv_poll_t poll{};
  ares_socket_t fd;
  DnsLookup* lookup;
};

DnsLookup::DnsLookup(Loop& loop, const Options& options, const std::string& name, Families families,
                     Deferred& done)
    : loop_(loop),
      families_(families),
      done_(done),
      timer_([](void* self) { static_cast<DnsLookup*>(self)->process(ARES_SOCKET_BAD, ARES_SOCKET_BAD); },
             this) {
  ares_options settings{};
  settings.timeout = options.timeout_ms;
  settings.tries = options.tries;
  settings.sock_state_cb = on_socket_state;
  settings.sock_state_cb_data = this;
  int given = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
  std::string resolv_conf = options.resolv_conf;  // c-ares wants it writable, and copies it
  if (!resolv_conf.empty()) {
    settings.resolvconf_path = resolv_conf.data();
    given |= ARES_OPT_RESOLVCONF;
  }
  int status = ares_init_options(&channel_, &settings, given);
  if (status == ARES_SUCCESS && !options.servers.empty()) {
    status = ares_set_servers_ports_csv(channel_, options.servers.c_str());
  }
  if (status != ARES_SUCCESS) {
    finish(status);
    return;
  }
  ares_addrinfo_hints hints{};
  // The hosts file may be named by CARES_HOSTS in the environment.
  hints.ai_flags = ARES_AI_NOSORT | ARES_AI_ENVHOSTS;
  hints.ai_family = family_of(families);
  ares_getaddrinfo(channel_, name.c_str(), nullptr, &hints, on_answer, this);
  arm_timer();
}

DnsLookup::~DnsLookup() {
  // Ends the question, if it still stands, and closes the sockets through
  // on_socket_state.
  if (channel_ != nullptr) ares_destroy(channel_);
}

void DnsLookup::on_socket_state(void* self, ares_socket_t fd, int readable, int writable) {
  const int events = (readable != 0 ? UV_READABLE : 0) | (writable != 0 ? UV_WRITABLE : 0);
  static_cast<DnsLookup*>(self)->watch_socket(fd, events);
}

// No events: c-ares is about to close the socket, so libuv must let go of it.
void DnsLookup::watch_socket(ares_socket_t fd, int events) {
  auto known = std::find_if(sockets_.begin(), sockets_.end(), [fd](const Socket* s) { return s->fd == fd; });
  if (known == sockets_.end()) {
    if (events == 0) return;
    auto* const socket = new Socket{{}, fd, this};
    if (uv_poll_init(loop_.uv(), &socket->poll, fd) != 0) {
      delete socket;  // the question fails when its time is over
      return;
    }
    socket->poll.data = socket;
    known = sockets_.insert(sockets_.end(), socket);
  }
  Socket* const socket = *known;
  if (events != 0) {
    uv_poll_start(&socket->poll, events, on_socket_event);
    return;
  }
  sockets_.erase(known);
  uv_close(reinterpret_cast<uv_handle_t*>(&socket->poll),
           [](uv_handle_t* handle) { delete static_cast<Socket*>(handle->data); });
}

void DnsLookup::on_socket_event(uv_poll_t* handle, int status, int events) {
  const Socket& socket = *static_cast<Socket*>(handle->data);
  DnsLookup& self = *socket.lookup;
  const Loop::Scope scope(self.loop_);
  // On an error c-ares finds out by trying.
  const bool readable = status != 0 || (events & UV_READABLE) != 0;
  const bool writable = status != 0 || (events & UV_WRITABLE) != 0;
  self.process(readable ? socket.fd : ARES_SOCKET_BAD, writable ? socket.fd : ARES_SOCKET_BAD);
}

void DnsLookup::process(ares_socket_t readable, ares_socket_t writable) {
  ares_process_fd(channel_, readable, writable);
  arm_timer();
}

void DnsLookup::arm_timer() {
  timeval buffer{};
  const timeval* const left = ares_timeout(channel_, nullptr, &buffer);
  if (finished_ || left == nullptr) {
    timer_.disarm();
    return;
  }
  const auto left_us = static_cast<uint64_t>(left->tv_sec) * 1'000'000 + static_cast<uint64_t>(left->tv_usec);
  loop_.arm(timer_, left_us / 1000 + 1);
}

void DnsLookup::on_answer(void* self, int status, int, ares_addrinfo* addresses) {
  if (status == ARES_EDESTRUCTION) return;  // by our destructor
  DnsLookup& lookup = *static_cast<DnsLookup*>(self);
  if (addresses != nullptr) {
    if (status == ARES_SUCCESS) lookup.read(*addresses);
    ares_freeaddrinfo(addresses);
  }
  lookup.finish(status);
}

void DnsLookup::read(const ares_addrinfo& addresses) {
  int ttl_s = INT_MAX;
  for (const auto* alias = addresses.cnames; alias != nullptr; alias = alias->next) {
    ttl_s = std::min(ttl_s, alias->ttl);
  }
  for (const auto* node = addresses.nodes; node != nullptr; node = node->ai_next) {
    char text[INET6_ADDRSTRLEN] = {};
    if (node->ai_family == AF_INET) {
      const auto* address = reinterpret_cast<const sockaddr_in*>(node->ai_addr);
      inet_ntop(AF_INET, &address->sin_addr, text, sizeof(text));
      answer_.ipv4.emplace_back(text);
    } else if (node->ai_family == AF_INET6) {
      const auto* address = reinterpret_cast<const sockaddr_in6*>(node->ai_addr);
      inet_ntop(AF_INET6, &address->sin6_addr, text, sizeof(text));
      answer_.ipv6.emplace_back(text);
    }
    ttl_s = std::min(ttl_s, node->ai_ttl);
  }
  // With its highest bit set a TTL counts as 0 (RFC 2181, 8).
  answer_.ttl_s = static_cast<uint64_t>(std::max(ttl_s, 0));
}

void DnsLookup::finish(int status) {
  finished_ = true;
  switch (status) {
    case ARES_SUCCESS:
      answer_.kind = Answer::Kind::found;
      break;
    case ARES_ENOTFOUND:
      answer_.kind = Answer::Kind::absent;
      answer_.problem = "the name does not exist";
      break;
    case ARES_ENODATA:
      answer_.kind = Answer::Kind::absent;
      answer_.problem = "the name has no address";
      break;
    default:
      answer_.kind = Answer::Kind::failed;
      answer_.problem = ares_strerror(status);
  }
  loop_.defer(done_);
}

}  // namespace sluice::proxy
