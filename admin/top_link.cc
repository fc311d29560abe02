#include "admin/top_link.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "admin/client.h"

namespace sluice::admin {
namespace {

constexpr std::string_view kQuestion =
    "json show info; json show services; json show split; json show upstreams; json show endpoints; "
    "json show caps; json show trip; json show rollout; json show latency; json show log 20\n";

}  // namespace

void TopLink::ask() {
  if (fd_ >= 0) {
    problem_ = "sluice has not answered for a while";
    end();
  }
  const conf::Result<int> connected = connect_to_admin(path_);
  if (!connected.ok()) {
    problem_ = connected.error().detail;
    return;
  }
  fd_ = *connected;
  // The question fits the socket's buffer, so it is never sent in part.
  if (send(fd_, kQuestion.data(), kQuestion.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    problem_ = std::string("cannot ask: ") + std::strerror(errno);
    end();
  }
}

bool TopLink::on_ready() {
  char buffer[64 * 1024];
  while (true) {
    const ssize_t size = recv(fd_, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (size > 0 && incoming_.size() + static_cast<size_t>(size) <= kMostReplyBytes) {
      incoming_.append(buffer, static_cast<size_t>(size));
      continue;
    }
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) return false;
    const bool complete = size == 0 && !incoming_.empty();
    if (complete) {
      answer_ = std::move(incoming_);
      problem_.clear();
    } else {
      problem_ = size > 0 ? "sluice answered more than fits" : "sluice broke off its answer";
    }
    end();
    return complete;
  }
}

void TopLink::end() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  incoming_.clear();
}

}  // namespace sluice::admin
