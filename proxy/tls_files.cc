#include "proxy/tls_files.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/bytestring.h>
#include <openssl/digest.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace sluice::proxy {
namespace {

conf::Error invalid(std::string detail) {
  return {conf::Error::Kind::invalid, conf::Error::Source::operator_, false, std::move(detail)};
}

conf::Error unreadable(const std::string& path, int error) {
  return {conf::Error::Kind::io, conf::Error::Source::system, false,
          path + " cannot be read: " + std::strerror(error)};
}

// PEM blocks may name a cipher; nobody is there who knows the passphrase.
int no_passphrase(char*, int, int, void*) {
  return -1;
}

bssl::UniquePtr<BIO> memory(const std::string& text) {
  return bssl::UniquePtr<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// Wipes a text that held a key.
class Wiped {
 public:
  explicit Wiped(std::string text) : text_(std::move(text)) {}
  Wiped(const Wiped&) = delete;
  Wiped& operator=(const Wiped&) = delete;
  ~Wiped() { OPENSSL_cleanse(text_.data(), text_.size()); }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

conf::Result<bssl::UniquePtr<EVP_PKEY>> load_key(const std::string& path) {
  conf::Result<std::string> read = read_tls_file(path);
  if (!read.ok()) return read.error();
  const Wiped pem(std::move(*read));
  const bssl::UniquePtr<BIO> bio = memory(pem.text());
  bssl::UniquePtr<EVP_PKEY> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (key == nullptr) {
    return invalid(path + " has no private key that can be used: " + take_crypto_error());
  }
  return key;
}

int64_t seconds_of(const ASN1_TIME* time) {
  bssl::UniquePtr<ASN1_TIME> epoch(ASN1_TIME_set(nullptr, 0));
  int days = 0;
  int seconds = 0;
  if (epoch == nullptr || ASN1_TIME_diff(&days, &seconds, epoch.get(), time) != 1) return 0;
  return int64_t{days} * 86400 + seconds;
}

// A GeneralizedTime; 0: it is none.
int64_t time_of(CBS element) {
  const uint8_t* at = CBS_data(&element);
  const bssl::UniquePtr<ASN1_GENERALIZEDTIME> time(
      d2i_ASN1_GENERALIZEDTIME(nullptr, &at, static_cast<long>(CBS_len(&element))));
  return time == nullptr ? 0 : seconds_of(time.get());
}

constexpr unsigned kFirst = CBS_ASN1_CONTEXT_SPECIFIC | CBS_ASN1_CONSTRUCTED | 0;

bool skip(CBS* from) {
  return CBS_get_any_asn1_element(from, nullptr, nullptr, nullptr) == 1;
}

// The list of what the response says of certificates; `whole` is an OCSPResponse
// that was successful.
bool enter_responses(CBS* whole, CBS* responses) {
  CBS bytes, type, basic, signed_part, data;
  return CBS_get_asn1(whole, &bytes, kFirst) == 1 && CBS_get_asn1(&bytes, &bytes, CBS_ASN1_SEQUENCE) == 1 &&
         CBS_get_asn1(&bytes, &type, CBS_ASN1_OBJECT) == 1 &&
         CBS_get_asn1(&bytes, &basic, CBS_ASN1_OCTETSTRING) == 1 &&
         CBS_get_asn1(&basic, &signed_part, CBS_ASN1_SEQUENCE) == 1 &&
         CBS_get_asn1(&signed_part, &data, CBS_ASN1_SEQUENCE) == 1 &&
         CBS_get_optional_asn1(&data, nullptr, nullptr, kFirst) == 1 &&  // version
         skip(&data) &&                                                  // responderID
         CBS_get_asn1(&data, nullptr, CBS_ASN1_GENERALIZEDTIME) == 1 &&  // producedAt
         CBS_get_asn1(&data, responses, CBS_ASN1_SEQUENCE) == 1;
}

// The next of them: of which certificate it speaks, and until when.
bool take_response(CBS* responses, CBS* serial, int64_t* until_s) {
  CBS one, id, next;
  int has_next = 0;
  if (CBS_get_asn1(responses, &one, CBS_ASN1_SEQUENCE) != 1 ||
      CBS_get_asn1(&one, &id, CBS_ASN1_SEQUENCE) != 1 || !skip(&id) || !skip(&id) || !skip(&id) ||
      CBS_get_any_asn1_element(&id, serial, nullptr, nullptr) != 1 || !skip(&one) ||  // certStatus
      CBS_get_asn1(&one, nullptr, CBS_ASN1_GENERALIZEDTIME) != 1 ||                   // thisUpdate
      CBS_get_optional_asn1(&one, &next, &has_next, kFirst) != 1) {
    return false;
  }
  *until_s = has_next == 1 ? time_of(next) : Staple::kForever;
  return true;
}

std::string text_of(const ASN1_STRING* string) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
          static_cast<size_t>(ASN1_STRING_length(string))};
}

std::vector<std::string> names_of(X509* certificate) {
  std::vector<std::string> names;
  const bssl::UniquePtr<GENERAL_NAMES> alternatives(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (size_t i = 0; alternatives != nullptr && i < sk_GENERAL_NAME_num(alternatives.get()); ++i) {
    const GENERAL_NAME* const one = sk_GENERAL_NAME_value(alternatives.get(), i);
    if (one->type == GEN_DNS) names.push_back(text_of(one->d.dNSName));
    if (one->type == GEN_IPADD) names.push_back(ip_text(one->d.iPAddress));
  }
  if (!names.empty()) return names;
  X509_NAME* const subject = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at >= 0) names.push_back(text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at))));
  return names;
}

