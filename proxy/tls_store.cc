#include "proxy/tls_store.h"

#include <algorithm>
#include <utility>

#include "proxy/tls_context.h"
#include "proxy/tls_files.h"

namespace sluice::proxy {
namespace {

std::vector<std::string> paths_of(const conf::TlsServer& settings) {
  std::vector<std::string> paths{settings.client_ca};
  for (const conf::TlsServer::KeyPair& pair : settings.pairs) {
    for (const std::string& path : {pair.cert, pair.key, pair.ocsp}) paths.push_back(path);
  }
  return paths;
}

std::vector<std::string> paths_of(const conf::TlsClient& settings) {
  std::string roots = settings.ca;
  if (roots.empty() && settings.verify) {
    if (conf::Result<std::string> found = find_system_roots(); found.ok()) roots = std::move(*found);
  }
  return {roots, settings.cert, settings.key};
}

// Which of the files are others than those in force, but for what `is_used` says
// is not; they count as in force then.
template <typename IsUsed>
std::vector<std::string> renew(const std::vector<std::string>& paths, const FileStates& now,
                               FileStates& in_force, const IsUsed& is_used) {
  std::vector<std::string> renewed;
  for (size_t i = 0; i < paths.size(); ++i) {
    if (now[i] == in_force[i] || !is_used(paths[i])) continue;
    in_force[i] = now[i];
    const bool is_new = std::find(renewed.begin(), renewed.end(), paths[i]) == renewed.end();
    if (is_new && !paths[i].empty()) renewed.push_back(paths[i]);
  }
  return renewed;
}

conf::Error with_place(const std::string& place, const conf::Error& error) {
  conf::Error result = error;
  result.detail = "tls of " + place + ": " + error.detail;
  return result;
}

std::vector<std::string> problems_of(const conf::Status& loaded) {
  if (loaded.ok()) return {};
  return {loaded.error().detail + "; what was loaded before stays in force"};
}

bool is_secure(const std::string& url) {
  return url.starts_with("https://");
}

// The entry in force that `wanted` can be taken from, unread: nothing has
// changed, or nobody could say.
template <typename Entry>
const Entry* unchanged(const std::vector<Entry>& entries, const Entry& wanted,
                       const std::string Entry::*name) {
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const Entry& one) {
    return one.*name == wanted.*name && one.settings == wanted.settings &&
           (any_denied(wanted.files.read) || (one.files.read == wanted.files.read && one.files.usable));
  });
  return found == entries.end() ? nullptr : &*found;
}

}  // namespace

TlsStore::TlsStore() : tickets_(std::make_shared<TicketKeys>()) {}

const TlsServerContext* TlsStore::before(const std::string& listener) const {
  const auto found = std::find_if(set_.servers.begin(), set_.servers.end(),
                                  [&](const Server& one) { return one.listener == listener; });
  return found == set_.servers.end() ? nullptr : found->context.get();
}

std::shared_ptr<TlsCounters> TlsStore::counters_for(const std::string& listener, const Set& next) const {
  for (const std::vector<Server>* servers : {&next.servers, &set_.servers}) {
    for (const Server& one : *servers) {
      if (one.listener == listener) return one.counters;
    }
  }
  return std::make_shared<TlsCounters>();
}

conf::Status TlsStore::load_server(Server& server, int64_t now_s, const TlsServerContext* before,
                                   bool lenient) {
  using Broken = TlsServerContext::Broken;
  auto context = TlsServerContext::make(server.listener, server.settings, tickets_, server.counters, now_s,
                                        before, lenient ? Broken::is_replaced : Broken::is_refused);
  if (!context.ok()) return with_place("the listener " + server.listener, context.error());
  server.context = std::move(*context);
  return conf::Done{};
}

conf::Status TlsStore::load_client(Client& client) {
  auto context = TlsClientContext::make(client.settings);
  if (!context.ok()) return with_place(client.upstream, context.error());
  client.context = std::move(*context);
  return conf::Done{};
}

conf::Result<TlsStore::Set> TlsStore::load(const conf::Config& config, int64_t now_s) {
  Set set;
  for (const conf::Listener& listener : config.listeners) {
    if (!listener.tls) continue;
    const FileStates files = look_at(paths_of(*listener.tls));
    const std::string name = listener.bind.to_string();
    Server& one = set.servers.emplace_back(
        Server{name, *listener.tls, nullptr, {files, files}, files, counters_for(name, set)});
    if (const Server* const same = unchanged(set_.servers, one, &Server::listener); same != nullptr) {
      one.context = same->context;
      one.files.usable = same->files.usable;
      one.in_force = same->in_force;
    } else if (const conf::Status loaded = load_server(one, now_s, before(one.listener), false);
               !loaded.ok()) {
      return loaded.error();
    } else {
      for (const std::string& problem : one.context->problems()) set.problems.push_back(problem);
    }
  }
  for (const auto& [service, conf] : config.services) {
    for (const conf::Colour colour : conf::kColours) {
      const std::optional<conf::TlsClient>& settings = conf.upstream(colour).tls;
      if (!settings) continue;
      if (const auto added = add_client(set, service + "/" + to_string(colour), *settings); !added.ok())
        return added.error();
    }
    const conf::Rollout& rollout = conf.rollout;
    if (!is_secure(rollout.webhook) && !is_secure(rollout.gate)) continue;
    conf::TlsClient settings;
    settings.ca = rollout.webhook_ca;
    if (const auto added = add_client(set, rollout_user(service), settings); !added.ok())
      return added.error();
  }
  if (is_secure(config.trace.endpoint)) {
    conf::TlsClient settings;
    settings.ca = config.trace.ca;
    if (const auto added = add_client(set, kTraceUser, settings); !added.ok()) return added.error();
  }
  return set;
}

