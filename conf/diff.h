// What changes between two configurations, for `reload` and `sluice check`.
//
// Listeners are matched by their address, routes by host and path, services and
// caps by name; the order in the file means nothing. Where a whole section is
// new or gone, that is one change, not one for each of its keys. Any thread.
#pragma once

#include <string>
#include <vector>

#include "conf/config.h"
#include "conf/schema.h"

namespace sluice::conf {

struct Change {
  std::string path;    // "service.web.timeouts.connect", "listener[0.0.0.0:80]"
  std::string before;  // as in the file, unquoted; empty: was absent
  std::string after;   // empty: is absent; of a whole section "present"
  Applies applies;

  bool needs_restart() const { return applies == Applies::restart; }
  // "workers: 2 -> 4 (needs a restart)"
  std::string to_string() const;
  bool operator==(const Change&) const = default;
};

std::vector<Change> diff(const Config& before, const Config& after);

}  // namespace sluice::conf
