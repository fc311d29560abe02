// Just enough HTTP/1.1 (RFC 9112) for benchmark programs that talk to peers
// they trust: the framing fields of a head, and where a body ends. Not a
// parser to copy: it checks nothing.
#pragma once

#include <strings.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace sluice::bench {

// What a head says about the body that follows and about the connection.
struct Framing {
  bool has_length = false;
  uint64_t length = 0;
  bool chunked = false;
  bool close = false;
  bool expects_continue = false;
};

inline bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

// `head` is a whole head with its empty line.
inline Framing read_framing(std::string_view head) {
  Framing framing;
  size_t at = head.find('\n');
  while (at != std::string_view::npos && ++at < head.size()) {
    const size_t end = head.find('\n', at);
    if (end == std::string_view::npos) break;
    const std::string_view line = head.substr(at, end - at);
    at = end;
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view name = line.substr(0, colon);
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    while (!value.empty() && (value.back() == '\r' || value.back() == ' ')) value.remove_suffix(1);
    if (equals_ignoring_case(name, "content-length")) {
      framing.has_length = true;
      framing.length = std::strtoull(value.data(), nullptr, 10);
    } else if (equals_ignoring_case(name, "transfer-encoding")) {
      framing.chunked = equals_ignoring_case(value, "chunked");
    } else if (equals_ignoring_case(name, "connection")) {
      framing.close = equals_ignoring_case(value, "close");
    } else if (equals_ignoring_case(name, "expect")) {
      framing.expects_continue = equals_ignoring_case(value, "100-continue");
    }
  }
  return framing;
}

// Follows a body through pieces of any size and says where it ends.
class BodyReader {
 public:
  void start_fixed(uint64_t bytes) {
    left_ = bytes;
    state_ = bytes == 0 ? State::done : State::fixed;
  }
  void start_chunked() {
    left_ = 0;
    state_ = State::chunk_size;
  }
  void start_until_close() { state_ = State::until_close; }

  bool done() const { return state_ == State::done; }
  bool ends_with_connection() const { return state_ == State::until_close; }

  // How many of these bytes belong to the body. Fewer than `size` only if it
  // is done.
  size_t consume(const char* data, size_t size) {
    size_t at = 0;
    while (at < size && state_ != State::done) {
      switch (state_) {
        case State::until_close:
          return size;
        case State::fixed:
        case State::chunk_data: {
          const size_t take = static_cast<size_t>(std::min<uint64_t>(left_, size - at));
          at += take;
          left_ -= take;
          if (left_ == 0) state_ = state_ == State::fixed ? State::done : State::chunk_end;
          break;
        }
        default:
          consume_frame(data[at++]);
      }
    }
    return at;
  }

 private:
  enum class State : uint8_t {
    fixed,
    until_close,
    chunk_size,
    chunk_extension,
    chunk_data,
    chunk_end,
    trailer,
    done
  };

  // One character outside the data of a chunk.
  void consume_frame(char c) {
    switch (state_) {
      case State::chunk_size:
      case State::chunk_extension:
        if (c == '\n') {
          state_ = left_ == 0 ? State::trailer : State::chunk_data;
          line_is_empty_ = true;
        } else if (state_ == State::chunk_size) {
          const int digit = hex_digit(c);
          if (digit < 0)
            state_ = State::chunk_extension;
          else
            left_ = left_ * 16 + static_cast<uint64_t>(digit);
        }
        break;
      case State::chunk_end:
        if (c == '\n') start_chunked();
        break;
      default:  // trailer
        if (c == '\n') {
          if (line_is_empty_) state_ = State::done;
          line_is_empty_ = true;
        } else if (c != '\r') {
          line_is_empty_ = false;
        }
    }
  }

  static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  }

  State state_ = State::done;
  bool line_is_empty_ = true;
  uint64_t left_ = 0;  // of the body or of the chunk; while reading a size line, the size so far
};

}  // namespace sluice::bench
