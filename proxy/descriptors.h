// The limit of open files, and what it leaves for connections.
//
// Each request takes two descriptors, the client's and the upstream's; what the
// process needs for itself is set aside first, so that neither side can take
// the other's, nor the admin socket's. Clients beyond their half wait in the
// kernel's queue of the listening socket, upstream connections in ours: with
// the limit reached everything is slower, and nothing fails.
//
// Source: getrlimit(2). Thread: the control thread's, before others start.
#pragma once

#include <cstdint>

#include "conf/config.h"
#include "conf/result.h"

namespace sluice::proxy {

struct DescriptorBudget {
  uint64_t limit = 0;  // open files of the process
  uint32_t clients = 0;
  uint32_t upstream = 0;
};

// Divides a limit; an error when it does not do for the least work.
conf::Result<DescriptorBudget> divide_descriptors(uint64_t limit, const conf::Config& config,
                                                  uint32_t workers);

// Raises the soft limit as far as the hard one allows, and divides that.
conf::Result<DescriptorBudget> budget_descriptors(const conf::Config& config, uint32_t workers);

}  // namespace sluice::proxy
