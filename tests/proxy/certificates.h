// Certificates made on the spot, for tests and fuzzing: no file of the
// repository has a key in it.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <string>

#include "conf/config.h"

namespace sluice::proxy::test {

// A folder that goes with the test.
class Folder {
 public:
  Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder();
  std::string path(const std::string& name) const { return path_ + "/" + name; }
  std::string write(const std::string& name, const std::string& text) const;

 private:
  std::string path_;
};

struct Wanted {
  std::string common_name = "test";
  std::string san = {};  // as in openssl.cnf: "DNS:a.test,IP:127.0.0.1"
  bool rsa = false;
  int from_days = -1;
  int to_days = 30;
};

// A certificate and its key. Without an issuer it is a root.
class Certificate {
 public:
  explicit Certificate(const Wanted& wanted, const Certificate* issuer = nullptr);
  std::string pem() const;
  std::string key_pem() const;
  X509* x509() const { return certificate_.get(); }

 private:
  bssl::UniquePtr<EVP_PKEY> key_;
  bssl::UniquePtr<X509> certificate_;
};

// Writes NAME.crt and NAME.key and names them as a key pair.
conf::TlsServer::KeyPair write_pair(const Folder& folder, const std::string& name,
                                    const Certificate& certificate);

}  // namespace sluice::proxy::test