// What an operator can do something with; null: nothing better than the reason.
const char* words_for(uint32_t error) {
  const int reason = ERR_GET_REASON(error);
  switch (ERR_GET_LIB(error)) {
    case ERR_LIB_PEM:
      if (reason == PEM_R_NO_START_LINE) return "nothing of the kind in PEM is in it";
      if (reason == PEM_R_BAD_PASSWORD_READ)
        return "it is encrypted, and nobody is there to give a passphrase";
      return "the file is cut off or damaged";
    case ERR_LIB_EVP:
      if (reason == EVP_R_UNSUPPORTED_ALGORITHM) return "keys of its kind cannot be used";
      return "the file is cut off or damaged";
    case ERR_LIB_SSL:
      return reason == SSL_R_UNKNOWN_CERTIFICATE_TYPE ? "keys of its kind cannot be used" : nullptr;
    case ERR_LIB_ASN1:
    case ERR_LIB_EC:
    case ERR_LIB_RSA:
    case ERR_LIB_X509:
      return "the file is cut off or damaged";
    default:
      return nullptr;
  }
}

const char* key_kind(X509* certificate) {
  const bssl::UniquePtr<EVP_PKEY> key(X509_get_pubkey(certificate));
  if (key == nullptr) return "other";
  if (EVP_PKEY_id(key.get()) == EVP_PKEY_EC) return "ecdsa";
  return EVP_PKEY_id(key.get()) == EVP_PKEY_RSA ? "rsa" : "other";
}

}  // namespace

std::string take_crypto_error() {
  const uint32_t error = ERR_peek_last_error();
  const char* const reason = ERR_reason_error_string(error);
  const char* const words = words_for(error);
  ERR_clear_error();
  if (reason == nullptr) return "no reason was given";
  return words == nullptr ? reason : std::string(words) + " (" + reason + ")";
}

std::string name_text(const X509_NAME* name) {
  const bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
  const uint8_t* data = nullptr;
  size_t size = 0;
  X509_NAME_print_ex(bio.get(), const_cast<X509_NAME*>(name), 0, XN_FLAG_RFC2253);
  if (BIO_mem_contents(bio.get(), &data, &size) != 1) return {};
  return {reinterpret_cast<const char*>(data), size};
}

CertificateInfo describe(X509* certificate, const std::string& file) {
  CertificateInfo info;
  info.file = file;
  info.subject = name_text(X509_get_subject_name(certificate));
  info.issuer = name_text(X509_get_issuer_name(certificate));
  info.names = names_of(certificate);
  info.key = key_kind(certificate);
  info.not_before_s = seconds_of(X509_get0_notBefore(certificate));
  info.not_after_s = seconds_of(X509_get0_notAfter(certificate));
  uint8_t digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  X509_digest(certificate, EVP_sha256(), digest, &size);
  constexpr char kDigits[] = "0123456789abcdef";
  for (unsigned i = 0; i < size; ++i) {
    info.fingerprint += kDigits[digest[i] >> 4];
    info.fingerprint += kDigits[digest[i] & 15];
  }
  return info;
}

conf::Result<std::string> read_tls_file(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return unreadable(path, errno);
  // Room for one octet more, so that what is too large is noticed; resized
  // once, so that no copy of a key is left behind by a growing string.
  const off_t end = lseek(fd, 0, SEEK_END);
  const bool fits = end >= 0 && static_cast<size_t>(end) <= kMostFileBytes;
  std::string text(fits ? static_cast<size_t>(end) : 0, '\0');
  size_t filled = 0;
  ssize_t got = 0;
  while (filled < text.size() &&
         (got = pread(fd, text.data() + filled, text.size() - filled, static_cast<off_t>(filled))) > 0) {
    filled += static_cast<size_t>(got);
  }
  const int error = got < 0 ? errno : 0;
  close(fd);
  if (error != 0) {
    OPENSSL_cleanse(text.data(), text.size());
    return unreadable(path, error);
  }
  if (!fits) return invalid(path + " is too large, or no regular file");
  text.resize(filled);
  return text;
}

