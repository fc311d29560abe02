#include "proxy/tls_store.h"

#include <algorithm>
#include <utility>

#include "proxy/tls_context.h"
#include "proxy/tls_files.h"

namespace sluice::proxy {
namespace {

FileStates look(const conf::TlsServer& settings) {
  std::vector<std::string> paths{settings.client_ca};
  for (const conf::TlsServer::KeyPair& pair : settings.pairs) {
    for (const std::string& path : {pair.cert, pair.key, pair.ocsp}) paths.push_back(path);
  }
  return look_at(paths);
}

FileStates look(const conf::TlsClient& settings) {
  std::string roots = settings.ca;
  if (roots.empty() && settings.verify) {
    if (conf::Result<std::string> found = find_system_roots(); found.ok()) roots = std::move(*found);
  }
  return look_at({roots, settings.cert, settings.key});
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

// What is in force already stands in for what cannot be used.
conf::Status TlsStore::load_server(Server& server, int64_t now_s) {
  std::shared_ptr<TlsCounters>& counters = counters_[server.listener];
  if (counters == nullptr) counters = std::make_shared<TlsCounters>();
  auto context = TlsServerContext::make(server.listener, server.settings, tickets_, counters, now_s,
                                        server.context.get());
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
    const FileStates files = look(*listener.tls);
    Server& one =
        set.servers.emplace_back(Server{listener.bind.to_string(), *listener.tls, nullptr, {files, files}});
    if (const Server* const same = unchanged(set_.servers, one, &Server::listener); same != nullptr) {
      one.context = same->context;
      one.files.usable = same->files.usable;
    } else if (const conf::Status loaded = load_server(one, now_s); !loaded.ok()) {
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
  const FileStates files = look(settings);
  Client& one = set.clients.emplace_back(Client{user, settings, nullptr, {files, files}});
  const Client* const same = unchanged(set_.clients, one, &Client::upstream);
  if (same == nullptr) return load_client(one);
  one.context = same->context;
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
  for (Server& one : set_.servers) {
    const bool ends = one.context->staples_until_s() <= now_s;
    if (!one.files.due(look(one.settings)) && !ends) continue;
    const conf::Status loaded = load_server(one, now_s);
    one.files.usable = loaded.ok() && one.context->whole();
    const bool any = loaded.ok() && one.context->loaded() > 0;
    changes.push_back({true, one.listener, any, loaded.ok() ? one.context->problems() : problems_of(loaded)});
  }
  for (Client& one : set_.clients) {
    if (!one.files.due(look(one.settings))) continue;
    const conf::Status loaded = load_client(one);
    one.files.usable = loaded.ok();
    changes.push_back({false, one.upstream, loaded.ok(), problems_of(loaded)});
  }
  return changes;
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
  std::vector<Counted> result;
  for (const auto& [name, counters] : counters_) result.push_back({name, counters});
  return result;
}

}  // namespace sluice::proxy
