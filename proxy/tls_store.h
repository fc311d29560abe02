// TlsStore: the TLS contexts of a configuration, by listener and by upstream,
// and the files that they were made from; and those of webhooks, gates and the
// collector of traces where their URLs are https.
//
// Certificates are replaced in two ways, by a reload and by poll(), which looks
// at the files: at what a path leads to, so that a swapped symbolic link, which
// is how Kubernetes renews a mounted secret, is noticed like a file written
// anew. A set of files is read when it has changed and then stood still from
// one poll to the next, so that a certificate and its key are not read half
// replaced. A set that cannot be used leaves the one before in force, and so does
// one pair of a listener that has several, or its staple, or its `client_ca`. What the process may read no
// more, since it gave up its rights, stays as it was loaded; a reload does not mind.
//
// Thread: the control thread's. Owner: Control. The contexts are shared.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "conf/config.h"
#include "conf/result.h"
#include "proxy/file_watch.h"

namespace sluice::proxy {

class TicketKeys;
class TlsClientContext;
class TlsServerContext;
struct CertificateInfo;
struct TlsCounters;

// By upstream, "web/green", or by another user; those without TLS are not there.
using TlsClients = std::map<std::string, std::shared_ptr<const TlsClientContext>>;

class TlsStore {
 public:
  static constexpr uint64_t kPollMs = 500;

  // What was made of one configuration; adopt() puts it in force.
  struct Server {
    std::string listener;  // its address as configured
    conf::TlsServer settings;
    std::shared_ptr<const TlsServerContext> context;
    FileWatch files;
    FileStates in_force;  // of each file, as it was when it was last of use
    std::shared_ptr<TlsCounters> counters;
  };
  struct Client {
    std::string upstream;  // "web/green", or another user
    conf::TlsClient settings;
    std::shared_ptr<const TlsClientContext> context;
    FileWatch files;
    FileStates in_force;
  };
  struct Set {
    std::vector<Server> servers;
    std::vector<Client> clients;
    // What is not in force though nothing has failed, in whole sentences.
    std::vector<std::string> problems;
  };

  TlsStore();

  // Reads everything that `config` names, or says what cannot be used. What is
  // in force and has not changed is taken over.
  conf::Result<Set> load(const conf::Config& config, int64_t now_s);
  // Puts it in force and returns what was before.
  Set adopt(Set set) { return std::exchange(set_, std::move(set)); }

  // Null when it has no TLS.
  std::shared_ptr<const TlsServerContext> server(const conf::Listener& listener) const;
  TlsClients clients() const;
  // Null when there is no such user or it has no TLS.
  std::shared_ptr<const TlsClientContext> client(const std::string& user) const;
  // Who calls others on the process's own account.
  static constexpr const char* kTraceUser = "trace";
  static std::string rollout_user(const std::string& service) { return "the rollout of " + service; }

  // A set of files that changed, or whose staple ended. What was `renewed` is in
  // force already; of the rest `problems` speak in whole sentences.
  struct Change {
    bool is_server = false;
    std::string user;                  // the listener or upstream
    bool loaded = true;                // something was renewed
    std::vector<std::string> renewed;  // the files, as configured
    std::vector<std::string> problems;
    // "a.crt, a.key of tls of 127.0.0.1:443 were read again and are in force".
    std::string loaded_text() const;
  };
  // `now_s`: since the epoch.
  std::vector<Change> poll(uint64_t now_ms, int64_t now_s);

  // The certificates in force that we show to others, with who shows them.
  struct Shown {
    std::string user;
    bool is_server = false;
    const CertificateInfo* info;
  };
  std::vector<Shown> certificates() const;
  struct Counted {
    std::string listener;
    std::shared_ptr<const TlsCounters> counters;
  };
  // Of the listeners in force; those of one address are counted together, and go on
  // where a reload keeps one of them.
  std::vector<Counted> counters() const;

 private:
  // Null when the listener is not in force with TLS.
  const TlsServerContext* before(const std::string& listener) const;
  // Those that a listener of `next` counts on with, or new ones.
  std::shared_ptr<TlsCounters> counters_for(const std::string& listener, const Set& next) const;
  // `lenient`: what `before` has loaded stands in for what cannot be used.
  conf::Status load_server(Server& server, int64_t now_s, const TlsServerContext* before, bool lenient);
  void refresh(Server& server, int64_t now_s, std::vector<Change>& changes);
  static void refresh(Client& client, std::vector<Change>& changes);
  static conf::Status load_client(Client& client);
  conf::Status add_client(Set& set, const std::string& user, const conf::TlsClient& settings) const;

  const std::shared_ptr<TicketKeys> tickets_;
  Set set_;
  uint64_t polled_ms_ = 0;
};

}  // namespace sluice::proxy
