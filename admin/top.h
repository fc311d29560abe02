// top: a live view of a running sluice in a terminal, over its admin socket.
//
// Asks once a second and draws what it was told; keys act at once. It goes on
// when sluice does not answer, says so and finds it again. It runs in a process
// of its own and changes nothing.
#pragma once

#include <string>

namespace sluice::admin {

// Runs until the user ends it. The exit code: 0, or 2 when there is no terminal
// or no socket was named.
int run_top(const std::string& socket);

}  // namespace sluice::admin
