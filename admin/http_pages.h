// What the admin HTTP server answers: from a request's path to a page. No page
// changes anything.
//
// Thread: the control thread's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/control.h"

namespace sluice::admin {

struct HttpPage {
  uint16_t status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

// `path` without a query. `accept` is the Accept field's value; may be empty.
HttpPage page_for(proxy::Control& control, std::string_view path, std::string_view accept);

}  // namespace sluice::admin
