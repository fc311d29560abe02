#include "proxy/client_certificate.h"

#include <openssl/x509v3.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "proxy/tls_files.h"

namespace sluice::proxy {
namespace {

std::string escaped(const ASN1_STRING* text) {
  constexpr std::string_view kPlain = "-._~:/?#[]@!$&'()*+;=";
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string result;
  const unsigned char* const data = ASN1_STRING_get0_data(text);
  for (int i = 0; i < ASN1_STRING_length(text); ++i) {
    const auto c = static_cast<char>(data[i]);
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                          kPlain.find(c) != std::string_view::npos;
    if (is_plain) {
      result += c;
    } else {
      result += '%';
      result += kDigits[data[i] >> 4];
      result += kDigits[data[i] & 15];
    }
  }
  return result;
}

// Empty for kinds of names that nobody uses to tell clients apart.
std::string entry_text(const GENERAL_NAME& name) {
  switch (name.type) {
    case GEN_DNS:
      return "DNS:" + escaped(name.d.dNSName);
    case GEN_URI:
      return "URI:" + escaped(name.d.uniformResourceIdentifier);
    case GEN_EMAIL:
      return "EMAIL:" + escaped(name.d.rfc822Name);
    case GEN_IPADD:
      return "IP:" + ip_text(name.d.iPAddress);
    default:
      return {};
  }
}

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

}  // namespace

PeerCertificate describe_client(X509* certificate) {
  PeerCertificate result;
  result.subject = name_text(X509_get_subject_name(certificate));
  const bssl::UniquePtr<GENERAL_NAMES> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (size_t i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const std::string entry = entry_text(*sk_GENERAL_NAME_value(names.get(), i));
    if (entry.empty()) continue;
    if (!result.san.empty()) result.san += ", ";
    result.san += entry;
  }
  for (std::string* const text : {&result.subject, &result.san}) {
    if (text->size() > kMostCertificateText || !is_printable(*text)) text->clear();
  }
  return result;
}

std::unique_ptr<PeerCertificate> read_client_certificate(const SSL* ssl) {
  const bssl::UniquePtr<X509> certificate(SSL_get_peer_certificate(ssl));
  if (certificate == nullptr) return nullptr;
  return std::make_unique<PeerCertificate>(describe_client(certificate.get()));
}

}  // namespace sluice::proxy
