// Heads: what a request or a response says before its body, in no protocol's
// syntax (RFC 9110). A codec makes them and another codec writes them.
//
// The fields are views, held as offsets into one block of memory: while a codec
// has just parsed a head, that is the read buffer; own() copies the block, so
// that a request can be sent again on another connection. Fields keep their
// order and their spelling. What concerns one hop only is dropped by the codec
// and its meaning kept in the members.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::proxy {

// The fields that the proxy itself must understand.
enum class FieldId : uint8_t {
  other,
  connection,
  content_length,
  cookie,
  date,
  expect,
  forwarded,
  host,
  http2_settings,
  keep_alive,
  max_forwards,
  proxy_authenticate,
  proxy_authorization,
  proxy_connection,
  te,
  traceparent,
  tracestate,
  trailer,
  transfer_encoding,
  upgrade,
  via,
  x_client_cert_san,
  x_client_cert_subject,
  x_forwarded_for,
  x_forwarded_host,
  x_forwarded_proto,
  x_request_id,
};
// Of a token (RFC 9110, 5.6.2), in any case.
FieldId field_id(std::string_view name);
// Of a name with underscores: the field that servers take it for which read an
// underscore as a dash (RFC 3875, 4.1.18). `other` for any other name.
FieldId underscored_id(std::string_view name);
// X-Forwarded-Port and its kin, with dashes or underscores, and X-Real-IP: what
// servers take for the word of whoever stands in front of them.
bool is_kin_of_forwarding(std::string_view name);
bool equal_fold(std::string_view a, std::string_view b);

struct Field {
  uint32_t name_begin = 0;
  uint32_t value_begin = 0;
  uint32_t value_size = 0;
  uint16_t name_size = 0;
  FieldId id = FieldId::other;
  bool dropped = false;  // not to be passed on
};

// How the end of a body is known (RFC 9112, 6.3), in any version of HTTP.
enum class BodyKind : uint8_t {
  none,
  length,       // content_length octets
  open_ended,   // ends when its sender says so: chunked, or a stream's end
  until_close,  // ends with the connection; responses of HTTP/1 only
};

class Fields {
 public:
  void clear() { fields_.clear(); }
  void set_block(const char* block, uint32_t size) {
    block_ = block;
    block_size_ = size;
  }
  void add(const Field& field) { fields_.push_back(field); }

  const char* block() const { return block_; }
  uint32_t block_size() const { return block_size_; }
  std::vector<Field>& all() { return fields_; }
  const std::vector<Field>& all() const { return fields_; }
  std::string_view name(const Field& field) const { return {block_ + field.name_begin, field.name_size}; }
  std::string_view value(const Field& field) const { return {block_ + field.value_begin, field.value_size}; }
  // The first field that is not dropped, or null.
  const Field* find(FieldId id) const;
  const Field* find(std::string_view name) const;

  // Makes the block the fields' own.
  void own();
  // A view into a block of `size` octets at `from`, moved to the same place at
  // `to`; views of other memory (literals) stay.
  static std::string_view moved(std::string_view view, const char* from, size_t size, const char* to) {
    if (view.data() < from || view.data() >= from + size) return view;
    return {to + (view.data() - from), view.size()};
  }

 private:
  const char* block_ = nullptr;
  uint32_t block_size_ = 0;
  std::vector<Field> fields_;
  std::string owned_;
};

enum class Method : uint8_t { get, head, post, put, delete_, options, patch, trace, connect, other };

// Safe methods may be sent twice without harm, idempotent ones too (RFC 9110,
// 9.2.1 and 9.2.2).
constexpr bool is_safe(Method method) {
  return method == Method::get || method == Method::head || method == Method::options ||
         method == Method::trace;
}
constexpr bool is_idempotent(Method method) {
  return is_safe(method) || method == Method::put || method == Method::delete_;
}

struct RequestHead {
  Fields fields;
  std::string_view method_text;
  std::string_view target;     // origin-form, or "*"
  std::string_view authority;  // host and port as asked for; may be empty
  uint64_t content_length = 0;
  uint32_t max_forwards = ~0U;  // ~0: none given
  Method method = Method::get;
  BodyKind body = BodyKind::none;
  uint8_t minor_version = 1;  // of HTTP/1
  bool expects_continue = false;
  bool accepts_trailers = false;
  std::string_view upgrade;  // the protocols asked for; empty: none

  std::string_view path() const { return target.substr(0, target.find('?')); }
  void own();
};

struct ResponseHead {
  Fields fields;
  std::string_view reason;
  uint64_t content_length = 0;
  uint16_t status = 0;
  BodyKind body = BodyKind::none;
  uint8_t minor_version = 1;
  std::string_view upgrade;  // for 101 and 426

  bool interim() const { return status < 200 && status != 101; }
};

}  // namespace sluice::proxy
