// The live stream that the dashboard reads: server-sent events (WHATWG HTML,
// 9.2) about one service.
//
//   history   once: the points so far, and the last events
//             {"service","bands_s","seconds":[P…],"tens":[P…],"events":[E…]}
//   state     each second: what `tell_everything` says, and the newest points
//             {…,"second":P,"ten":P or null}
//   event     as it happens: an event as `show events` has it
//
// A point P is [unix_s, green_percent, BLUE, GREEN] and a colour is
// [rate_per_s, failed_per_s, p50_s, p99_s, [requests in each band]].
//
// Thread: the control thread's.
#pragma once

#include <string>

#include "admin/command.h"

namespace sluice::admin {

std::string history_message(Context& context, const std::string& service);
std::string state_message(Context& context, const std::string& service);
std::string event_message(const proxy::Event& event);

}  // namespace sluice::admin
