#include "certificates.h"

#include <openssl/bio.h>
#include <openssl/ec_key.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace sluice::proxy::test {
namespace {

// Nothing here depends on what is tested.
void must(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

Folder::Folder() {
  std::string name = (std::filesystem::temp_directory_path() / "sluice-tls-XXXXXX").string();
  must(mkdtemp(name.data()) != nullptr);
  path_ = name;
}

Folder::~Folder() {
  std::filesystem::remove_all(path_);
}

std::string Folder::write(const std::string& name, const std::string& text) const {
  // Replaced as a whole, like a careful tool would.
  std::ofstream(path(name + ".new"), std::ios::binary) << text;
  std::filesystem::rename(path(name + ".new"), path(name));
  return path(name);
}

namespace {

bssl::UniquePtr<EVP_PKEY> make_key(bool rsa) {
  bssl::UniquePtr<EVP_PKEY> key(EVP_PKEY_new());
  if (rsa) {
    bssl::UniquePtr<RSA> numbers(RSA_new());
    bssl::UniquePtr<BIGNUM> exponent(BN_new());
    BN_set_word(exponent.get(), RSA_F4);
    must(RSA_generate_key_ex(numbers.get(), 2048, exponent.get(), nullptr) == 1);
    EVP_PKEY_set1_RSA(key.get(), numbers.get());
  } else {
    bssl::UniquePtr<EC_KEY> point(EC_KEY_new_by_curve_name(NID_X9_62_prime256v1));
    must(EC_KEY_generate_key(point.get()) == 1);
    EVP_PKEY_set1_EC_KEY(key.get(), point.get());
  }
  return key;
}

void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  bssl::UniquePtr<X509_EXTENSION> extension(X509V3_EXT_nconf_nid(nullptr, &context, nid, value.c_str()));
  must(extension != nullptr);
  X509_add_ext(certificate, extension.get(), -1);
}

std::string text_of(BIO* bio) {
  const uint8_t* data = nullptr;
  size_t size = 0;
  must(BIO_mem_contents(bio, &data, &size) == 1);
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace

Certificate::Certificate(const Wanted& wanted, const Certificate* issuer)
    : key_(make_key(wanted.rsa)), certificate_(X509_new()) {
  static long serial = 1;
  X509* const x509 = certificate_.get();
  X509_set_version(x509, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(x509), serial++);
  X509_gmtime_adj(X509_getm_notBefore(x509), wanted.from_days * 86400L);
  X509_gmtime_adj(X509_getm_notAfter(x509), wanted.to_days * 86400L);
  X509_set_pubkey(x509, key_.get());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const uint8_t*>(wanted.common_name.data()),
                             static_cast<int>(wanted.common_name.size()), -1, 0);
  X509* const signer = issuer == nullptr ? x509 : issuer->certificate_.get();
  X509_set_issuer_name(x509, X509_get_subject_name(signer));
  add_extension(x509, signer, NID_basic_constraints, issuer == nullptr ? "critical,CA:TRUE" : "CA:FALSE");
  if (!wanted.san.empty()) add_extension(x509, signer, NID_subject_alt_name, wanted.san);
  must(X509_sign(x509, issuer == nullptr ? key_.get() : issuer->key_.get(), EVP_sha256()) > 0);
}

std::string Certificate::pem() const {
  bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), certificate_.get());
  return text_of(bio.get());
}

std::string Certificate::key_pem() const {
  bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey(bio.get(), key_.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return text_of(bio.get());
}

conf::TlsServer::KeyPair write_pair(const Folder& folder, const std::string& name,
                                    const Certificate& certificate) {
  return {folder.write(name + ".crt", certificate.pem()), folder.write(name + ".key", certificate.key_pem()),
          ""};
}

}  // namespace sluice::proxy::test
