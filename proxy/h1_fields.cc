#include "proxy/h1_fields.h"

#include <llhttp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

namespace sluice::proxy {
namespace {

constexpr std::array<bool, 256> make_tchars() {
  std::array<bool, 256> table{};
  for (const char c : std::string_view("!#$%&'*+-.^_`|~0123456789"
                                       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")) {
    table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}
constexpr std::array<bool, 256> kTchars = make_tchars();

bool is_control(char c) {
  const auto octet = static_cast<unsigned char>(c);
  return octet < 0x20 || octet == 0x7f;
}

// The high bit of each octet that is a control octet is set; false only when
// there is none, since a borrow may set that of the octet above one.
bool may_have_control(const char* eight_octets) {
  constexpr uint64_t kOnes = 0x0101010101010101U;
  constexpr uint64_t kHighs = 0x8080808080808080U;
  uint64_t word = 0;
  std::memcpy(&word, eight_octets, 8);
  const uint64_t below_space = (word - kOnes * 0x20) & ~word & kHighs;
  const uint64_t flipped = word ^ (kOnes * 0x7f);
  const uint64_t is_delete = (flipped - kOnes) & ~flipped & kHighs;
  return (below_space | is_delete) != 0;
}

bool has_control_octet(const char* text, size_t size, bool tab_allowed) {
  for (size_t at = 0; at < size; ++at) {
    if (is_control(text[at]) && !(tab_allowed && text[at] == '\t')) return true;
  }
  return false;
}

// Any control octet in the text, but for HTAB where that is allowed? Eight
// octets at a time; the last eight may have been looked at in part before.
bool has_control(const char* text, size_t size, bool tab_allowed) {
  if (size < 8) return has_control_octet(text, size, tab_allowed);
  for (size_t at = 0; at + 8 <= size; at += 8) {
    if (may_have_control(text + at) && has_control_octet(text + at, 8, tab_allowed)) return true;
  }
  return may_have_control(text + size - 8) && has_control_octet(text + size - 8, 8, tab_allowed);
}

}  // namespace

HeadScanner::Verdict HeadScanner::bad(uint16_t status, const char* detail) {
  problem_.status = status;
  problem_.detail = detail;
  if (purpose_ == For::response) problem_.error = "http_protocol_error";
  return Verdict::bad;
}

HeadScanner::Verdict HeadScanner::scan(const Input& input, const conf::Limits& limits) {
  for (;;) {
    const char* const from = input.data + searched_;
    const auto* const end = static_cast<const char*>(std::memchr(from, '\n', input.size - searched_));
    if (end == nullptr) {
      searched_ = static_cast<uint32_t>(input.size);
      return over_limit(input.size, limits);
    }
    const auto after = static_cast<uint32_t>(end - input.data) + 1;
    char* const text = input.data + line_begin_;
    const size_t size = after - line_begin_;
    // First, since a line that came in pieces would not be read to its end.
    if (over_limit(after, limits) == Verdict::bad) return Verdict::bad;
    if (size < 2 || end[-1] != '\r') return bad(400, "a line ends with LF alone");
    searched_ = line_begin_ = after;
    bool done = false;
    const Verdict verdict = line(text, size - 2, limits, done);
    if (verdict == Verdict::bad || done) return verdict;
  }
}

// Judges one complete line, given without its CRLF.
HeadScanner::Verdict HeadScanner::line(char* text, size_t size, const conf::Limits& limits, bool& done) {
  const bool start_line = lines_ == 0 && purpose_ != For::trailers;
  if (size == 0) {
    if (start_line && purpose_ == For::request) {
      begin_ = line_begin_;
      if (begin_ > 2 * kEmptyLinesAllowed) return bad(400, "empty lines instead of a request");
      return Verdict::more;
    }
    if (start_line) return bad(502, "an empty line instead of a status line");
    done = true;
    return Verdict::complete;
  }
  if (has_control(text, size, !start_line)) return bad(400, "a control character in the head");
  // White space behind a value is SP or HTAB; llhttp knows only SP there behind
  // a Content-Length.
  for (size_t end = size; end > 0 && (text[end - 1] == ' ' || text[end - 1] == '\t'); --end)
    text[end - 1] = ' ';
  if (start_line) {
    first_line_size_ = static_cast<uint32_t>(size);
  } else if (*text == ' ' || *text == '\t') {
    return bad(400, "a folded field line");
  }
  if (++lines_ - (purpose_ == For::trailers ? 0 : 1) > limits.headers) {
    return bad(431, "more fields than the limit allows");
  }
  return Verdict::more;
}

HeadScanner::Verdict HeadScanner::over_limit(size_t arrived, const conf::Limits& limits) {
  // A method, two spaces and the version beside the target.
  constexpr size_t kBesideTarget = 64;
  if (purpose_ == For::request && lines_ == 0 &&
      arrived - begin_ > std::min<size_t>(limits.uri_bytes + kBesideTarget, limits.header_bytes)) {
    return bad(414, "the request line is longer than the limit allows");
  }
  if (arrived - begin_ > limits.header_bytes) return bad(431, "the head is larger than the limit allows");
  return Verdict::more;
}

bool is_token(std::string_view text) {
  for (const char c : text) {
    if (!kTchars[static_cast<unsigned char>(c)]) return false;
  }
  return !text.empty();
}

bool parse_decimal(std::string_view text, uint64_t& value) {
  if (text.empty() || text.size() > 19) return false;
  uint64_t result = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    result = result * 10 + static_cast<uint64_t>(c - '0');
  }
  if (result > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return false;
  value = result;
  return true;
}

namespace {

struct FieldSink {
  Fields* fields = nullptr;
  const Problem* problem = nullptr;
  bool complete = false;
};

constexpr Problem kBadName{400, "http_request_error", "a field name that is no token"};
constexpr Problem kBadField{400, "http_request_error", "a malformed field line"};
constexpr Problem kBadLength{400, "http_request_error", "Content-Length is not one decimal number"};
constexpr Problem kLengthAndCoding{400, "http_request_error", "Content-Length beside Transfer-Encoding"};

int on_field(llhttp_t* parser, const char* at, size_t size) {
  auto& sink = *static_cast<FieldSink*>(parser->data);
  const std::string_view name(at, size);
  if (size > std::numeric_limits<uint16_t>::max() || !is_token(name)) {
    sink.problem = &kBadName;
    return -1;
  }
  Field field;
  field.name_begin = static_cast<uint32_t>(at - sink.fields->block());
  field.name_size = static_cast<uint16_t>(size);
  field.value_begin = field.name_begin + field.name_size;
  field.id = field_id(name);
  sink.fields->add(field);
  return 0;
}

int on_value(llhttp_t* parser, const char* at, size_t size) {
  auto& sink = *static_cast<FieldSink*>(parser->data);
  if (sink.fields->all().empty()) return -1;
  while (size > 0 && (at[size - 1] == ' ' || at[size - 1] == '\t')) --size;
  Field& field = sink.fields->all().back();
  field.value_begin = static_cast<uint32_t>(at - sink.fields->block());
  field.value_size = static_cast<uint32_t>(size);
  return 0;
}

int on_complete(llhttp_t* parser) {
  static_cast<FieldSink*>(parser->data)->complete = true;
  return HPE_PAUSED;
}

// A parser that has read a start line: ours read the real one, since llhttp
// knows only the methods of its own list. Copied for each section.
struct AfterStartLine {
  llhttp_settings_t settings{};
  llhttp_t parser{};
  AfterStartLine() {
    llhttp_settings_init(&settings);
    settings.on_header_field = on_field;
    settings.on_header_value = on_value;
    settings.on_headers_complete = on_complete;
    llhttp_init(&parser, HTTP_REQUEST, &settings);
    constexpr std::string_view kLine = "GET / HTTP/1.1\r\n";
    llhttp_execute(&parser, kLine.data(), kLine.size());
  }
};

}  // namespace

const Problem* parse_fields(const char* section, size_t size, Fields& fields) {
  static const AfterStartLine after;
  llhttp_t parser = after.parser;
  FieldSink sink{&fields, nullptr, false};
  parser.data = &sink;
  const llhttp_errno_t error = llhttp_execute(&parser, section, size);
  if (sink.problem != nullptr) return sink.problem;
  if (sink.complete && (error == HPE_PAUSED || error == HPE_OK || error == HPE_PAUSED_UPGRADE))
    return nullptr;
  if (error == HPE_INVALID_CONTENT_LENGTH) return &kBadLength;
  if (error == HPE_UNEXPECTED_CONTENT_LENGTH) {
    // llhttp says so both for a second Content-Length and beside a Transfer-Encoding.
    return fields.find(FieldId::transfer_encoding) != nullptr ? &kLengthAndCoding : &kBadLength;
  }
  return &kBadField;
}

namespace {

// Fields that a Connection option must not remove: without them the message
// would mean something else.
bool survives_connection(FieldId id) {
  return id == FieldId::host || id == FieldId::content_length || id == FieldId::transfer_encoding ||
         id == FieldId::expect || id == FieldId::connection;
}

bool is_hop_by_hop(FieldId id) {
  switch (id) {
    case FieldId::connection:
    case FieldId::keep_alive:
    case FieldId::proxy_connection:
    case FieldId::proxy_authorization:
    case FieldId::te:
    case FieldId::upgrade:
    case FieldId::http2_settings:
    case FieldId::transfer_encoding:
      return true;
    default:
      return false;
  }
}

void drop_named(Fields& fields, std::string_view name) {
  for (Field& field : fields.all()) {
    if (!survives_connection(field.id) && equal_fold(fields.name(field), name)) field.dropped = true;
  }
}

}  // namespace

ConnectionOptions drop_hop_by_hop(Fields& fields) {
  ConnectionOptions options;
  for (size_t i = 0; i < fields.all().size(); ++i) {
    Field& field = fields.all()[i];
    if (field.id == FieldId::other) continue;
    if (is_hop_by_hop(field.id)) field.dropped = true;
    if (field.id != FieldId::connection) continue;
    for_each_element(fields.value(field), [&](std::string_view option) {
      if (equal_fold(option, "close")) {
        options.close = true;
      } else if (equal_fold(option, "keep-alive")) {
        options.keep_alive = true;
      } else if (equal_fold(option, "upgrade")) {
        options.upgrade = true;
      } else {
        drop_named(fields, option);
      }
    });
  }
  return options;
}

std::string names_in_connection(const Fields& fields) {
  std::string names;
  for (const Field& field : fields.all()) {
    if (field.id != FieldId::connection) continue;
    for_each_element(fields.value(field), [&](std::string_view option) {
      for (const char* const known : {"close", "keep-alive", "upgrade"}) {
        if (equal_fold(option, known)) return;
      }
      if (!names.empty()) names += ',';
      names += option;
    });
  }
  return names;
}

bool is_named(std::string_view names, std::string_view field) {
  bool found = false;
  for_each_element(names, [&](std::string_view one) { found = found || equal_fold(one, field); });
  return found;
}

namespace {

constexpr Problem kOldCoding{400, "http_request_error", "Transfer-Encoding in HTTP/1.0"};
constexpr Problem kBadCoding{400, "http_request_error", "Transfer-Encoding does not end with one chunked"};
constexpr Problem kUnknownCoding{501, "http_request_error", "a transfer coding other than chunked"};

const Problem* read_coding(std::string_view value, uint32_t& codings, uint32_t& chunked) {
  const Problem* problem = nullptr;
  for_each_element(value, [&](std::string_view coding) {
    ++codings;
    if (equal_fold(coding, "chunked")) {
      ++chunked;
    } else if (!is_token(coding.substr(0, coding.find_first_of(" \t;")))) {
      problem = &kBadCoding;
    }
  });
  return problem;
}

}  // namespace

Framing read_framing(Fields& fields, uint8_t minor_version) {
  Framing framing;
  uint32_t codings = 0;
  uint32_t chunked = 0;
  bool has_coding = false;
  bool last_is_chunked = false;
  for (const Field& field : fields.all()) {
    if (field.id == FieldId::content_length) {
      if (framing.has_length || !parse_decimal(fields.value(field), framing.length)) {
        framing.problem = &kBadLength;
        return framing;
      }
      framing.has_length = true;
    } else if (field.id == FieldId::transfer_encoding) {
      has_coding = true;
      const uint32_t chunked_before = chunked;
      if (const Problem* problem = read_coding(fields.value(field), codings, chunked); problem != nullptr) {
        framing.problem = problem;
        return framing;
      }
      last_is_chunked = chunked > chunked_before;
    }
  }
  if (!has_coding) return framing;
  if (framing.has_length) {
    framing.problem = &kLengthAndCoding;
  } else if (minor_version == 0) {
    framing.problem = &kOldCoding;
  } else if (chunked != 1 || !last_is_chunked) {
    framing.problem = codings > chunked && chunked == 0 ? &kUnknownCoding : &kBadCoding;
  } else if (codings > 1) {
    framing.problem = &kUnknownCoding;
  }
  framing.chunked = framing.problem == nullptr;
  return framing;
}

}  // namespace sluice::proxy
