#include "proxy/head.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace sluice::proxy {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

struct Known {
  std::string_view name;
  FieldId id;
};

constexpr Known kKnown[] = {
    {"te", FieldId::te},
    {"via", FieldId::via},
    {"date", FieldId::date},
    {"host", FieldId::host},
    {"cookie", FieldId::cookie},
    {"expect", FieldId::expect},
    {"trailer", FieldId::trailer},
    {"upgrade", FieldId::upgrade},
    {"forwarded", FieldId::forwarded},
    {"connection", FieldId::connection},
    {"keep-alive", FieldId::keep_alive},
    {"tracestate", FieldId::tracestate},
    {"traceparent", FieldId::traceparent},
    {"max-forwards", FieldId::max_forwards},
    {"x-request-id", FieldId::x_request_id},
    {"content-length", FieldId::content_length},
    {"http2-settings", FieldId::http2_settings},
    {"x-forwarded-for", FieldId::x_forwarded_for},
    {"proxy-connection", FieldId::proxy_connection},
    {"x-forwarded-host", FieldId::x_forwarded_host},
    {"transfer-encoding", FieldId::transfer_encoding},
    {"x-client-cert-san", FieldId::x_client_cert_san},
    {"x-forwarded-proto", FieldId::x_forwarded_proto},
    {"proxy-authenticate", FieldId::proxy_authenticate},
    {"proxy-authorization", FieldId::proxy_authorization},
    {"x-client-cert-subject", FieldId::x_client_cert_subject},
};
constexpr size_t kLongestKnown = 21;

// Where the names of each length begin in kKnown, which is sorted by length.
struct LengthIndex {
  uint8_t begin[kLongestKnown + 2] = {};
  constexpr LengthIndex() {
    size_t at = 0;
    for (size_t length = 0; length <= kLongestKnown + 1; ++length) {
      while (at < std::size(kKnown) && kKnown[at].name.size() < length) ++at;
      begin[length] = static_cast<uint8_t>(at);
    }
  }
};
constexpr LengthIndex kByLength;

uint64_t eight_octets(const char* at) {
  uint64_t word = 0;
  std::memcpy(&word, at, 8);
  return word;
}

// `known` is in lower case. Bit 5 makes a letter small; what else a token may
// have it leaves as it is, or makes something that is in no known name.
bool is_known(std::string_view token, std::string_view known) {
  constexpr uint64_t kSmall = 0x2020202020202020U;
  const size_t size = known.size();
  if (size < 8) {
    for (size_t i = 0; i < size; ++i) {
      if ((token[i] | 0x20) != known[i]) return false;
    }
    return true;
  }
  const auto differ = [&](size_t at) {
    return (eight_octets(token.data() + at) | kSmall) != eight_octets(known.data() + at);
  };
  for (size_t at = 0; at + 8 <= size; at += 8) {
    if (differ(at)) return false;
  }
  return !differ(size - 8);
}

}  // namespace

bool equal_fold(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

FieldId field_id(std::string_view name) {
  if (name.size() > kLongestKnown) return FieldId::other;
  const size_t end = kByLength.begin[name.size() + 1];
  for (size_t i = kByLength.begin[name.size()]; i < end; ++i) {
    if (is_known(name, kKnown[i].name)) return kKnown[i].id;
  }
  return FieldId::other;
}

FieldId underscored_id(std::string_view name) {
  if (name.size() > kLongestKnown || name.find('_') == std::string_view::npos) return FieldId::other;
  std::array<char, kLongestKnown> dashed;
  std::replace_copy(name.begin(), name.end(), dashed.begin(), '_', '-');
  return field_id({dashed.data(), name.size()});
}

bool is_kin_of_forwarding(std::string_view name) {
  constexpr std::string_view kPrefix = "x-forwarded-";
  constexpr std::string_view kReal = "x-real-ip";
  if (name.size() < kReal.size() || (name[0] | 0x20) != 'x') return false;
  const auto begins_with = [name](std::string_view known) {
    return name.size() >= known.size() &&
           std::equal(known.begin(), known.end(), name.begin(), [](char wanted, char c) {
             return wanted == '-' ? c == '-' || c == '_' : wanted == (c | 0x20);
           });
  };
  return begins_with(kPrefix) || (name.size() == kReal.size() && begins_with(kReal));
}

const Field* Fields::find(FieldId id) const {
  for (const Field& field : fields_) {
    if (field.id == id && !field.dropped) return &field;
  }
  return nullptr;
}

const Field* Fields::find(std::string_view wanted) const {
  for (const Field& field : fields_) {
    if (!field.dropped && field.name_size == wanted.size() && equal_fold(name(field), wanted)) return &field;
  }
  return nullptr;
}

void Fields::own() {
  owned_.assign(block_, block_size_);
  block_ = owned_.data();
}

void RequestHead::own() {
  const char* const from = fields.block();
  fields.own();
  const char* const to = fields.block();
  const size_t size = fields.block_size();
  method_text = Fields::moved(method_text, from, size, to);
  target = Fields::moved(target, from, size, to);
  authority = Fields::moved(authority, from, size, to);
  upgrade = Fields::moved(upgrade, from, size, to);
}

}  // namespace sluice::proxy
