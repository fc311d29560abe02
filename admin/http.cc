#include "admin/http.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <utility>

#include "admin/history.h"
#include "admin/http_connection.h"
#include "admin/live_stream.h"
#include "proxy/head.h"
#include "proxy/listen_socket.h"
#include "proxy/uv_stream.h"

namespace sluice::admin {

using conf::Address;

bool is_safe_host(std::string_view authority, const std::vector<std::string>& names) {
  // HTTP/1.0 may leave Host out, which no browser does.
  if (authority.empty()) return true;
  std::string_view host = authority;
  if (host.front() == '[') {
    const size_t end = host.find(']');
    if (end == std::string_view::npos) return false;
    in6_addr address;
    return inet_pton(AF_INET6, std::string(host.substr(1, end - 1)).c_str(), &address) == 1;
  }
  host = host.substr(0, host.find(':'));
  const auto is_host = [host](std::string_view name) { return proxy::equal_fold(host, name); };
  if (is_host("localhost") || std::any_of(names.begin(), names.end(), is_host)) return true;
  in_addr address;
  return inet_pton(AF_INET, std::string(host).c_str(), &address) == 1;
}

HttpServer::HttpServer(Context& context, History& history)
    : context_(context), history_(history), control_(context.control) {}

HttpServer::~HttpServer() = default;

conf::Status HttpServer::start(const Address& bind, uint32_t unix_mode) {
  const proxy::Loop::Scope scope(control_.loop());
  bind_ = bind;
  const std::optional<int> inherited = control_.inherited(name());
  conf::Result<proxy::ListenSockets> opened =
      inherited ? proxy::adopt_listen_sockets({*inherited}, bind, 1)
                : proxy::open_listen_sockets(bind, 1, proxy::PortUse::alone, unix_mode);
  if (!opened.ok()) return opened.error();
  address_ = opened->address;
  if (address_.kind == Address::Kind::unix_socket) bound_ = proxy::UnixPath::of(address_.host);
  socket_.emplace(control_.loop(), [this] { socket_->accept_some([this](int client) { begin(client); }); });
  socket_->adopt(opened->fds.front());
  turns_.emplace(control_.loop());
  control_.on_stop([this] { close(); });
  history_.on_tick([this] { tell_state(); });
  watching_events_ = control_.events().watch([this](const proxy::Event& event) { tell_event(event); });
  return control_.add_part(*this);
}

std::string HttpServer::name() const {
  return "admin http " + bind_.to_string();
}

proxy::NamedSockets HttpServer::sockets() const {
  return {name(), {socket_->fd()}};
}

conf::Status HttpServer::begin() {
  socket_->begin();
  return conf::Done{};
}

void HttpServer::pause() {
  socket_->pause();
  for (const auto& connection : connections_) connection->close();
}

void HttpServer::begin(int client) {
  const bool is_unix = address_.kind == Address::Kind::unix_socket;
  auto stream = proxy::UvStream::of_accepted(
      control_.loop(), is_unix ? proxy::UvStream::Kind::unix_socket : proxy::UvStream::Kind::tcp, client);
  if (stream == nullptr) return;
  if (connections_.size() >= kMostConnections) {
    proxy::UvStream::discard(std::move(stream));
    return;
  }
  connections_.push_back(std::make_unique<HttpConnection>(*this, std::move(stream)));
  connections_.back()->start();
}

bool HttpServer::may_stream() const {
  const auto streams = std::count_if(connections_.begin(), connections_.end(),
                                     [](const auto& one) { return one->streams() != nullptr; });
  return static_cast<size_t>(streams) < kMostStreams;
}

// Composed once for all who look at the same service.
void HttpServer::tell_state() {
  std::map<std::string, std::string> messages;
  for (const auto& connection : connections_) {
    const std::string* const service = connection->streams();
    if (service == nullptr) continue;
    std::string& text = messages[*service];
    if (text.empty()) text = state_message(context_, *service);
    connection->push(text);
  }
}

void HttpServer::tell_event(const proxy::Event& event) {
  std::string text;
  for (const auto& connection : connections_) {
    if (connection->streams() == nullptr) continue;
    if (text.empty()) text = event_message(event);
    connection->push(text);
  }
}

void HttpServer::close() {
  control_.events().unwatch(watching_events_);
  if (control_.owns_paths()) bound_.remove();
  pause();
  turns_->close();
}

}  // namespace sluice::admin
