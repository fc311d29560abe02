#include "proxy/tls_context.h"

#include <arpa/inet.h>
#include <openssl/bytestring.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <iterator>
#include <utility>

#include "proxy/tls_stream.h"

namespace sluice::proxy {
namespace {

// Mozilla's "intermediate" list without its finite-field Diffie-Hellman, as of
// 2024; suites in brackets are equal and the client's order decides, so that
// clients without AES instructions get ChaCha20.
constexpr const char* kSuites =
    "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]:"
    "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";
constexpr const char* kCurves = "X25519:P-256:P-384";
// Signatures of peers that we believe; BoringSSL alone would leave out the last two.
constexpr uint16_t kVerified[] = {
    SSL_SIGN_ECDSA_SECP256R1_SHA256, SSL_SIGN_RSA_PSS_RSAE_SHA256, SSL_SIGN_RSA_PKCS1_SHA256,
    SSL_SIGN_ECDSA_SECP384R1_SHA384, SSL_SIGN_RSA_PSS_RSAE_SHA384, SSL_SIGN_RSA_PKCS1_SHA384,
    SSL_SIGN_RSA_PSS_RSAE_SHA512,    SSL_SIGN_RSA_PKCS1_SHA512,    SSL_SIGN_ED25519,
    SSL_SIGN_ECDSA_SECP521R1_SHA512,
};
// What we ask upstreams for, and what clients may ask us for, in our order.
constexpr uint8_t kAlpn[] = "\x08http/1.1";
constexpr size_t kAlpnSize = sizeof(kAlpn) - 1;
constexpr uint8_t kServedAlpn[] = "\x08http/1.1\x08http/1.0";
constexpr size_t kServedAlpnSize = sizeof(kServedAlpn) - 1;
constexpr const char* kStays = "; what was loaded before stays in force";

conf::Error refused(const std::string& what) {
  return {conf::Error::Kind::invalid, conf::Error::Source::operator_, false,
          what + ": " + take_crypto_error()};
}

// What both sides have in common.
bssl::UniquePtr<SSL_CTX> new_context() {
  bssl::UniquePtr<SSL_CTX> context(SSL_CTX_new(TLS_method()));
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_max_proto_version(context.get(), TLS1_3_VERSION);
  SSL_CTX_set_strict_cipher_list(context.get(), kSuites);
  SSL_CTX_set_options(context.get(),
                      SSL_OP_CIPHER_SERVER_PREFERENCE);  // of servers: brackets mean nothing else
  SSL_CTX_set1_curves_list(context.get(), kCurves);
  SSL_CTX_set_verify_algorithm_prefs(context.get(), kVerified, std::size(kVerified));
  // The chain that is sent is the one in the file.
  SSL_CTX_set_mode(context.get(), SSL_MODE_NO_AUTO_CHAIN);
  return context;
}

conf::Status use_key_pair(SSL_CTX* context, const KeyPair& pair) {
  bool used = SSL_CTX_use_certificate(context, pair.leaf.get()) == 1;
  for (const auto& one : pair.intermediates) used = used && SSL_CTX_add1_chain_cert(context, one.get()) == 1;
  used = used && SSL_CTX_use_PrivateKey(context, pair.key.get()) == 1;
  if (!used) return refused(pair.info.file + " cannot be used");
  return conf::Done{};
}

// A pair that no context takes is as broken as one that cannot be read.
conf::Result<KeyPair> load_usable_pair(const conf::TlsServer::KeyPair& files) {
  conf::Result<KeyPair> loaded = load_key_pair(files.cert, files.key);
  if (!loaded.ok()) return loaded;
  if (const conf::Status used = use_key_pair(new_context().get(), *loaded); !used.ok()) return used.error();
  return loaded;
}

// The protocols that a client offers must have one of ours among them (RFC 7301, 3.2).
int on_alpn(SSL*, const uint8_t** out, uint8_t* out_size, const uint8_t* in, unsigned in_size, void*) {
  uint8_t* selected = nullptr;
  if (SSL_select_next_proto(&selected, out_size, kServedAlpn, kServedAlpnSize, in, in_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = selected;
  return SSL_TLSEXT_ERR_OK;
}

const TlsServerContext* owner_of(const SSL* ssl) {
  return static_cast<const TlsServerContext*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), 0));
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

std::string without_dot(std::string name) {
  if (name.ends_with('.')) name.pop_back();
  return name;
}

// The name that the client asks for, as certificates are looked up by it; empty: none.
std::string asked_name(const SSL* ssl) {
  const char* const asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  return asked == nullptr ? "" : without_dot(lower(asked));
}

std::string sha256(std::string_view text) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const uint8_t*>(text.data()), text.size(),
         reinterpret_cast<uint8_t*>(digest.data()));
  return digest;
}

