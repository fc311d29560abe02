// The scalar types, and what all types share; the lists are in types_list.cc.
#include "conf/types.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <span>

#include "conf/address.h"
#include "conf/edit_distance.h"
#include "conf/units.h"

namespace sluice::conf {
namespace {

// A token of RFC 9110, 5.6.2: what a header or a cookie may be named.
bool is_token(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || kMarks.find(c) != std::string_view::npos;
  });
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string write_ms(double ms) {
  return format_duration_ms(static_cast<uint64_t>(ms));
}
std::string write_bytes(double bytes) {
  return format_size_bytes(static_cast<uint64_t>(bytes));
}
std::string write_count(double count) {
  return std::to_string(static_cast<uint64_t>(count));
}

bool has_broken_escape(std::string_view path) {
  const auto is_hex = [&](size_t at) {
    return at < path.size() && std::isxdigit(static_cast<unsigned char>(path[at])) != 0;
  };
  for (size_t at = path.find('%'); at != std::string_view::npos; at = path.find('%', at + 1)) {
    if (!is_hex(at + 1) || !is_hex(at + 2)) return true;
  }
  return false;
}

// "." or ".." between two slashes or at the end (RFC 3986, 5.2.4).
bool has_dot_segment(std::string_view path) {
  while (!path.empty()) {
    const size_t end = std::min(path.find('/'), path.size());
    const std::string_view segment = path.substr(0, end);
    if (segment == "." || segment == "..") return true;
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return false;
}

// Why no request's path begins with it; empty: some may.
std::string problem_of_route_path(std::string_view path) {
  constexpr const char* kUnchanged = "; paths are compared as clients send them, unchanged";
  if (!path.starts_with('/') || path.find(' ') != std::string_view::npos) {
    return "is not a path: begin it with \"/\", without spaces and \"#\"";
  }
  if (path.find_first_of("?#") != std::string_view::npos) {
    return "can never match: a path ends before \"?\" and \"#\": leave out what begins there";
  }
  if (has_broken_escape(path)) {
    return std::string("has a broken escape: write two hexadecimal digits behind \"%\"") + kUnchanged;
  }
  if (has_dot_segment(path)) {
    return std::string(
               "has a dot segment, which clients resolve before they send: write the path that is left") +
           kUnchanged;
  }
  return {};
}

constexpr std::string_view kBalances[] = {"p2c", "round-robin", "random"};  // by Balance
constexpr std::string_view kLogLevels[] = {"debug", "info", "warning", "error"};
constexpr std::string_view kTlsVersions[] = {"1.2", "1.3"};

}  // namespace

std::string to_string(const Range& range, const TypeInfo& type) {
  if (type.bound == nullptr) return {};
  const std::string min = type.bound(range.min), max = type.bound(range.max);
  if (!range.above_min && !range.below_max) return min + " to " + max;
  return (range.above_min ? "above " : "at least ") + min + (range.below_max ? ", below " : ", up to ") + max;
}

void Context::fail(const Value& value, const std::string& message, std::string hint) const {
  diagnostics.add(value.position, path + ": " + message, std::move(hint));
}

void Context::fail_kind(const Value& value, const std::string& expected) const {
  fail(value, "expected " + expected + ", found " + describe(value.kind));
}

std::optional<std::string_view> Context::text(const Value& value) const {
  if (value.kind != Value::Kind::string) {
    fail_kind(value, "a string");
    return std::nullopt;
  }
  const bool control = std::any_of(value.string.begin(), value.string.end(),
                                   [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (value.string.empty()) {
    fail(value, "the text is empty: leave the key out instead");
  } else if (control) {
    fail(value, "the text has a control character");
  } else if (value.string.size() > kMaxTextBytes) {
    fail(value, "the text is longer than " + std::to_string(kMaxTextBytes) + " bytes");
  } else {
    return value.string;
  }
  return std::nullopt;
}

std::optional<size_t> Context::choice(const Value& value, std::span<const std::string_view> known) const {
  const std::optional<std::string_view> word = text(value);
  if (!word) return std::nullopt;
  const auto found = std::find(known.begin(), known.end(), *word);
  if (found != known.end()) return static_cast<size_t>(found - known.begin());
  std::string message = quote(*word) + " is none of ";
  for (const std::string_view& option : known) {
    message += (&option == &known.front() ? "" : ", ") + quote(option);
  }
  const std::string_view near = nearest(*word, known);
  fail(value, message, near.empty() ? "" : "did you mean " + quote(near) + "?");
  return std::nullopt;
}

std::optional<double> Context::in_range(const Value& value, double number) const {
  if (range.contains(number)) return number;
  std::string shown = format_number(number);
  if (value.kind == Value::Kind::integer) shown = std::to_string(value.integer);
  if (value.kind == Value::Kind::string) shown = quote(value.string);
  fail(value, shown + " is out of range: " + to_string(range, type));
  return std::nullopt;
}

const std::vector<Value>* Context::items(const Value& value) const {
  if (value.kind != Value::Kind::array) {
    fail_kind(value, "an array");
  } else if (value.items.size() > kMaxItems) {
    fail(value, "the array has more than " + std::to_string(kMaxItems) + " items");
  } else {
    return &value.items;
  }
  return nullptr;
}

const TypeInfo FlagType::kInfo{"boolean", "`true` or `false`"};
void FlagType::read(const Value& value, const Context& context, bool& out) {
  if (value.kind != Value::Kind::boolean) return context.fail_kind(value, "true or false");
  out = value.boolean;
}

const TypeInfo CountType::kInfo{"integer", "A whole number.", false, write_count};
std::optional<double> read_count(const Value& value, const Context& context) {
  if (value.kind == Value::Kind::integer) return context.in_range(value, static_cast<double>(value.integer));
  context.fail_kind(value, "a whole number");
  return std::nullopt;
}
void CountType::read(const Value& value, const Context& context, uint32_t& out) {
  if (const auto count = read_count(value, context)) out = static_cast<uint32_t>(*count);
}

const TypeInfo DurationType::kInfo{
    "duration", "A whole number and `ms`, `s`, `m` or `h`: `\"250ms\"`, `\"5s\"`, `\"2m\"`, `\"1h\"`.", true,
    write_ms};
void DurationType::read(const Value& value, const Context& context, uint32_t& out_ms) {
  if (value.kind != Value::Kind::string) return context.fail_kind(value, "a duration such as \"5s\"");
  const auto ms = context.take(value, parse_duration_ms(value.string));
  if (ms && context.in_range(value, *ms)) out_ms = *ms;
}
std::string DurationType::write(uint32_t ms) {
  return format_duration_ms(ms);
}

const TypeInfo SizeType::kInfo{
    "size", "A whole number and `B`, `KiB`, `MiB` or `GiB`: `\"64KiB\"`; or a number of bytes.", true,
    write_bytes};
std::optional<double> read_size(const Value& value, const Context& context) {
  if (value.kind == Value::Kind::integer) return context.in_range(value, static_cast<double>(value.integer));
  if (value.kind != Value::Kind::string) {
    context.fail_kind(value, "a size such as \"64KiB\"");
    return std::nullopt;
  }
  const auto bytes = context.take(value, parse_size_bytes(value.string));
  return bytes ? context.in_range(value, static_cast<double>(*bytes)) : std::nullopt;
}
void SizeType::read(const Value& value, const Context& context, uint32_t& out_bytes) {
  if (const auto bytes = read_size(value, context)) out_bytes = static_cast<uint32_t>(*bytes);
}
void SizeType::read(const Value& value, const Context& context, uint64_t& out_bytes) {
  if (const auto bytes = read_size(value, context)) out_bytes = static_cast<uint64_t>(*bytes);
}
std::string SizeType::write(uint64_t bytes) {
  return format_size_bytes(bytes);
}

const TypeInfo NumberType::kInfo{"number", "A number, with or without a fraction.", false, format_number};
void NumberType::read(const Value& value, const Context& context, double& out) {
  if (!value.is_number()) return context.fail_kind(value, "a number");
  if (const auto number = context.in_range(value, value.real)) out = *number;
}
std::string NumberType::write(double number) {
  return format_number(number);
}

const TypeInfo PercentType::kInfo{"percentage", "A number from 0 to 100 in steps of 0.01."};
void PercentType::read(const Value& value, const Context& context, BasisPoints& out) {
  if (!value.is_number()) return context.fail_kind(value, "a number of percent");
  if (const auto share = context.take(value, percent_to_basis_points(value.real))) out = *share;
}
std::string PercentType::write(BasisPoints share) {
  return format_percent(share);
}

const TypeInfo TextType::kInfo{"text", "A string; never empty.", true};
void TextType::read(const Value& value, const Context& context, std::string& out) {
  if (const auto text = context.text(value)) out = *text;
}

const TypeInfo SocketPathType::kInfo{"socket path", "The absolute path of a Unix socket, at most 107 bytes.",
                                     true};
void SocketPathType::read(const Value& value, const Context& context, std::string& out) {
  const auto path = context.text(value);
  if (!path) return;
  if (!path->starts_with('/') || path->size() > kMaxSocketPath) {
    return context.fail(value, quote(*path) + " is no absolute path of at most 107 bytes");
  }
  out = *path;
}

const TypeInfo UrlType::kInfo{"URL", "`\"http://HOST:PORT/PATH\"` or `\"https://HOST:PORT/PATH\"`.", true};
void UrlType::read(const Value& value, const Context& context, std::string& out) {
  const auto url = context.text(value);
  if (!url) return;
  if (context.take(value, check_url(*url))) out = *url;
}

const TypeInfo RequestPathType::kInfo{"request path", "The path of a request, beginning with `/`.", true};
void RequestPathType::read(const Value& value, const Context& context, std::string& out) {
  const auto path = context.text(value);
  if (!path) return;
  if (!path->starts_with('/') || path->find_first_of(" #") != std::string_view::npos) {
    return context.fail(value,
                        quote(*path) + " is not a path: begin it with \"/\", without spaces and \"#\"");
  }
  out = *path;
}

const TypeInfo RoutePathType::kInfo{"route path", "The begin of a request's path, beginning with `/`.", true};
void RoutePathType::read(const Value& value, const Context& context, std::string& out) {
  const auto path = context.text(value);
  if (!path) return;
  const std::string problem = problem_of_route_path(*path);
  if (!problem.empty()) return context.fail(value, quote(*path) + " " + problem);
  out = *path;
}

const TypeInfo HostPatternType::kInfo{"host", "A host name without a port, or `*.` and a host name.", true};
void HostPatternType::read(const Value& value, const Context& context, std::string& out) {
  const auto host = context.text(value);
  if (!host) return;
  if (*host == "*") return context.fail(value, "\"*\" is not a host: leave the key out to match any");
  const std::string_view name = host->starts_with("*.") ? host->substr(2) : *host;
  if (!is_host_name(name) || name.ends_with('.')) {
    return context.fail(
        value,
        quote(*host) + " is not a host: write \"shop.example.com\" or \"*.example.com\", without a port");
  }
  out = lower_case(*host);
}

const TypeInfo NameType::kInfo{"name", "1 to 64 letters, digits, `_` and `-`.", true};
bool NameType::is_name(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-';
  });
}
void NameType::read(const Value& value, const Context& context, std::string& out) {
  const auto name = context.text(value);
  if (!name) return;
  if (!is_name(*name))
    return context.fail(value, quote(*name) + " is not a name: use 1 to 64 of A-Z a-z 0-9 _ -");
  out = *name;
}

const TypeInfo AddressType::kInfo{"address",
                                  "`\"10.0.0.5:8080\"`, `\"[::1]:80\"` or `\"unix:/run/app.sock\"`.", true};
void AddressType::read(const Value& value, const Context& context, Address& out) {
  const auto text = context.text(value);
  if (!text) return;
  if (const auto address = context.take(value, parse_address(*text, AddressUse::listen))) out = *address;
}
void AddressType::read(const Value& value, const Context& context, std::optional<Address>& out) {
  Address address;
  read(value, context, address);
  if (address != Address{}) out = address;
}

const TypeInfo BalanceType::kInfo{
    "balance", "`\"p2c\"`: the less loaded of two random endpoints; `\"round-robin\"`; `\"random\"`.", true};
void BalanceType::read(const Value& value, const Context& context, Balance& out) {
  if (const auto index = context.choice(value, kBalances)) out = static_cast<Balance>(*index);
}
std::string BalanceType::write(Balance balance) {
  return std::string(kBalances[static_cast<size_t>(balance)]);
}

const TypeInfo StickyType::kInfo{
    "sticky", "`\"none\"`, `\"client-ip\"`, `\"header:NAME\"` or `\"cookie:NAME\"`.", true};
void StickyType::read(const Value& value, const Context& context, Sticky& out) {
  const auto text = context.text(value);
  if (!text) return;
  if (*text == "none" || *text == "client-ip") {
    out = {*text == "none" ? Sticky::Kind::none : Sticky::Kind::client_ip, {}};
    return;
  }
  const size_t colon = std::min(text->find(':'), text->size());
  const std::string_view kind = text->substr(0, colon);
  const std::string_view name = text->substr(std::min(colon + 1, text->size()));
  if (kind != "header" && kind != "cookie") {
    return context.fail(
        value, quote(*text) + " is none of \"none\", \"client-ip\", \"header:NAME\", \"cookie:NAME\"");
  }
  if (name.empty())
    return context.fail(value, "it needs the name of the " + std::string(kind),
                        "write \"" + std::string(kind) + ":NAME\"");
  if (!is_token(name))
    return context.fail(value, quote(name) + " cannot be the name of a " + std::string(kind));
  // Header names are compared without regard to case, cookie names with it.
  out = kind == "header" ? Sticky{Sticky::Kind::header, lower_case(name)}
                         : Sticky{Sticky::Kind::cookie, std::string(name)};
}
std::string StickyType::write(const Sticky& sticky) {
  switch (sticky.kind) {
    case Sticky::Kind::none:
      return "none";
    case Sticky::Kind::client_ip:
      return "client-ip";
    case Sticky::Kind::header:
      return "header:" + sticky.name;
    case Sticky::Kind::cookie:
      return "cookie:" + sticky.name;
  }
  return {};
}

// Fields that say how a message is framed or where it goes, and those that are
// not passed on (RFC 9110, 7.2 and 7.6.1).
constexpr std::string_view kNotForOverride[] = {
    "connection", "content-length", "host",    "keep-alive", "proxy-connection",
    "te",         "trailer",        "upgrade", "expect",     "transfer-encoding"};

const TypeInfo OverrideType::kInfo{"override", "`\"header:NAME\"` or `\"off\"`.", true};
void OverrideType::read(const Value& value, const Context& context, std::string& out) {
  const auto text = context.text(value);
  if (!text) return;
  if (*text == "off") return out.clear();
  if (!text->starts_with("header:")) {
    return context.fail(value, quote(*text) + " is neither \"header:NAME\" nor \"off\"");
  }
  const std::string_view name = text->substr(7);
  if (!is_token(name)) return context.fail(value, quote(name) + " cannot be the name of a header");
  std::string lower = lower_case(name);
  if (std::find(std::begin(kNotForOverride), std::end(kNotForOverride), lower) != std::end(kNotForOverride)) {
    return context.fail(value, quote(name) + " has a meaning in HTTP itself: choose another header");
  }
  out = std::move(lower);
}
std::string OverrideType::write(const std::string& header) {
  return header.empty() ? "off" : "header:" + header;
}

const TypeInfo ModeType::kInfo{"mode", "Permission bits in octal, as a string: `\"0660\"`.", true};
void ModeType::read(const Value& value, const Context& context, uint32_t& out) {
  if (value.kind != Value::Kind::string) return context.fail_kind(value, "a mode in quotes such as \"0660\"");
  const std::string& text = value.string;
  const bool octal = text.find_first_not_of("01234567") == std::string::npos;
  uint32_t bits = 0;
  if (octal && text.size() <= 4) std::from_chars(text.data(), text.data() + text.size(), bits, 8);
  if (!octal || text.size() < 3 || text.size() > 4 || bits > 0777) {
    return context.fail(value, quote(text) + " is not a mode: write three octal digits, as in \"0660\"");
  }
  out = bits;
}
std::string ModeType::write(uint32_t mode) {
  std::string out = "0";
  for (const int shift : {6, 3, 0}) out += static_cast<char>('0' + (mode >> shift & 7));
  return out;
}

const TypeInfo LogLevelType::kInfo{"log level", "`\"debug\"`, `\"info\"`, `\"warning\"` or `\"error\"`.",
                                   true};
void LogLevelType::read(const Value& value, const Context& context, std::string& out) {
  if (const auto index = context.choice(value, kLogLevels)) out = kLogLevels[*index];
}

const TypeInfo TlsVersionType::kInfo{"TLS version", "`\"1.2\"` or `\"1.3\"`.", true};
void TlsVersionType::read(const Value& value, const Context& context, std::string& out) {
  if (const auto index = context.choice(value, kTlsVersions)) out = kTlsVersions[*index];
}

}  // namespace sluice::conf
