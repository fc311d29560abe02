// What lies in files and belongs to TLS: certificate chains, private keys,
// roots, OCSP responses; and what a certificate says, as text.
//
// Every function reads its file anew and is all or nothing. An error is a whole
// sentence that names the file. Memory that held a private key is wiped before
// it is given back (OPENSSL_free does that too, inside BoringSSL), and no text
// made here ever has anything of a key in it. Encrypted keys are refused: there
// is nobody to ask for a passphrase.
//
// Thread: any; used on the control thread, which may wait for a disk.
#pragma once

#include <openssl/x509.h>

#include <cstdint>
#include <string>
#include <vector>

#include "conf/result.h"

namespace sluice::proxy {

// What operators want to know of a certificate.
struct CertificateInfo {
  std::string file;
  std::string subject;  // RFC 2253: "CN=shop.example.com,O=Example"
  std::string issuer;
  std::vector<std::string> names;  // dNSName and iPAddress entries; the CN where there are none
  std::string fingerprint;         // SHA-256 of the DER, lower-case hex
  std::string key;                 // "ecdsa", "rsa" or "other"
  int64_t not_before_s = 0;        // since the epoch
  int64_t not_after_s = 0;
};

// A certificate chain, leaf first, and the leaf's key, which fits.
struct KeyPair {
  bssl::UniquePtr<X509> leaf;
  std::vector<bssl::UniquePtr<X509>> intermediates;
  bssl::UniquePtr<EVP_PKEY> key;
  CertificateInfo info;
};

conf::Result<KeyPair> load_key_pair(const std::string& cert, const std::string& key);

// An OCSP response (RFC 6960, 4.2.1) to be stapled. Who has signed it is not
// looked at: that is its readers' to judge.
struct Staple {
  std::vector<uint8_t> der;
  bool fits = false;           // it speaks of the certificate
  int64_t until_s = kForever;  // its nextUpdate, since the epoch
  static constexpr int64_t kForever = INT64_MAX;
};
conf::Result<Staple> load_staple(const std::string& path, const X509* certificate);

// All certificates of a PEM file, at least one.
conf::Result<std::vector<bssl::UniquePtr<X509>>> load_certificates(const std::string& path);

// The bundle of roots that this system trusts: what SSL_CERT_FILE names, or the
// first of the places where distributions keep it.
conf::Result<std::string> find_system_roots();

// Octets of a file, at most kMostFileBytes.
inline constexpr size_t kMostFileBytes = 8 * 1024 * 1024;
conf::Result<std::string> read_tls_file(const std::string& path);

CertificateInfo describe(X509* certificate, const std::string& file);
// A name as RFC 2253 writes it, in printable ASCII.
std::string name_text(const X509_NAME* name);

// The newest reason in this thread's queue of errors, which is emptied: in words
// where there are some, with BoringSSL's own behind them in brackets.
std::string take_crypto_error();

// The address in a subject alternative name (RFC 5280, 4.2.1.6); empty: it is none.
std::string ip_text(const ASN1_OCTET_STRING* ip);

}  // namespace sluice::proxy
