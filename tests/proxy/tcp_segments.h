// How many segments a TCP connection has received.
#pragma once

#include <cstdint>

namespace sluice::proxy::test {

// Of a connected socket; 0 when the kernel does not say.
uint32_t segments_received(int fd);

}  // namespace sluice::proxy::test
