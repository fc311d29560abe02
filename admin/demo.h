// demo: everything in one process tree, for a first look.
//
//   this process: two origins, clients, the picture     child: sluice run
//
// A script moves the split 0, 10, 50, 100 and back, raises it again, and then
// lets green fail until the judge of the proxy has put everything back on blue.
// On a terminal the picture is drawn in place; otherwise a line is printed each
// second, so that the demo can be read in a log and tested.
#pragma once

#include <string>

namespace sluice::admin {

struct DemoOptions {
  std::string program;  // the sluice binary, for the child
  bool fast = false;    // scenes last a third as long
};

// Returns the process's exit code: 0 when green was tripped as it should be.
int run_demo(const DemoOptions& options);

}  // namespace sluice::admin
