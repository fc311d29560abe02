#include "admin/cli.h"

int main(int argc, char** argv) {
  return sluice::admin::run_cli(argc, argv, SLUICE_VERSION);
}
