// The writing half of HTTP/1, shared by both codecs: field sections, chunk
// framing and status lines (RFC 9112, 3 to 7).
#pragma once

#include <cstring>
#include <string_view>

#include "proxy/codec.h"
#include "proxy/head.h"
#include "proxy/outbox.h"

namespace sluice::proxy {

// Appends to memory that is large enough.
class Appender {
 public:
  explicit Appender(char* at) : at_(at) {}
  Appender& operator<<(std::string_view text) {
    if (text.empty()) return *this;  // perhaps without an address, which memcpy() must not see
    std::memcpy(at_, text.data(), text.size());
    at_ += text.size();
    return *this;
  }
  char* at() const { return at_; }

 private:
  char* at_;
};

std::string_view reason_phrase(uint16_t status);

// What append_fields() may need at most.
size_t size_of_fields(const Fields& fields, const AddedFields& added);
// The lines of all fields that are not dropped, as they came, then the added
// ones; no empty line. `first_line_size` is that of the block's start line.
void append_fields(Appender& to, const Fields& fields, const AddedFields& added, size_t first_line_size);

// A slice of a body as one chunk; the last chunk with its trailers.
void write_chunk(Outbox& out, const char* data, size_t size);
void write_last_chunk(Outbox& out, const Fields* trailers);

// The start line's size, without CRLF, of the block of a head.
size_t start_line_size(const Fields& fields);

}  // namespace sluice::proxy
