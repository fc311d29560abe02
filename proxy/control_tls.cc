// Certificates while the process runs: files that change, dates that pass.
#include <utility>

#include "proxy/control.h"
#include "proxy/tls_files.h"

namespace sluice::proxy {

namespace {

int64_t wall_clock_s() {
  return static_cast<int64_t>(Loop::wall_clock_us() / 1'000'000);
}

}  // namespace

conf::Result<TlsStore::Set> Control::load_tls(const conf::Config& config) {
  conf::Result<TlsStore::Set> loaded = tls_.load(config, wall_clock_s());
  if (loaded.ok()) {
    for (const std::string& problem : loaded->problems) add_event("certificates_not_loaded", "", problem);
  }
  return loaded;
}

std::shared_ptr<const ListenerTraits> Control::traits_of(const conf::Listener& listener) const {
  auto traits = std::make_shared<ListenerTraits>();
  traits->trusted = listener.trusted;
  traits->proxy_protocol = listener.proxy_protocol;
  traits->tls = tls_.server(listener);
  return traits;
}

void Control::refresh_listeners() {
  for (const OpenListener& one : listeners_) {
    for (const auto& worker : workers_) {
      worker->post([to = worker.get(), id = one.id, traits = traits_of(one.conf)] {
        to->set_listener_traits(id, traits);
      });
    }
  }
}

// Connections that are open keep what they have; new ones get the new files.
void Control::watch_files() {
  bool servers = false;
  bool clients = false;
  for (const TlsStore::Change& change : tls_.poll(loop_.now_ms(), wall_clock_s())) {
    (change.is_server ? servers : clients) = true;
    if (change.loaded) {
      add_event("certificates_loaded", "", change.loaded_text(), {{"user", change.user}});
    }
    for (const std::string& problem : change.problems) {
      add_event("certificates_not_loaded", "", problem, {{"user", change.user}});
    }
  }
  if (servers) refresh_listeners();
  if (clients) publish_plan([this] { changed(); });
}

// A warning for each certificate when its end is near, and when it has come.
void Control::watch_certificates() {
  constexpr int64_t kDayS = 24 * 3600;
  const int64_t now_s = wall_clock_s();
  for (const TlsStore::Shown& one : tls_.certificates()) {
    const int64_t left_s = one.info->not_after_s - now_s;
    if (left_s > kWarnDays * kDayS) continue;
    const char* const type = left_s > 0 ? "certificate_expiring" : "certificate_expired";
    if (!warned_certificates_.insert(std::string(type) + " " + one.user + " " + one.info->fingerprint).second)
      continue;
    add_event(type, "",
              "the certificate " + one.info->subject + " of " + one.user +
                  (left_s > 0 ? " expires in " + std::to_string(left_s / kDayS) + " days" : " has expired"),
              {{"user", one.user}, {"file", one.info->file}});
  }
}

}  // namespace sluice::proxy