conf::Status TlsStore::add_client(Set& set, const std::string& user, const conf::TlsClient& settings) const {
  const FileStates files = look_at(paths_of(settings));
  Client& one = set.clients.emplace_back(Client{user, settings, nullptr, {files, files}, files});
  const Client* const same = unchanged(set_.clients, one, &Client::upstream);
  if (same == nullptr) return load_client(one);
  one.context = same->context;
  one.in_force = same->in_force;
  return conf::Done{};
}

std::shared_ptr<const TlsServerContext> TlsStore::server(const conf::Listener& listener) const {
  if (!listener.tls) return nullptr;
  const std::string name = listener.bind.to_string();
  for (const Server& one : set_.servers) {
    if (one.listener == name && one.settings == *listener.tls) return one.context;
  }
  return nullptr;
}

TlsClients TlsStore::clients() const {
  TlsClients result;
  for (const Client& one : set_.clients) result.emplace(one.upstream, one.context);
  return result;
}

std::shared_ptr<const TlsClientContext> TlsStore::client(const std::string& user) const {
  for (const Client& one : set_.clients) {
    if (one.upstream == user) return one.context;
  }
  return nullptr;
}

std::vector<TlsStore::Change> TlsStore::poll(uint64_t now_ms, int64_t now_s) {
  std::vector<Change> changes;
  tickets_->tick(now_ms);
  if (now_ms - polled_ms_ < kPollMs) return changes;
  polled_ms_ = now_ms;
  for (Server& one : set_.servers) refresh(one, now_s, changes);
  for (Client& one : set_.clients) refresh(one, changes);
  return changes;
}

void TlsStore::refresh(Server& server, int64_t now_s, std::vector<Change>& changes) {
  const std::vector<std::string> paths = paths_of(server.settings);
  const FileStates now = look_at(paths);
  const bool ends = server.context->staples_until_s() <= now_s;
  if (!server.files.due(now) && !ends) return;
  const std::shared_ptr<const TlsServerContext> before = server.context;
  const conf::Status loaded = load_server(server, now_s, before.get(), true);
  server.files.usable = loaded.ok() && server.context->whole();
  Change& change = changes.emplace_back(Change{true, server.listener, false, {}, problems_of(loaded)});
  if (!loaded.ok()) return;
  change.problems = server.context->problems();
  change.renewed =
      renew(paths, now, server.in_force, [&](const std::string& path) { return server.context->uses(path); });
  change.loaded = !change.renewed.empty();
}

void TlsStore::refresh(Client& client, std::vector<Change>& changes) {
  const std::vector<std::string> paths = paths_of(client.settings);
  const FileStates now = look_at(paths);
  if (!client.files.due(now)) return;
  const conf::Status loaded = load_client(client);
  client.files.usable = loaded.ok();
  Change& change = changes.emplace_back(Change{false, client.upstream, false, {}, problems_of(loaded)});
  if (loaded.ok()) change.renewed = renew(paths, now, client.in_force, [](const auto&) { return true; });
  change.loaded = !change.renewed.empty();
}

std::string TlsStore::Change::loaded_text() const {
  std::string text;
  for (const std::string& path : renewed) text += (text.empty() ? "" : ", ") + path;
  return text + " of tls of " + user + (renewed.size() == 1 ? " was" : " were") + " read again and " +
         (renewed.size() == 1 ? "is" : "are") + " in force";
}

std::vector<TlsStore::Shown> TlsStore::certificates() const {
  std::vector<Shown> result;
  for (const Server& one : set_.servers) {
    for (const CertificateInfo& info : one.context->certificates())
      result.push_back({one.listener, true, &info});
  }
  for (const Client& one : set_.clients) {
    for (const CertificateInfo& info : one.context->certificates())
      result.push_back({one.upstream, false, &info});
  }
  return result;
}

std::vector<TlsStore::Counted> TlsStore::counters() const {
  std::map<std::string, std::shared_ptr<const TlsCounters>> by_listener;
  for (const Server& one : set_.servers) by_listener.emplace(one.listener, one.counters);
  std::vector<Counted> result;
  result.reserve(by_listener.size());
  for (const auto& [name, counters] : by_listener) result.push_back({name, counters});
  return result;
}

}  // namespace sluice::proxy
