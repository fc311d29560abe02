#include "proxy/cpus.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

namespace sluice::proxy {
namespace {

// The path of this process's cgroup in the hierarchy that begins with `prefix`
// in /proc/self/cgroup: "0::" for version 2, "N:...cpu...:" for version 1.
std::string cgroup_path(bool version_2) {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    if (version_2 ? controllers == ",," : controllers.find(",cpu,") != std::string::npos) {
      return line.substr(second + 1);
    }
  }
  return {};
}

// CPUs by quota, or 0 when there is none. A limit may stand at any level above.
double quota_version_2() {
  double least = 0;
  for (std::string path = cgroup_path(true);;) {
    std::ifstream file("/sys/fs/cgroup" + path + "/cpu.max");
    std::string quota;
    double period = 0;
    if (file >> quota >> period && quota != "max" && period > 0) {
      const double cpus = std::strtod(quota.c_str(), nullptr) / period;
      least = least == 0 ? cpus : std::min(least, cpus);
    }
    if (path.empty() || path == "/") return least;
    path.resize(path.rfind('/'));
  }
}

double quota_version_1() {
  const std::string folder = "/sys/fs/cgroup/cpu" + cgroup_path(false);
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us");
  std::ifstream period_file(folder + "/cpu.cfs_period_us");
  double quota = -1;
  double period = 0;
  if (!(quota_file >> quota) || !(period_file >> period) || quota <= 0 || period <= 0) return 0;
  return quota / period;
}

}  // namespace

uint32_t usable_cpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  double cpus = sched_getaffinity(0, sizeof(mask), &mask) == 0 ? CPU_COUNT(&mask) : 1;
  for (const double quota : {quota_version_2(), quota_version_1()}) {
    if (quota > 0) cpus = std::min(cpus, std::ceil(quota));
  }
  return static_cast<uint32_t>(std::max(1.0, cpus));
}

}  // namespace sluice::proxy
