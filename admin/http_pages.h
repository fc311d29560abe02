// What the admin HTTP server answers: from a request's path to a page. No page
// changes anything.
//
// Thread: the control thread's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "admin/command.h"

namespace sluice::admin {

struct HttpPage {
  uint16_t status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::string stream_of;  // instead of a body, the live stream of this service
};

// `target` is a path, perhaps with a query. `accept` is the Accept field's
// value; may be empty.
HttpPage page_for(Context& context, std::string_view target, std::string_view accept);

// Does what a client has sent begin as a request of a probe, /live or /ready?
bool begins_probe(std::string_view input);

}  // namespace sluice::admin
