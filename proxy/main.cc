#include <cstdio>

#include "admin/cli.h"

int main(int argc, char** argv) {
  const int code = sluice::admin::run_cli(argc, argv, SLUICE_VERSION);
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  std::fputs("sluice: not all of the output could be written; is the disk full?\n", stderr);
  return code == 0 ? 1 : code;
}
