// What the read-only commands answer, for the pages that show the same: the
// dashboard's stream, /health and /metrics.json.
//
// Only commands that change nothing are run, whatever is asked for.
//
// Thread: the control thread's.
#pragma once

#include <string>
#include <string_view>

#include "admin/command.h"

namespace sluice::admin {

// The members of the JSON object that `command` answers: "split":[…]. Empty
// when it is refused, unknown, changes something or doesn't answer at once.
std::string told(Context& context, std::string_view command);

// All that a page about `service` shows, as one JSON object, with the keys of
// the commands it comes from: info, services, caps, and of the service split,
// upstreams, endpoints, trip, rollout, latency, slo. What a command refuses is
// left out.
std::string tell_everything(Context& context, const std::string& service);

}  // namespace sluice::admin
