// What the programs that talk to a running sluice share: which admin socket,
// and a connection to it.
//
// They run in processes of their own, never in the proxy's.
#pragma once

#include <string>

#include "conf/result.h"

namespace sluice::admin {

// Why a running sluice can't be asked.
conf::Error admin_failure(std::string detail);

// `option` where it is given, else SLUICE_SOCKET, else the socket of the
// configuration that SLUICE_CONFIG names. An error says what to do.
conf::Result<std::string> admin_socket_path(const std::string& option);

// A connected descriptor, the caller's to close. An error says why, and what to
// look at.
conf::Result<int> connect_to_admin(const std::string& path);

}  // namespace sluice::admin