uint16_t scheme_of(const EVP_PKEY* key) {
  switch (EVP_PKEY_id(key)) {
    case EVP_PKEY_ED25519:
      return SSL_SIGN_ED25519;
    case EVP_PKEY_EC:
      break;
    default:
      return 0;
  }
  switch (EC_GROUP_get_curve_name(EC_KEY_get0_group(EVP_PKEY_get0_EC_KEY(key)))) {
    case NID_secp384r1:
      return SSL_SIGN_ECDSA_SECP384R1_SHA384;
    case NID_secp521r1:
      return SSL_SIGN_ECDSA_SECP521R1_SHA512;
    default:
      return SSL_SIGN_ECDSA_SECP256R1_SHA256;
  }
}

// What a client lists, as numbers of 16 bits: in an extension, whose list has a
// size of `size_octets`, or nothing where it is not there.
std::vector<uint16_t> listed(const SSL_CLIENT_HELLO& hello, uint16_t type, size_t size_octets) {
  std::vector<uint16_t> numbers;
  const uint8_t* data = nullptr;
  size_t size = 0;
  if (SSL_early_callback_ctx_extension_get(&hello, type, &data, &size) == 0) return numbers;
  CBS extension, list;
  CBS_init(&extension, data, size);
  const int found = size_octets == 1 ? CBS_get_u8_length_prefixed(&extension, &list)
                                     : CBS_get_u16_length_prefixed(&extension, &list);
  for (uint16_t number = 0; found == 1 && CBS_get_u16(&list, &number) == 1;) numbers.push_back(number);
  return numbers;
}

bool has(const std::vector<uint16_t>& numbers, uint16_t wanted) {
  return std::find(numbers.begin(), numbers.end(), wanted) != numbers.end();
}

// Does the client take signatures by `scheme`, ECDSA's or EdDSA's (RFC 8446,
// 4.2.3)? Under TLS 1.2 the curve is not part of a scheme, but the suite says
// what kind of key it goes with (RFC 8422, 5.1; EdDSA's is ECDSA's).
bool takes(const SSL_CLIENT_HELLO& hello, uint16_t scheme) {
  const std::vector<uint16_t> schemes = listed(hello, TLSEXT_TYPE_signature_algorithms, 2);
  if (has(listed(hello, TLSEXT_TYPE_supported_versions, 1), TLS1_3_VERSION)) return has(schemes, scheme);
  const bool verifies = scheme == SSL_SIGN_ED25519 ? has(schemes, scheme)
                                                   : has(schemes, SSL_SIGN_ECDSA_SECP256R1_SHA256) ||
                                                         has(schemes, SSL_SIGN_ECDSA_SECP384R1_SHA384) ||
                                                         has(schemes, SSL_SIGN_ECDSA_SECP521R1_SHA512);
  if (!verifies) return false;
  CBS suites;
  CBS_init(&suites, hello.cipher_suites, hello.cipher_suites_len);
  for (uint16_t suite = 0; CBS_get_u16(&suites, &suite) == 1;) {
    if (suite == (TLS1_CK_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 & 0xffff) ||
        suite == (TLS1_CK_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 & 0xffff) ||
        suite == (TLS1_CK_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 & 0xffff)) {
      return true;
    }
  }
  return false;
}

bool is_ip(const std::string& host) {
  uint8_t address[16];
  return inet_pton(AF_INET, host.c_str(), address) == 1 || inet_pton(AF_INET6, host.c_str(), address) == 1;
}

}  // namespace

