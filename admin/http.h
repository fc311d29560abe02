// HttpServer: the read-only side of administration, for probes and scrapers.
//
//   /live           200 as long as the process answers
//   /ready          200, or 503 while it drains or a service has no endpoint
//   /health         JSON: status, version, uptime and every check by its name
//   /metrics        Prometheus text, OpenMetrics where Accept prefers it
//   /metrics.json   the same numbers, latencies over windows, SLO figures
//   /               the dashboard, with its style sheet and scripts
//   /stream         what the dashboard reads, live (admin/live_stream.h)
//
// Nothing can be changed here: only GET and HEAD are answered and no request
// has a body. Requests are read with the proxy's own strict HTTP/1 codec under
// small limits. A Host that is neither localhost nor an address nor one of
// [admin] http_hosts is refused with 421, since a page in a browser could
// otherwise have its own name resolve to this server and read what it says (DNS
// rebinding); an address in Host cannot come about that way. What a browser
// says is asked for by another site's page (Sec-Fetch-Site, W3C Fetch Metadata)
// is refused with 403, unless somebody has followed a link.
//
// However much clients ask ahead, the control thread has other things to do:
// whoever has sent something lines up, and in each turn of the loop one request
// is answered, besides one of each client that asks whether the process lives
// (admin/turns.h): a probe does not wait for the large pages of 127 others, since
// that would be taken for its death.
//
// Owner: the composition root, which destroys it after Control::run() has
// returned. Thread: the control thread's.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "admin/command.h"
#include "admin/turns.h"
#include "conf/config.h"
#include "conf/result.h"
#include "proxy/accepting_socket.h"
#include "proxy/control.h"
#include "proxy/h1_downstream_codec.h"
#include "proxy/unix_path.h"

namespace sluice::admin {

class HttpConnection;

// Whom a request to the admin server may name as its host: localhost, an
// address, or one of `names`.
bool is_safe_host(std::string_view authority, const std::vector<std::string>& names);

class HttpServer final : public proxy::Control::Part {
 public:
  static constexpr size_t kMostConnections = 128;
  static constexpr size_t kMostStreams = 16;  // of the connections

  // Both must outlive the loop.
  HttpServer(Context& context, History& history);
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  ~HttpServer() override;

  // Listens until the control loop ends. Errors say what is in the way.
  // `unix_mode`: the permissions where it is a unix socket.
  conf::Status start(const conf::Address& bind, uint32_t unix_mode = conf::Admin{}.mode);
  const conf::Address& address() const { return address_; }  // with the real port

  proxy::NamedSockets sockets() const override;
  conf::Status begin() override;
  void pause() override;

 private:
  friend class HttpConnection;

  std::string name() const;
  void begin(int client);
  void close();
  bool may_stream() const;
  void tell_state();
  void tell_event(const proxy::Event& event);

  Context& context_;
  History& history_;
  proxy::Control& control_;
  proxy::CodecWorkspace workspace_;
  conf::Address bind_;
  conf::Address address_;
  proxy::UnixPath bound_;  // nothing, where it is none
  std::optional<proxy::AcceptingSocket> socket_;
  uint64_t watching_events_ = 0;
  std::optional<Turns> turns_;
  std::vector<std::unique_ptr<HttpConnection>> connections_;
};

}  // namespace sluice::admin
