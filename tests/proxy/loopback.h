// Sockets of tests on 127.0.0.1.
#pragma once

#include <netinet/in.h>

#include "proxy/accepting_socket.h"

namespace sluice::proxy::test {

// A socket's own address.
sockaddr_in name_of(int fd);

// Listens on a free port, at which so many may wait; returns where.
sockaddr_in listen_on_loopback(AcceptingSocket& listening, int backlog);

}  // namespace sluice::proxy::test
