// The listening sockets, from whom they come and who has them.
#include <algorithm>
#include <map>
#include <utility>

#include "proxy/control.h"
#include "proxy/listen_socket.h"

namespace sluice::proxy {

// Addresses with port 0 may occur several times; the order tells them apart.
std::string Control::name_for(const conf::Address& bind, size_t nth) {
  return "listener " + bind.to_string() + " " + std::to_string(nth);
}

std::vector<NamedSockets> Control::named_listeners() const {
  std::vector<NamedSockets> named;
  std::map<std::string, size_t> seen;
  for (const OpenListener& one : listeners_) {
    named.push_back({name_for(one.conf.bind, seen[one.conf.bind.to_string()]++), one.fds});
  }
  return named;
}

// A predecessor's sockets, or new ones.
conf::Status Control::open_listener(const conf::Listener& listener) {
  const auto nth =
      static_cast<size_t>(std::count_if(listeners_.begin(), listeners_.end(), [&](const OpenListener& one) {
        return one.conf.bind == listener.bind;
      }));
  const bool port_is_ours = std::any_of(listeners_.begin(), listeners_.end(), [&](const OpenListener& one) {
    return one.conf.bind.kind != conf::Address::Kind::unix_socket && one.address.port == listener.bind.port;
  });
  std::vector<int> inherited = inheritance_.claim(name_for(listener.bind, nth));
  if (inherited.empty()) inherited = inheritance_.claim_activated(listener.bind);
  conf::Result<ListenSockets> sockets =
      inherited.empty() ? open_listen_sockets(listener.bind, planned_workers(),
                                              port_is_ours ? PortUse::beside_our_own : PortUse::alone)
                        : adopt_listen_sockets(std::move(inherited), listener.bind, planned_workers());
  if (!sockets.ok()) return sockets.error();
  const bool is_unix = listener.bind.kind == conf::Address::Kind::unix_socket;
  listeners_.push_back({next_listener_++, listener, sockets->address, std::move(sockets->fds),
                        is_unix ? UnixPath::of(listener.bind.host) : UnixPath{}});
  if (accepting_) give_to_workers(listeners_.back());
  return conf::Done{};
}

void Control::give_to_workers(const OpenListener& listener) {
  const std::shared_ptr<const ListenerTraits> traits = traits_of(listener.conf);
  const bool is_unix = listener.conf.bind.kind == conf::Address::Kind::unix_socket;
  for (size_t i = 0; i < listener.fds.size(); ++i) {
    Worker* const worker = workers_[i % workers_.size()].get();
    worker->post([worker, id = listener.id, traits, fd = listener.fds[i], is_unix] {
      worker->add_listener(id, traits, fd, is_unix);
    });
  }
}

void Control::close_listener(uint64_t id) {
  for (const auto& worker : workers_) {
    worker->post([one = worker.get(), id] { one->remove_listener(id); });
  }
  for (OpenListener& one : listeners_) {
    if (one.id == id) remove_path(one);
  }
  std::erase_if(listeners_, [id](const OpenListener& one) { return one.id == id; });
}

void Control::remove_paths() {
  for (OpenListener& one : listeners_) remove_path(one);
}

void Control::remove_path(OpenListener& listener) const {
  if (owns_paths()) listener.path.remove();
}

}  // namespace sluice::proxy
