#include "wire_text.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace sluice::proxy::test {
namespace {

// Reads chunks from `at` on; true when the last one and the trailers are there.
bool read_chunks(std::string_view text, size_t& at, WireMessage& message) {
  for (;;) {
    const size_t line = text.find("\r\n", at);
    if (line == std::string_view::npos) return false;
    const size_t size = std::strtoull(std::string(text.substr(at, line - at)).c_str(), nullptr, 16);
    const size_t data = line + 2;
    if (size == 0) {
      const size_t end = text.find("\r\n", data);
      if (end == std::string_view::npos) return false;
      if (end == data) {
        at = data + 2;
        return true;
      }
      const size_t trailers = text.find("\r\n\r\n", data);
      if (trailers == std::string_view::npos) return false;
      at = trailers + 4;
      return true;
    }
    message.body += text.substr(std::min(data, text.size()), size);
    if (text.size() < data + size + 2) return false;
    if (text.substr(data + size, 2) != "\r\n") {
      message.state = WireMessage::State::bad;
      return false;
    }
    at = data + size + 2;
  }
}

void read_fields(std::string_view lines, WireMessage& message) {
  while (!lines.empty()) {
    const size_t end = std::min(lines.find("\r\n"), lines.size());
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(std::min(end + 2, lines.size()));
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) {
      message.state = WireMessage::State::bad;
      return;
    }
    std::string name(line.substr(0, colon));
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    std::string_view value = line.substr(colon + 1);
    while (value.starts_with(' ')) value.remove_prefix(1);
    message.fields[name] = value;
  }
}

bool has_body(const WireMessage& message, WireKind kind) {
  if (kind == WireKind::request) return true;
  const int status = message.status();
  return kind == WireKind::response && status >= 200 && status != 204 && status != 304;
}

}  // namespace

WireMessage read_message(std::string_view text, WireKind kind) {
  WireMessage message;
  const size_t head_end = text.find("\r\n\r\n");
  if (head_end == std::string_view::npos) return message;
  message.state = WireMessage::State::incomplete_body;
  const size_t line = text.find("\r\n");
  message.start_line = text.substr(0, line);
  const bool is_response = message.start_line.starts_with("HTTP/1.1 ");
  if (is_response == (kind == WireKind::request)) message.state = WireMessage::State::bad;
  if (line < head_end) read_fields(text.substr(line + 2, head_end - line - 2), message);
  if (message.state == WireMessage::State::bad) return message;
  size_t at = head_end + 4;
  bool complete = true;
  if (has_body(message, kind)) {
    if (message.fields.contains("transfer-encoding")) {
      complete = read_chunks(text, at, message);
      if (!complete) at = text.size();
    } else if (message.fields.contains("content-length")) {
      const size_t length = std::strtoull(message.field("content-length").c_str(), nullptr, 10);
      message.body = text.substr(at, length);
      complete = message.body.size() == length;
      at += message.body.size();
    } else if (kind != WireKind::request) {
      message.until_close = true;
      message.body = text.substr(at);
      complete = false;
      at = text.size();
    }
  }
  message.size = at;
  if (complete && message.state != WireMessage::State::bad) message.state = WireMessage::State::complete;
  return message;
}

}  // namespace sluice::proxy::test
