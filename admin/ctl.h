// ctl: one line of commands to a running sluice, and its answer.
//
// A plain blocking client of the admin socket; it runs in a process of its own,
// never in the proxy's.
#pragma once

#include <string>
#include <vector>

namespace sluice::admin {

struct CtlOptions {
  std::string socket;  // empty: SLUICE_SOCKET, or from SLUICE_CONFIG
  bool json = false;
  std::vector<std::string> words;  // of the command
};

// Prints what the server says: refusals on stderr, unless as JSON, else on
// stdout. The exit code: 0 done, 1 something was refused, 2 usage or
// unreachable.
int run_ctl(const CtlOptions& options);

// The line that run_ctl() sends, with a line feed. A single word is taken as a
// whole line, so that "show split; show info" can be quoted in a shell.
std::string ctl_line(const CtlOptions& options);

}  // namespace sluice::admin
