// The rights that the process gives up once it has what it needs them for.
//
// Called on the control thread before a worker begins.
#pragma once

#include <string>

#include "conf/result.h"

namespace sluice::proxy {

// From here on nothing that this thread or one that it starts executes can gain
// a privilege (PR_SET_NO_NEW_PRIVS of prctl(2)). A root process then becomes `user` and
// `group`, by name or number, for good; empty: stays who it is. The group's
// default is the user's own, with its supplementary groups.
conf::Status drop_privileges(const std::string& user, const std::string& group);

}  // namespace sluice::proxy
