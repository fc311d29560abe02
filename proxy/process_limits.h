// What the operating system lets the process have, and what it gives up.
//
// Called on the control thread before a worker begins; descriptor_limit() and
// most_clients() may be called from any thread.
#pragma once

#include <cstdint>
#include <string>

#include "conf/config.h"
#include "conf/result.h"

namespace sluice::proxy {

// Raises the soft limit of open files to the hard one (getrlimit(2)).
void raise_descriptor_limit();
uint64_t descriptor_limit();

// Clients that are served at once: what is configured, or 4/9 of what the limit
// of descriptors leaves; each may need another towards an upstream, and 1/9 is
// for most_shed().
uint32_t most_clients(const conf::Overload& overload);
// How many more are accepted, to be told that they are too many.
uint32_t most_shed(uint32_t most_clients);

// From here on nothing that this thread or one that it starts executes can gain
// a privilege (PR_SET_NO_NEW_PRIVS of prctl(2)). A root process then becomes `user` and
// `group`, by name or number, for good; empty: stays who it is. The group's
// default is the user's own, with its supplementary groups.
conf::Status drop_privileges(const std::string& user, const std::string& group);

}  // namespace sluice::proxy
