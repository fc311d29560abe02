#include "tests/proxy/tcp_segments.h"

// It has more of tcp_info than <netinet/tcp.h>, and does not go beside it.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace sluice::proxy::test {

uint32_t segments_received(int fd) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_segs_in : 0;
}

}  // namespace sluice::proxy::test
