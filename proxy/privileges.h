// The rights that the process gives up once it has what it needs them for.
//
// The control thread's.
#pragma once

#include <string>

#include "conf/result.h"

namespace sluice::proxy {

// From here on nothing that this thread or one that it starts executes can gain
// a privilege (PR_SET_NO_NEW_PRIVS of prctl(2), which binds a thread and not a
// process). Called before there is another thread.
conf::Status gain_no_privileges();

// A root process becomes `user` and `group`, by name or number, for good and with
// all its threads; empty: stays who it is. The group's default is the user's own,
// with its supplementary groups. Called before a worker begins.
conf::Status drop_privileges(const std::string& user, const std::string& group);

}  // namespace sluice::proxy
