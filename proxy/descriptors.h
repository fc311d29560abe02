// The limit of open files, and what it leaves for connections.
//
// Each request takes two descriptors, the client's and the upstream's; what the
// process needs for itself is set aside first, so that neither side can take
// the other's, nor the admin socket's. Clients beyond their part wait in the
// kernel's queue of the listening socket, upstream connections in ours: with
// the limit reached everything is slower, and nothing fails.
//
// Each side has half, so that every client may have a request under way. Where
// caps say that upstreams can't need theirs, clients have more (parts_of).
//
// Source: getrlimit(2). Thread: the control thread's.
#pragma once

#include <cstdint>

#include "balancer/cap.h"
#include "conf/config.h"
#include "conf/result.h"

namespace sluice::proxy {

struct DescriptorBudget {
  uint64_t limit = 0;  // open files of the process
  uint32_t clients = 0;
  uint32_t upstream = 0;

  uint32_t connections() const { return clients + upstream; }
};

// What is kept for upstreams whose caps allow less than their half: so many times
// what they allow, and some; or that beside the connections that there are, whose
// caps may have gone by now.
inline constexpr uint64_t kKeptForUpstreams = 2;
inline constexpr uint64_t kKeptBesides = 64;

// How a budget is to be shared: `upstreams_need` is what the caps of all upstreams
// together allow, `upstreams_have` their connections.
struct DescriptorParts {
  uint32_t clients = 0;
  uint32_t upstream = 0;
};
DescriptorParts parts_of(const DescriptorBudget& budget, uint64_t upstreams_need, uint32_t upstreams_have);

// What upstreams need changes, by a reload, by hand, with the addresses of their
// names, and the parts with it. A side that has more than its part takes no more
// until enough of its connections have ended, and the other grows by as much. Both
// together never have more places than `budget` has: growing is to be asked for some
// while after the last shrink, since a worker may just have been taking a place.
void shrink_to(const DescriptorParts& parts, balancer::Cap& clients, balancer::Cap& upstream);
void grow_to(const DescriptorParts& parts, balancer::Cap& clients, balancer::Cap& upstream);

// Divides a limit; an error when it does not do for the least work.
conf::Result<DescriptorBudget> divide_descriptors(uint64_t limit, const conf::Config& config,
                                                  uint32_t workers);

// Raises the soft limit as far as the hard one allows, and divides that.
conf::Result<DescriptorBudget> budget_descriptors(const conf::Config& config, uint32_t workers);

}  // namespace sluice::proxy
