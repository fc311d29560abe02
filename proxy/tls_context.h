// TlsServerContext, TlsClientContext: what all connections of one listener, or
// to one upstream, have in common under TLS: certificates, roots, rules.
//
// Both are immutable and made whole: a reload makes another one and hands it to
// the workers, while connections keep the one that they began with. So a
// certificate changes without a lock and without a dropped connection.
//
// What is spoken: TLS 1.2 and 1.3, only suites with forward secrecy and
// authenticated encryption, no compression, no renegotiation, no early data (a
// replayed request would count twice). ALPN: http/1.1, and of clients http/1.0 too.
//
// Thread: made on the control thread, used by any. Owner: shared_ptr, from
// listeners, pools and each connection.
#pragma once

#include <openssl/ssl.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "conf/config.h"
#include "conf/result.h"
#include "proxy/ticket_keys.h"
#include "proxy/tls_files.h"

namespace sluice::proxy {

// How the handshakes of a listener went; survives reloads. Any thread.
struct TlsCounters {
  enum Outcome : uint8_t { full, resumed, failed, timed_out, refused, kOutcomes };
  static constexpr const char* kNames[kOutcomes] = {"full", "resumed", "failed", "timeout", "refused"};

  std::atomic<uint32_t> in_progress{0};
  std::array<std::atomic<uint64_t>, kOutcomes> ended{};

  void count(Outcome outcome) { ended[outcome].fetch_add(1, std::memory_order_relaxed); }
};

class TlsServerContext {
 public:
  // What of a file that cannot be used: an error, or what `before` has loaded
  // stands in for it, which problems() says.
  enum class Broken : uint8_t { is_refused, is_replaced };
  // Reads every file that `settings` names. `name` keeps the tickets of one
  // listener from being honoured by another. A staple that is of another
  // certificate, or whose time (`now_s`, since the epoch) has passed, is no error:
  // it is left out, or that of `before` stays if it is of use; problems() says so.
  static conf::Result<std::shared_ptr<const TlsServerContext>> make(
      const std::string& name, const conf::TlsServer& settings, std::shared_ptr<const TicketKeys> tickets,
      std::shared_ptr<TlsCounters> counters, int64_t now_s, const TlsServerContext* before = nullptr,
      Broken broken = Broken::is_refused);
  TlsServerContext(const TlsServerContext&) = delete;
  TlsServerContext& operator=(const TlsServerContext&) = delete;

  // For one connection; `this` must outlive it.
  bssl::UniquePtr<SSL> new_connection() const;

  const std::vector<CertificateInfo>& certificates() const { return certificates_; }
  // Whole sentences.
  const std::vector<std::string>& problems() const { return problems_; }
  // False where a file could not be used, and something else stands in for it.
  bool whole() const { return whole_; }
  // Is what the file says in force?
  bool uses(const std::string& path) const { return unused_.find(path) == unused_.end(); }
  // When the first of the staples ends, since the epoch.
  int64_t staples_until_s() const { return staples_until_s_; }
  bool asks_for_certificates() const { return roots_ != nullptr; }
  uint32_t handshake_timeout_ms() const { return handshake_timeout_ms_; }
  // May another handshake begin?
  bool has_room() const {
    return max_handshakes_ == 0 || counters_->in_progress.load(std::memory_order_relaxed) < max_handshakes_;
  }
  TlsCounters& counters() const { return *counters_; }

 private:
  struct Identity {
    bssl::UniquePtr<SSL_CTX> context;
    conf::TlsServer::KeyPair files;
    std::shared_ptr<const KeyPair> pair;
    std::shared_ptr<const Staple> staple;  // null without
    uint16_t scheme;  // of its signatures under TLS 1.3, SSL_SIGN_*; 0: RSA's, which everybody knows
  };
  // Whom clients' certificates are verified by.
  struct Roots {
    std::string path;
    std::string digest;  // of the file
    std::vector<bssl::UniquePtr<X509>> certificates;
  };
  using Candidates = std::vector<size_t>;  // indices of identities_, in the order of the configuration
  struct Before {
    const TlsServerContext* context;  // null: nothing was
    Broken broken;
    int64_t now_s;
  };

  TlsServerContext() = default;
  conf::Status add_identity(const conf::TlsServer& settings, const conf::TlsServer::KeyPair& files,
                            const Before& before);
  conf::Result<std::shared_ptr<const KeyPair>> load_pair(const conf::TlsServer::KeyPair& files,
                                                         const Before& before);
  // Null where nothing is to be stapled.
  conf::Result<std::shared_ptr<const Staple>> choose_staple(const std::string& path, const X509* certificate,
                                                            const Before& before);
  static conf::Result<std::shared_ptr<const Roots>> read_roots(const std::string& path);
  conf::Status load_roots(const std::string& path, const Before& before);
  conf::Status ask_for_certificates(SSL_CTX* context, bool required) const;
  // Null where no identity has these files.
  std::shared_ptr<const KeyPair> pair_of(const conf::TlsServer::KeyPair& files) const;
  // Null where none is of use to the certificate any more.
  std::shared_ptr<const Staple> staple_of(const X509* certificate, int64_t now_s) const;
  void add_name(std::string name, size_t identity);
  const Candidates& candidates(std::string_view asked) const;
  SSL_CTX* select(const SSL_CLIENT_HELLO& hello, const std::string& asked) const;
  bool bind_sessions(SSL* ssl, const std::string& asked) const;
  static ssl_select_cert_result_t on_client_hello(const SSL_CLIENT_HELLO* hello);

  std::vector<Identity> identities_;
  std::shared_ptr<const Roots> roots_;  // null: nobody is asked
  std::map<std::string, Candidates, std::less<>> exact_;
  std::map<std::string, Candidates, std::less<>> wildcard_;  // by what follows "*."
  Candidates fallback_;                                      // for names that no certificate has
  std::vector<CertificateInfo> certificates_;
  std::vector<std::string> problems_;
  std::set<std::string> unused_;  // paths
  bool whole_ = true;
  int64_t staples_until_s_ = Staple::kForever;
  std::string ticket_scope_;
  std::shared_ptr<const TicketKeys> tickets_;
  std::shared_ptr<TlsCounters> counters_;
  uint32_t handshake_timeout_ms_ = 0;
  uint32_t max_handshakes_ = 0;
};

class TlsClientContext {
 public:
  static conf::Result<std::shared_ptr<const TlsClientContext>> make(const conf::TlsClient& settings);
  TlsClientContext(const TlsClientContext&) = delete;
  TlsClientContext& operator=(const TlsClientContext&) = delete;

  // For one connection to the endpoint that is called `authority` ("name:port");
  // `this` must outlive it. Null when the name is not one that can be verified.
  bssl::UniquePtr<SSL> new_connection(const std::string& authority) const;

  // Our own certificate; empty without one.
  const std::vector<CertificateInfo>& certificates() const { return certificates_; }
  // Tells sessions of this context from those of one that it replaced.
  uint64_t serial() const { return serial_; }

 private:
  TlsClientContext() = default;
  conf::Status configure(const conf::TlsClient& settings);

  bssl::UniquePtr<SSL_CTX> context_;
  std::vector<CertificateInfo> certificates_;
  std::string name_;  // to send and verify; empty: the endpoint's
  bool verify_ = true;
  uint64_t serial_ = 0;
};

// "shop.example.com" of "shop.example.com:8443", "::1" of "[::1]:80".
std::string host_of_authority(const std::string& authority);

}  // namespace sluice::proxy
