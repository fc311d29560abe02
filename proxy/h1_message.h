// Start lines, Host and framing of HTTP/1: from a scanned head to a
// RequestHead or a ResponseHead (RFC 9112, 3, 4 and 6; RFC 9110, 7).
//
// What is accepted is the grammar and nothing beside it; where a RFC lets a
// recipient choose between repairing and refusing, this refuses. Pure functions
// of their input; any thread.
#pragma once

#include "proxy/h1_fields.h"
#include "proxy/head.h"

namespace sluice::proxy {

// What HTTP/1 needs to know beside the neutral head.
struct H1Persistence {
  bool keep_alive = false;  // the sender wants to go on after this message
};

// `head` is a complete head as HeadScanner passed it. The views of `request`
// point into it, and it may be changed in place. Null when it is well-formed;
// else the answer. On a problem `request` is partly filled and only
// minor_version may be used.
const Problem* parse_request(Input head, size_t first_line_size, RequestHead& request,
                             H1Persistence& persistence);

// What a response answers, as far as its framing depends on it.
struct ResponseContext {
  Method method = Method::get;
  std::string_view upgrade;  // what the request offered; empty: nothing
};
const Problem* parse_response(Input head, size_t first_line_size, const ResponseContext& context,
                              ResponseHead& response, H1Persistence& persistence);

// host [ ":" port ] of RFC 9110, 4.2, without user information and without the
// sub-delimiters of a registered name, which no host needs.
bool is_authority(std::string_view text);

}  // namespace sluice::proxy
