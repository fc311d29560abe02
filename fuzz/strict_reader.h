// What the proxy sends, judged by the letter of RFC 9112: a reader that shares
// no code with the product and takes nothing but the grammar.
//
// Pure functions; any thread.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::fuzz {

enum class Kind { request, response, response_to_head };

struct Message {
  enum class State {
    incomplete,   // all that is there is well-formed, and more must come
    until_close,  // likewise, and its body ends with the connection
    complete,
    bad,
  };
  State state = State::incomplete;
  bool has_head = false;
  std::string start_line;
  std::vector<std::pair<std::string, std::string>> fields;  // names in lower case, without trailers
  std::string body;
  size_t size = 0;    // octets that it takes, when it is complete
  std::string fault;  // what is wrong, when it is bad

  int status() const;
  size_t count(std::string_view name) const;
  std::string field(std::string_view name) const;  // the first; empty: none
};

// The message at the front of `text`.
Message read_strictly(std::string_view text, Kind kind);

}  // namespace sluice::fuzz