conf::Result<std::shared_ptr<const TlsServerContext>> TlsServerContext::make(
    const std::string& name, const conf::TlsServer& settings, std::shared_ptr<const TicketKeys> tickets,
    std::shared_ptr<TlsCounters> counters, int64_t now_s, const TlsServerContext* before, Broken broken) {
  const std::shared_ptr<TlsServerContext> result(new TlsServerContext);
  result->tickets_ = std::move(tickets);
  result->counters_ = std::move(counters);
  result->handshake_timeout_ms_ = settings.handshake_timeout_ms;
  result->max_handshakes_ = settings.max_handshakes;
  // A ticket vouches for a client that was verified; whom to trust is part of
  // what it may be used for.
  result->ticket_scope_ = name + (settings.client_required ? "|required|" : "|optional|");
  const Before what_was{before, broken, now_s};
  if (!settings.client_ca.empty()) {
    if (const conf::Status loaded = result->load_roots(settings.client_ca, what_was); !loaded.ok())
      return loaded.error();
    result->ticket_scope_ += result->roots_->digest;
  }
  result->ticket_scope_ = sha256(result->ticket_scope_);
  for (const conf::TlsServer::KeyPair& files : settings.pairs) {
    const conf::Status added = result->add_identity(settings, files, what_was);
    if (!added.ok()) return added.error();
  }
  const std::vector<std::string>& first = result->certificates_.front().names;
  result->fallback_ = first.empty() ? Candidates{0} : result->candidates(lower(first.front()));
  return std::shared_ptr<const TlsServerContext>(result);
}

conf::Status TlsServerContext::add_identity(const conf::TlsServer& settings,
                                            const conf::TlsServer::KeyPair& files, const Before& before) {
  conf::Result<std::shared_ptr<const KeyPair>> loaded = load_pair(files, before);
  if (!loaded.ok()) return loaded.error();
  const std::shared_ptr<const KeyPair> pair = std::move(*loaded);
  bssl::UniquePtr<SSL_CTX> context = new_context();
  if (settings.min_version == "1.3") SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION);
  if (const conf::Status used = use_key_pair(context.get(), *pair); !used.ok()) return used.error();
  std::shared_ptr<const Staple> staple;
  if (!files.ocsp.empty()) {
    conf::Result<std::shared_ptr<const Staple>> chosen = choose_staple(files.ocsp, pair->leaf.get(), before);
    if (!chosen.ok()) return chosen.error();
    staple = std::move(*chosen);
  }
  if (staple != nullptr) {
    if (SSL_CTX_set_ocsp_response(context.get(), staple->der.data(), staple->der.size()) != 1)
      return refused(files.ocsp + " cannot be used");
    staples_until_s_ = std::min(staples_until_s_, staple->until_s);
  }
  if (roots_ != nullptr) {
    if (const conf::Status asked = ask_for_certificates(context.get(), settings.client_required); !asked.ok())
      return asked.error();
  }
  SSL_CTX_set_ex_data(context.get(), 0, this);
  SSL_CTX_set_select_certificate_cb(context.get(), on_client_hello);
  SSL_CTX_set_alpn_select_cb(context.get(), on_alpn, nullptr);
  // Sessions live in tickets only: nothing to share, nothing to fill.
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_timeout(context.get(), TicketKeys::kTicketLifetimeS);
  SSL_CTX_set_session_psk_dhe_timeout(context.get(), TicketKeys::kTicketLifetimeS);
  SSL_CTX_set_tlsext_ticket_key_cb(context.get(), [](SSL* ssl, uint8_t* name, uint8_t* iv,
                                                     EVP_CIPHER_CTX* cipher, HMAC_CTX* hmac, int encrypt) {
    const TicketKeys& keys = *owner_of(ssl)->tickets_;
    return encrypt == 1 ? keys.seal(name, iv, cipher, hmac) : keys.open(name, iv, cipher, hmac);
  });

  const size_t index = identities_.size();
  identities_.push_back({std::move(context), files, pair, std::move(staple), scheme_of(pair->key.get())});
  for (const std::string& name : pair->info.names) add_name(lower(name), index);
  certificates_.push_back(pair->info);
  return conf::Done{};
}

std::shared_ptr<const KeyPair> TlsServerContext::pair_of(const conf::TlsServer::KeyPair& files) const {
  for (const Identity& one : identities_) {
    if (one.files.cert == files.cert && one.files.key == files.key) return one.pair;
  }
  return nullptr;
}

conf::Result<std::shared_ptr<const KeyPair>> TlsServerContext::load_pair(
    const conf::TlsServer::KeyPair& files, const Before& before) {
  conf::Result<KeyPair> loaded = load_usable_pair(files);
  if (loaded.ok()) return std::make_shared<const KeyPair>(std::move(*loaded));
  if (before.broken == Broken::is_refused || before.context == nullptr) return loaded.error();
  std::shared_ptr<const KeyPair> kept = before.context->pair_of(files);
  if (kept == nullptr) return loaded.error();
  problems_.push_back(loaded.error().detail + kStays);
  unused_.insert({files.cert, files.key});
  whole_ = false;
  return kept;
}

