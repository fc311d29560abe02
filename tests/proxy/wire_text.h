// Messages of HTTP/1.1 as a test reads them: a small reader of its own, so that
// the product is not judged by its own parser.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace sluice::proxy::test {

struct WireMessage {
  enum class State { incomplete_head, incomplete_body, complete, bad };
  State state = State::incomplete_head;
  std::string start_line;
  std::map<std::string, std::string> fields;  // names in lower case
  std::string body;                           // so far, without chunk framing
  bool until_close = false;                   // the body ends with the connection
  size_t size = 0;                            // octets of the text that it takes so far

  bool has_head() const { return state == State::incomplete_body || state == State::complete; }
  std::string field(const std::string& name) const {
    const auto found = fields.find(name);
    return found == fields.end() ? std::string{} : found->second;
  }
  int status() const { return start_line.size() >= 12 ? std::stoi(start_line.substr(9, 3)) : 0; }
};

enum class WireKind { request, response, response_without_body };

// The message at the front of `text`.
WireMessage read_message(std::string_view text, WireKind kind);

}  // namespace sluice::proxy::test
