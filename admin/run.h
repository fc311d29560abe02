// run and check: the composition root. It is where the proxy and the admin
// servers are put together, and the only place that sees all of them.
#pragma once

#include <string>

namespace sluice::admin {

// Serves in the foreground until it is told to stop. Returns the exit code.
int run_proxy(const std::string& file, const std::string& version);

// Prints every error of the file, in JSON as one object on one line; 0 when
// there is none, else 1.
int check_file(const std::string& file, bool json);

}  // namespace sluice::admin
