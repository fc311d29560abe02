// The command line: what each verb needs, and the process's exit code.
//
//   0 done   1 refused, or errors in the configuration   2 usage or unreachable
#pragma once

namespace sluice::admin {

int run_cli(int argc, char** argv, const char* version);

}  // namespace sluice::admin
