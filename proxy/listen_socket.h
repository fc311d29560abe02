// Listening sockets, made on the control thread and handed to the workers.
//
// TCP: one socket for each worker under SO_REUSEPORT, so that the kernel
// spreads the connections and no worker wakes for another's (socket(7)). That
// option would also let a second process share the port unnoticed, so the port
// is first tried without it, unless it is the process's own. Unix: one socket,
// duplicated.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "conf/config.h"
#include "conf/result.h"

namespace sluice::proxy {

struct ListenSockets {
  std::vector<int> fds;   // one for each worker, owned by whoever holds this
  conf::Address address;  // with the port that was given for port 0
};

enum class PortUse : uint8_t { alone, beside_our_own };

// Errors say what is in the way and what to do. `beside_our_own`: this process
// listens on the port already, under another address. `unix_mode`: of the file of
// a unix socket; nothing: as the umask has it.
conf::Result<ListenSockets> open_listen_sockets(const conf::Address& bind, uint32_t count,
                                                PortUse use = PortUse::alone,
                                                std::optional<uint32_t> unix_mode = std::nullopt);

// Those of a process that this one takes over from, or of a service manager: the
// same sockets, and further ones where there are more workers now; descriptors
// of the same one where its port may not be shared. Owns `fds`, also when it fails.
conf::Result<ListenSockets> adopt_listen_sockets(std::vector<int> fds, const conf::Address& bind,
                                                 uint32_t count);

// Where a listening TCP socket is bound; nothing when it is something else.
std::optional<conf::Address> bound_tcp_address(int fd);

}  // namespace sluice::proxy