std::shared_ptr<const Staple> TlsServerContext::staple_of(const X509* certificate, int64_t now_s) const {
  for (const Identity& one : identities_) {
    if (one.staple != nullptr && one.staple->until_s > now_s &&
        X509_cmp(one.pair->leaf.get(), certificate) == 0)
      return one.staple;
  }
  return nullptr;
}

// A certificate without its staple is better than none, and one that is still of
// use better than nothing.
conf::Result<std::shared_ptr<const Staple>> TlsServerContext::choose_staple(const std::string& path,
                                                                            const X509* certificate,
                                                                            const Before& before) {
  conf::Result<Staple> loaded = load_staple(path, certificate);
  if (!loaded.ok() && before.broken == Broken::is_refused) return loaded.error();
  whole_ = whole_ && loaded.ok();
  std::string problem;
  if (!loaded.ok()) {
    problem = loaded.error().detail;
  } else if (!loaded->fits) {
    problem = "the OCSP response in " + path + " is of another certificate";
  } else if (loaded->until_s <= before.now_s) {
    problem = "the OCSP response in " + path + " is out of date";
  }
  if (problem.empty()) return std::make_shared<const Staple>(std::move(*loaded));
  std::shared_ptr<const Staple> kept =
      before.context == nullptr ? nullptr : before.context->staple_of(certificate, before.now_s);
  problems_.push_back(problem + (kept == nullptr ? "; nothing is stapled" : kStays));
  unused_.insert(path);
  return kept;
}

conf::Result<std::shared_ptr<const TlsServerContext::Roots>> TlsServerContext::read_roots(
    const std::string& path) {
  const conf::Result<std::string> text = read_tls_file(path);
  if (!text.ok()) return text.error();
  auto certificates = load_certificates(path);
  if (!certificates.ok()) return certificates.error();
  return std::make_shared<const Roots>(Roots{path, sha256(*text), std::move(*certificates)});
}

conf::Status TlsServerContext::load_roots(const std::string& path, const Before& before) {
  conf::Result<std::shared_ptr<const Roots>> loaded = read_roots(path);
  if (loaded.ok()) {
    roots_ = std::move(*loaded);
    return conf::Done{};
  }
  if (before.broken == Broken::is_refused || before.context == nullptr) return loaded.error();
  roots_ = before.context->roots_;
  if (roots_ == nullptr || roots_->path != path) return loaded.error();
  problems_.push_back(loaded.error().detail + kStays);
  unused_.insert(path);
  whole_ = false;
  return conf::Done{};
}

conf::Status TlsServerContext::ask_for_certificates(SSL_CTX* context, bool required) const {
  bssl::UniquePtr<STACK_OF(X509_NAME)> names(sk_X509_NAME_new_null());
  for (const auto& one : roots_->certificates) {
    bssl::UniquePtr<X509_NAME> name(X509_NAME_dup(X509_get_subject_name(one.get())));
    const bool added = X509_STORE_add_cert(SSL_CTX_get_cert_store(context), one.get()) == 1 &&
                       bssl::PushToStack(names.get(), std::move(name));
    if (!added) return refused(roots_->path + " cannot be used");
  }
  SSL_CTX_set_client_CA_list(context, names.release());
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), nullptr);
  return conf::Done{};
}

void TlsServerContext::add_name(std::string name, size_t identity) {
  const bool is_wildcard = name.starts_with("*.");
  Candidates& list = is_wildcard ? wildcard_[name.substr(2)] : exact_[std::move(name)];
  if (list.empty() || list.back() != identity) list.push_back(identity);
}

// An exact name wins over a wildcard, which stands for one label, and not for
// none (RFC 6125, 6.4.3).
const TlsServerContext::Candidates& TlsServerContext::candidates(std::string_view asked) const {
  if (const auto found = exact_.find(asked); found != exact_.end()) return found->second;
  const size_t dot = asked.find('.');
  if (dot == 0 || dot == std::string_view::npos) return fallback_;
  const auto found = wildcard_.find(asked.substr(dot + 1));
  return found == wildcard_.end() ? fallback_ : found->second;
}

// Of certificates for the same name one whose signature is cheaper than RSA's,
// for clients that take it.
SSL_CTX* TlsServerContext::select(const SSL_CLIENT_HELLO& hello, const std::string& asked) const {
  const Candidates& list = asked.empty() ? fallback_ : candidates(asked);
  const auto of_kind = [&](bool rsa) {
    return std::find_if(list.begin(), list.end(), [&](size_t index) {
      const uint16_t scheme = identities_[index].scheme;
      return rsa ? scheme == 0 : scheme != 0 && takes(hello, scheme);
    });
  };
  auto found = of_kind(false);
  if (found == list.end()) found = of_kind(true);
  return identities_[found == list.end() ? list.front() : *found].context.get();
}