conf::Result<std::vector<bssl::UniquePtr<X509>>> load_certificates(const std::string& path) {
  conf::Result<std::string> read = read_tls_file(path);
  if (!read.ok()) return read.error();
  const Wiped pem(std::move(*read));  // keys may lie beside certificates
  const bssl::UniquePtr<BIO> bio = memory(pem.text());
  std::vector<bssl::UniquePtr<X509>> result;
  while (X509* const one = PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr))
    result.emplace_back(one);
  // The end of the file shows itself as "no further block".
  const uint32_t error = ERR_peek_last_error();
  if (ERR_GET_LIB(error) != ERR_LIB_PEM || ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
    return invalid("the certificate number " + std::to_string(result.size() + 1) + " in " + path +
                   " cannot be read: " + take_crypto_error());
  }
  ERR_clear_error();
  if (result.empty()) return invalid(path + " has no certificate in PEM");
  return result;
}

conf::Result<KeyPair> load_key_pair(const std::string& cert, const std::string& key) {
  auto chain = load_certificates(cert);
  if (!chain.ok()) return chain.error();
  auto private_key = load_key(key);
  if (!private_key.ok()) return private_key.error();
  KeyPair pair;
  pair.leaf = std::move(chain->front());
  for (size_t i = 1; i < chain->size(); ++i) pair.intermediates.push_back(std::move((*chain)[i]));
  pair.key = std::move(*private_key);
  if (X509_check_private_key(pair.leaf.get(), pair.key.get()) != 1) {
    ERR_clear_error();
    return invalid("the key in " + key + " does not belong to the first certificate in " + cert);
  }
  pair.info = describe(pair.leaf.get(), cert);
  return pair;
}

conf::Result<Staple> load_staple(const std::string& path, const X509* certificate) {
  conf::Result<std::string> read = read_tls_file(path);
  if (!read.ok()) return read.error();
  Staple staple;
  staple.der.assign(read->begin(), read->end());
  CBS file, response, status, responses;
  CBS_init(&file, staple.der.data(), staple.der.size());
  const bool whole = CBS_get_asn1(&file, &response, CBS_ASN1_SEQUENCE) == 1 && CBS_len(&file) == 0;
  if (!whole || CBS_get_asn1(&response, &status, CBS_ASN1_ENUMERATED) != 1) {
    return invalid(path + " is no OCSP response in DER");
  }
  if (CBS_len(&status) != 1 || CBS_data(&status)[0] != 0) {
    return invalid(path + " holds an OCSP response that says that the request failed");
  }
  if (!enter_responses(&response, &responses)) return invalid(path + " is no OCSP response in DER");
  uint8_t* text = nullptr;
  const int size = i2d_ASN1_INTEGER(X509_get0_serialNumber(certificate), &text);
  const bssl::UniquePtr<uint8_t> ours(text);
  while (CBS_len(&responses) > 0 && !staple.fits) {
    CBS serial;
    if (!take_response(&responses, &serial, &staple.until_s)) {
      return invalid(path + " is no OCSP response in DER");
    }
    staple.fits = size > 0 && CBS_mem_equal(&serial, ours.get(), static_cast<size_t>(size)) == 1;
  }
  return staple;
}

conf::Result<std::string> find_system_roots() {
  if (const char* const named = std::getenv("SSL_CERT_FILE"); named != nullptr && *named != '\0') {
    return std::string(named);
  }
  constexpr const char* kPlaces[] = {
      "/etc/ssl/certs/ca-certificates.crt",  // Debian, Arch, Gentoo
      "/etc/pki/tls/certs/ca-bundle.crt",    // Fedora and its kin
      "/etc/ssl/ca-bundle.pem",              // openSUSE
      "/etc/ssl/cert.pem",                   // Alpine
  };
  for (const char* const place : kPlaces) {
    if (access(place, R_OK) == 0) return std::string(place);
  }
  return invalid(
      "this system has no bundle of root certificates where one is looked for: name one with `ca`");
}

std::string ip_text(const ASN1_OCTET_STRING* ip) {
  char text[INET6_ADDRSTRLEN] = {};
  const int size = ASN1_STRING_length(ip);
  if (size != 4 && size != 16) return {};
  inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(ip), text, sizeof(text));
  return text;
}

}  // namespace sluice::proxy
