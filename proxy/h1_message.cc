#include "proxy/h1_message.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

namespace sluice::proxy {
namespace {

constexpr const char* kRequestError = "http_request_error";
constexpr Problem kBadRequestLine{400, kRequestError, "a malformed request line"};
constexpr Problem kBadMethod{400, kRequestError, "the method is no token"};
constexpr Problem kBadTarget{400, kRequestError, "an octet that no request target may have"};
constexpr Problem kBadTargetForm{400, kRequestError, "the target is neither a path nor an http URI"};
constexpr Problem kBadTargetAuthority{400, kRequestError, "the target's authority is malformed"};
constexpr Problem kConnect{405, kRequestError, "CONNECT is not supported"};
constexpr Problem kTrace{405, kRequestError, "TRACE is not supported"};
constexpr Problem kBadVersion{400, kRequestError, "a malformed HTTP version"};
constexpr Problem kVersionNotSupported{505, kRequestError, "an HTTP version other than 1.0 and 1.1"};
constexpr Problem kNoHost{400, kRequestError, "no Host field"};
constexpr Problem kManyHosts{400, kRequestError, "more than one Host field"};
constexpr Problem kBadHost{400, kRequestError, "a malformed Host field"};
constexpr Problem kExpectation{417, kRequestError, "an expectation other than 100-continue"};
constexpr Problem kBadMaxForwards{400, kRequestError, "Max-Forwards is no number"};

constexpr const char* kProtocolError = "http_protocol_error";
constexpr Problem kBadStatusLine{502, kProtocolError, "a malformed status line"};
constexpr Problem kBadResponseField{502, kProtocolError,
                                    "a malformed field line, or a second Content-Length"};
constexpr Problem kBadFraming{502, kProtocolError, "conflicting or malformed body framing"};
constexpr Problem kUnaskedUpgrade{502, kProtocolError, "a switch of protocols that nobody asked for"};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
bool is_alpha(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

Method method_of(std::string_view text) {
  switch (text.size()) {
    case 3:
      if (text == "GET") return Method::get;
      if (text == "PUT") return Method::put;
      break;
    case 4:
      if (text == "HEAD") return Method::head;
      if (text == "POST") return Method::post;
      break;
    case 5:
      if (text == "PATCH") return Method::patch;
      if (text == "TRACE") return Method::trace;
      break;
    case 6:
      if (text == "DELETE") return Method::delete_;
      break;
    case 7:
      if (text == "OPTIONS") return Method::options;
      if (text == "CONNECT") return Method::connect;
      break;
    default:
      break;
  }
  return Method::other;
}

// "HTTP/" DIGIT "." DIGIT, of which only major version 1 is spoken here.
const Problem* read_version(std::string_view text, uint8_t& minor) {
  if (text.size() != 8 || !text.starts_with("HTTP/") || !is_digit(text[5]) || text[6] != '.' ||
      !is_digit(text[7])) {
    return &kBadVersion;
  }
  if (text[5] != '1') return &kVersionNotSupported;
  minor = text[7] == '0' ? 0 : 1;
  return nullptr;
}

bool has_bad_target_octet(std::string_view target) {
  for (const char c : target) {
    const auto octet = static_cast<unsigned char>(c);
    if (octet <= 0x20 || octet >= 0x7f || c == '#') return true;
  }
  return target.empty();
}

// "http://authority/path?query": the target becomes origin-form and the
// authority replaces Host (RFC 9112, 3.2.2). `target` points into memory that
// may be changed.
const Problem* read_absolute_form(RequestHead& request, size_t scheme_size) {
  const size_t begin = scheme_size + 3;
  const size_t end = std::min(request.target.find_first_of("/?", begin), request.target.size());
  request.authority = request.target.substr(begin, end - begin);
  if (!is_authority(request.authority)) return &kBadTargetAuthority;
  std::string_view rest = request.target.substr(end);
  if (rest.empty()) {
    request.target = request.method == Method::options ? "*" : "/";
  } else if (rest.front() == '?') {
    // The path is empty: make room for its slash by moving the authority one
    // to the left, over the second slash before it.
    auto* const authority = const_cast<char*>(request.authority.data());
    std::memmove(authority - 1, authority, request.authority.size());
    request.authority = {authority - 1, request.authority.size()};
    authority[request.authority.size() - 1] = '/';
    request.target = {rest.data() - 1, rest.size() + 1};
  } else {
    request.target = rest;
  }
  return nullptr;
}

const Problem* read_target(RequestHead& request) {
  if (has_bad_target_octet(request.target)) return &kBadTarget;
  if (request.method == Method::connect) return &kConnect;
  if (request.method == Method::trace) return &kTrace;
  if (request.target.front() == '/') return nullptr;
  if (request.target == "*") return request.method == Method::options ? nullptr : &kBadTargetForm;
  const size_t colon = request.target.find("://");
  if (colon == std::string_view::npos) return &kBadTargetForm;
  const std::string_view scheme = request.target.substr(0, colon);
  if (!equal_fold(scheme, "http") && !equal_fold(scheme, "https")) return &kBadTargetForm;
  return read_absolute_form(request, colon);
}

const Problem* read_request_line(std::string_view line, RequestHead& request) {
  const size_t first = line.find(' ');
  if (first == std::string_view::npos) return &kBadRequestLine;
  const size_t second = line.find(' ', first + 1);
  if (second == std::string_view::npos) return &kBadRequestLine;
  request.method_text = line.substr(0, first);
  request.target = line.substr(first + 1, second - first - 1);
  request.method = method_of(request.method_text);
  if (request.method == Method::other && !is_token(request.method_text)) return &kBadMethod;
  if (const Problem* problem = read_version(line.substr(second + 1), request.minor_version)) return problem;
  return read_target(request);
}

const Problem* read_host(RequestHead& request) {
  Field* host = nullptr;
  for (Field& field : request.fields.all()) {
    if (field.id != FieldId::host) continue;
    if (host != nullptr) return &kManyHosts;
    host = &field;
  }
  const bool absolute = !request.authority.empty();
  if (host == nullptr) return request.minor_version >= 1 ? &kNoHost : nullptr;
  const std::string_view value = request.fields.value(*host);
  if (!is_authority(value)) return &kBadHost;
  if (absolute) {
    host->dropped = true;
  } else {
    request.authority = value;
  }
  return nullptr;
}

const Problem* read_expect(RequestHead& request) {
  bool unknown = false;
  for (Field& field : request.fields.all()) {
    if (field.id != FieldId::expect) continue;
    field.dropped = true;
    for_each_element(request.fields.value(field), [&](std::string_view expectation) {
      (equal_fold(expectation, "100-continue") ? request.expects_continue : unknown) = true;
    });
  }
  if (unknown) return &kExpectation;
  const bool has_body = request.body == BodyKind::open_ended || request.content_length > 0;
  if (request.minor_version == 0 || !has_body) request.expects_continue = false;
  return nullptr;
}

// A tunnel is offered to the upstream only for a request without a body, never
// to h2c, which would carry requests past every check (RFC 9110, 7.8).
void read_upgrade(RequestHead& request, const ConnectionOptions& options) {
  const bool has_body = request.body == BodyKind::open_ended || request.content_length > 0;
  if (!options.upgrade || request.minor_version == 0 || has_body) return;
  for (const Field& field : request.fields.all()) {
    if (field.id != FieldId::upgrade) continue;
    bool refused = !request.upgrade.empty();
    for_each_element(request.fields.value(field), [&](std::string_view protocol) {
      const std::string_view name = protocol.substr(0, protocol.find('/'));
      if (equal_fold(name, "h2c") || equal_fold(name, "HTTP") || equal_fold(name, "TLS") || !is_token(name)) {
        refused = true;
      }
    });
    if (refused) {
      request.upgrade = {};
      return;
    }
    request.upgrade = request.fields.value(field);
  }
}

const Problem* read_max_forwards(RequestHead& request) {
  if (request.method != Method::options) return nullptr;
  for (Field& field : request.fields.all()) {
    if (field.id != FieldId::max_forwards) continue;
    uint64_t value = 0;
    if (!parse_decimal(request.fields.value(field), value)) return &kBadMaxForwards;
    field.dropped = true;
    request.max_forwards = static_cast<uint32_t>(std::min<uint64_t>(value, 1000));
  }
  return nullptr;
}

void read_te(RequestHead& request) {
  for (const Field& field : request.fields.all()) {
    if (field.id != FieldId::te) continue;
    for_each_element(request.fields.value(field), [&](std::string_view coding) {
      if (equal_fold(coding.substr(0, coding.find(';')), "trailers")) request.accepts_trailers = true;
    });
  }
}

}  // namespace

namespace {

// IPv6address (RFC 3986, 3.2.2), without a zone; an IPvFuture there is not yet.
bool is_ip_literal(std::string_view text) {
  char address[INET6_ADDRSTRLEN] = {};
  if (text.size() >= sizeof(address)) return false;
  std::copy(text.begin(), text.end(), address);
  in6_addr parsed{};
  return inet_pton(AF_INET6, address, &parsed) == 1;
}

constexpr std::string_view kOthersInNames = "-._~";

}  // namespace

bool is_authority(std::string_view text) {
  size_t at = 0;
  if (text.starts_with('[')) {
    at = text.find(']');
    if (at == std::string_view::npos || at < 3) return false;
    if (!is_ip_literal(text.substr(1, at - 1))) return false;
    ++at;
  } else {
    for (; at < text.size() && text[at] != ':'; ++at) {
      const char c = text[at];
      if (c == '%') {
        if (at + 2 >= text.size() || !is_hex(text[at + 1]) || !is_hex(text[at + 2])) return false;
      } else if (!is_alpha(c) && !is_digit(c) && kOthersInNames.find(c) == std::string_view::npos) {
        return false;
      }
    }
  }
  if (at == 0) return false;
  if (at == text.size()) return true;
  if (text[at] != ':') return false;
  const std::string_view port = text.substr(at + 1);
  uint64_t number = 0;
  return port.empty() || (parse_decimal(port, number) && number <= 65535);
}

const Problem* parse_request(Input head, size_t first_line_size, RequestHead& request,
                             H1Persistence& persistence) {
  request.method = Method::other;
  request.fields.clear();
  request.fields.set_block(head.data, static_cast<uint32_t>(head.size));
  request.authority = {};
  request.upgrade = {};
  request.content_length = 0;
  request.max_forwards = ~0U;
  request.body = BodyKind::none;
  request.expects_continue = false;
  request.accepts_trailers = false;
  if (const Problem* problem = read_request_line({head.data, first_line_size}, request)) return problem;

  const size_t fields_begin = first_line_size + 2;
  if (const Problem* problem =
          parse_fields(head.data + fields_begin, head.size - fields_begin, request.fields)) {
    return problem;
  }
  const Framing framing = read_framing(request.fields, request.minor_version);
  if (framing.problem != nullptr) return framing.problem;
  request.body = framing.chunked      ? BodyKind::open_ended
                 : framing.has_length ? BodyKind::length
                                      : BodyKind::none;
  request.content_length = framing.length;
  if (const Problem* problem = read_host(request)) return problem;
  if (const Problem* problem = read_expect(request)) return problem;
  if (const Problem* problem = read_max_forwards(request)) return problem;
  read_te(request);
  const ConnectionOptions options = drop_hop_by_hop(request.fields);
  read_upgrade(request, options);
  persistence.keep_alive = !options.close && (request.minor_version >= 1 || options.keep_alive);
  return nullptr;
}

namespace {

// HTTP-version SP status-code [ SP reason ]; a missing last space is common
// and harmless.
const Problem* read_status_line(std::string_view line, ResponseHead& response) {
  if (line.size() < 12 || line[8] != ' ' || (line.size() > 12 && line[12] != ' ')) return &kBadStatusLine;
  if (read_version(line.substr(0, 8), response.minor_version) != nullptr) return &kBadStatusLine;
  if (!is_digit(line[9]) || !is_digit(line[10]) || !is_digit(line[11])) return &kBadStatusLine;
  response.status = static_cast<uint16_t>((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));
  if (response.status < 100 || response.status > 599) return &kBadStatusLine;
  response.reason = line.size() > 13 ? line.substr(13) : std::string_view{};
  return nullptr;
}

bool offers(std::string_view offered, std::string_view protocol) {
  bool found = false;
  for_each_element(offered, [&](std::string_view one) { found = found || equal_fold(one, protocol); });
  return found;
}

const Problem* read_switch(ResponseHead& response, const ConnectionOptions& options,
                           const ResponseContext& context) {
  for (const Field& field : response.fields.all()) {
    if (field.id == FieldId::upgrade) response.upgrade = response.fields.value(field);
  }
  if (response.status != 101) {
    if (response.status != 426) response.upgrade = {};
    return nullptr;
  }
  if (!options.upgrade || context.upgrade.empty() || response.upgrade.empty() ||
      !offers(context.upgrade, response.upgrade)) {
    return &kUnaskedUpgrade;
  }
  return nullptr;
}

BodyKind body_of(const ResponseHead& response, const Framing& framing, Method method) {
  if (response.status < 200 || response.status == 204 || response.status == 304 || method == Method::head) {
    return BodyKind::none;
  }
  if (framing.chunked) return BodyKind::open_ended;
  return framing.has_length ? BodyKind::length : BodyKind::until_close;
}

}  // namespace

const Problem* parse_response(Input head, size_t first_line_size, const ResponseContext& context,
                              ResponseHead& response, H1Persistence& persistence) {
  response.fields.clear();
  response.fields.set_block(head.data, static_cast<uint32_t>(head.size));
  response.upgrade = {};
  if (const Problem* problem = read_status_line({head.data, first_line_size}, response)) return problem;
  const size_t fields_begin = first_line_size + 2;
  if (parse_fields(head.data + fields_begin, head.size - fields_begin, response.fields) != nullptr) {
    return &kBadResponseField;
  }
  const Framing framing = read_framing(response.fields, response.minor_version);
  if (framing.problem != nullptr) return &kBadFraming;
  const ConnectionOptions options = drop_hop_by_hop(response.fields);
  if (const Problem* problem = read_switch(response, options, context)) return problem;
  response.body = body_of(response, framing, context.method);
  response.content_length = response.body == BodyKind::length ? framing.length : 0;
  if (framing.has_length && (response.status < 200 || response.status == 204)) {
    // No such field may be sent with these (RFC 9110, 8.6).
    for (Field& field : response.fields.all()) {
      if (field.id == FieldId::content_length) field.dropped = true;
    }
  }
  // Whoever announces a body where there can be none may yet send it.
  const bool doubtful = response.body == BodyKind::none && context.method != Method::head &&
                        (framing.chunked || (response.status == 204 && framing.length > 0));
  persistence.keep_alive = !options.close && !doubtful && (response.minor_version >= 1 || options.keep_alive);
  return nullptr;
}

}  // namespace sluice::proxy
