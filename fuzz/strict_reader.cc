#include "fuzz/strict_reader.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <optional>

namespace sluice::fuzz {
namespace {

constexpr size_t npos = std::string_view::npos;

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != npos;
  });
}

bool is_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return c == '\t' || (c >= ' ' && c != 0x7f); });
}

bool is_visible(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > ' ' && c < 0x7f; });
}

// Any number of zeros may lead (RFC 9110, 8.6); nullopt beyond 2^63 - 1.
std::optional<size_t> number(std::string_view text, unsigned base) {
  if (text.empty()) return std::nullopt;
  size_t value = 0;
  for (const char c : text) {
    const size_t digit = std::string_view("0123456789abcdef").find(static_cast<char>(std::tolower(c)));
    if (digit >= base) return std::nullopt;
    constexpr size_t kMost = std::numeric_limits<int64_t>::max();
    if (value > (kMost - digit) / base) return std::nullopt;
    value = value * base + digit;
  }
  return value;
}

Message& bad(Message& message, std::string fault) {
  message.state = Message::State::bad;
  message.fault = std::move(fault);
  return message;
}

// METHOD SP target SP HTTP/1.1, or HTTP/1.1 SP status SP [reason].
bool is_start_line(std::string_view line, Kind kind) {
  if (kind != Kind::request) {
    return line.starts_with("HTTP/1.1 ") && line.size() >= 13 && number(line.substr(9, 3), 10) &&
           line[9] >= '1' && line[9] <= '9' && line[12] == ' ' && is_value(line.substr(13));
  }
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == npos || last <= first) return false;
  return is_token(line.substr(0, first)) && is_visible(line.substr(first + 1, last - first - 1)) &&
         line.substr(last + 1) == "HTTP/1.1";
}

// Takes field lines up to the empty one; false: `text` does not hold it yet, or
// it is bad.
bool read_fields(std::string_view text, size_t& at, Message& message, bool keep) {
  for (;;) {
    const size_t end = text.find("\r\n", at);
    if (end == npos) return false;
    const std::string_view line = text.substr(at, end - at);
    at = end + 2;
    if (line.empty()) return true;
    const size_t colon = line.find(':');
    if (colon == npos || !is_token(line.substr(0, colon)) || !is_value(line.substr(colon + 1))) {
      bad(message, "field line: " + std::string(line));
      return false;
    }
    std::string name(line.substr(0, colon));
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    std::string_view value = line.substr(colon + 1);
    while (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
    while (value.ends_with(' ') || value.ends_with('\t')) value.remove_suffix(1);
    if (keep) message.fields.emplace_back(std::move(name), value);
  }
}

void read_chunks(std::string_view text, size_t at, Message& message) {
  for (;;) {
    const size_t end = text.find("\r\n", at);
    if (end == npos) return;
    const std::optional<size_t> size = number(text.substr(at, end - at), 16);
    if (!size) {
      bad(message, "chunk size: " + std::string(text.substr(at, end - at)));
      return;
    }
    at = end + 2;
    if (*size == 0) {
      if (!read_fields(text, at, message, false)) return;
      message.state = Message::State::complete;
      message.size = at;
      return;
    }
    message.body += text.substr(std::min(at, text.size()), *size);
    if (text.size() - at < *size + 2) return;
    at += *size;
    if (text.substr(at, 2) != "\r\n") {
      bad(message, "no line end behind a chunk");
      return;
    }
    at += 2;
  }
}

}  // namespace

int Message::status() const {
  return start_line.starts_with("HTTP/1.1 ") ? static_cast<int>(*number(start_line.substr(9, 3), 10)) : 0;
}

size_t Message::count(std::string_view name) const {
  return static_cast<size_t>(
      std::count_if(fields.begin(), fields.end(), [&](const auto& one) { return one.first == name; }));
}

std::string Message::field(std::string_view name) const {
  const auto found =
      std::find_if(fields.begin(), fields.end(), [&](const auto& one) { return one.first == name; });
  return found == fields.end() ? std::string{} : found->second;
}

Message read_strictly(std::string_view text, Kind kind) {
  Message message;
  const size_t line = text.find("\r\n");
  if (line == npos) return message;
  message.start_line = text.substr(0, line);
  if (!is_start_line(message.start_line, kind)) return bad(message, "start line: " + message.start_line);
  size_t at = line + 2;
  if (!read_fields(text, at, message, true)) return message;
  message.has_head = true;
  const size_t lengths = message.count("content-length");
  const size_t codings = message.count("transfer-encoding");
  if (lengths + codings > 1) return bad(message, "framed twice");
  if (codings == 1 && message.field("transfer-encoding") != "chunked") return bad(message, "an odd coding");
  const std::optional<size_t> length = number(message.field("content-length"), 10);
  if (lengths == 1 && !length) return bad(message, "an odd length");
  if (kind == Kind::request && message.count("host") != 1) return bad(message, "not one Host");
  const int status = message.status();
  const bool bare = kind != Kind::request &&
                    (kind == Kind::response_to_head || status < 200 || status == 204 || status == 304);
  if (kind != Kind::request && (status < 200 || status == 204) && lengths + codings > 0) {
    return bad(message, "a body's framing where none can be");
  }
  if (!bare && codings == 1) {
    read_chunks(text, at, message);
    return message;
  }
  if (!bare && lengths == 0 && kind != Kind::request) {
    message.state = Message::State::until_close;
    message.body = text.substr(at);
    return message;
  }
  const size_t wanted = bare || !length ? 0 : *length;
  message.body = text.substr(at, wanted);
  if (message.body.size() < wanted) return message;
  message.state = Message::State::complete;
  message.size = at + wanted;
  return message;
}

}  // namespace sluice::fuzz
