// How many CPUs this process may use: the least of what is online, its affinity
// mask (sched_getaffinity(2)) and its cgroup's quota, rounded up (cgroups(7);
// cpu.max of version 2, cpu.cfs_quota_us of version 1). At least 1.
#pragma once

#include <cstdint>

namespace sluice::proxy {

uint32_t usable_cpus();

}  // namespace sluice::proxy