// A session is good only under the name that it was made for (RFC 6066, 3). To be
// called behind SSL_set_SSL_CTX, which sets this back.
bool TlsServerContext::bind_sessions(SSL* ssl, const std::string& asked) const {
  const std::string scope = sha256(ticket_scope_ + asked);
  return SSL_set_session_id_context(ssl, reinterpret_cast<const uint8_t*>(scope.data()), scope.size()) == 1;
}

ssl_select_cert_result_t TlsServerContext::on_client_hello(const SSL_CLIENT_HELLO* hello) {
  const TlsServerContext* const self = owner_of(hello->ssl);
  const std::string asked = asked_name(hello->ssl);
  SSL_CTX* const selected = self->select(*hello, asked);
  if (selected != SSL_get_SSL_CTX(hello->ssl)) SSL_set_SSL_CTX(hello->ssl, selected);
  return self->bind_sessions(hello->ssl, asked) ? ssl_select_cert_success : ssl_select_cert_error;
}

bssl::UniquePtr<SSL> TlsServerContext::new_connection() const {
  bssl::UniquePtr<SSL> ssl(SSL_new(identities_.front().context.get()));
  SSL_set_accept_state(ssl.get());
  SSL_set_shed_handshake_config(ssl.get(), 1);
  return ssl;
}

conf::Result<std::shared_ptr<const TlsClientContext>> TlsClientContext::make(
    const conf::TlsClient& settings) {
  static std::atomic<uint64_t> last_serial{0};
  const std::shared_ptr<TlsClientContext> result(new TlsClientContext);
  result->serial_ = ++last_serial;
  result->name_ = settings.sni;
  result->verify_ = settings.verify;
  if (const conf::Status configured = result->configure(settings); !configured.ok())
    return configured.error();
  return std::shared_ptr<const TlsClientContext>(result);
}

conf::Status TlsClientContext::configure(const conf::TlsClient& settings) {
  context_ = new_context();
  SSL_CTX* const context = context_.get();
  if (settings.verify) {
    std::string roots = settings.ca;
    if (roots.empty()) {
      conf::Result<std::string> found = find_system_roots();
      if (!found.ok()) return found.error();
      roots = std::move(*found);
    }
    const auto trusted = load_certificates(roots);
    if (!trusted.ok()) return trusted.error();
    for (const auto& one : *trusted) X509_STORE_add_cert(SSL_CTX_get_cert_store(context), one.get());
    ERR_clear_error();  // bundles hold some roots twice
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  }
  if (!settings.cert.empty()) {
    conf::Result<KeyPair> pair = load_key_pair(settings.cert, settings.key);
    if (!pair.ok()) return pair.error();
    if (const conf::Status used = use_key_pair(context, *pair); !used.ok()) return used.error();
    certificates_.push_back(std::move(pair->info));
  }
  SSL_CTX_set_alpn_protos(context, kAlpn, kAlpnSize);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, TlsStream::on_new_session);
  return conf::Done{};
}

bssl::UniquePtr<SSL> TlsClientContext::new_connection(const std::string& authority) const {
  // Neither is sent with the dot that makes a name absolute (RFC 6066, 3), nor do
  // certificates have it.
  const std::string host = without_dot(name_.empty() ? host_of_authority(authority) : name_);
  bssl::UniquePtr<SSL> ssl(SSL_new(context_.get()));
  SSL_set_connect_state(ssl.get());
  SSL_set_shed_handshake_config(ssl.get(), 1);
  X509_VERIFY_PARAM* const param = SSL_get0_param(ssl.get());
  bool named = true;
  if (is_ip(host)) {
    // An address is no host name: it is not sent (RFC 6066, 3).
    named = !verify_ || X509_VERIFY_PARAM_set1_ip_asc(param, host.c_str()) == 1;
  } else {
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    named = SSL_set_tlsext_host_name(ssl.get(), host.c_str()) == 1 &&
            (!verify_ || X509_VERIFY_PARAM_set1_host(param, host.c_str(), host.size()) == 1);
  }
  ERR_clear_error();
  return named ? std::move(ssl) : nullptr;
}

std::string host_of_authority(const std::string& authority) {
  if (authority.starts_with('[')) return authority.substr(1, authority.find(']') - 1);
  return authority.substr(0, authority.rfind(':'));
}

}  // namespace sluice::proxy
