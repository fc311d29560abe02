#include "admin/supervisor.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstring>
#include <utility>

namespace sluice::admin {

bool notify_supervisor(const std::string& socket, std::string_view message) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.empty() || socket.size() >= sizeof(address.sun_path)) return false;
  std::memcpy(address.sun_path, socket.data(), socket.size());
  // An abstract name begins with a zero octet and has no end but its length.
  if (socket.front() == '@') address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket.size());
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  const ssize_t sent = sendto(fd, message.data(), message.size(), MSG_NOSIGNAL,
                              reinterpret_cast<const sockaddr*>(&address), length);
  close(fd);
  return sent == static_cast<ssize_t>(message.size());
}

Supervisor::Settings Supervisor::settings(const char* notify_socket, const char* watchdog_usec) {
  Settings settings;
  if (notify_socket == nullptr) return settings;
  const std::string_view socket = notify_socket;
  if (!socket.starts_with('/') && !socket.starts_with('@')) return settings;
  settings.socket = socket;
  if (watchdog_usec == nullptr) return settings;
  const std::string_view text = watchdog_usec;
  uint64_t usec = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), usec);
  if (error != std::errc() || end != text.data() + text.size() || usec < 2000) return settings;
  settings.watchdog_ms = usec / 1000;
  return settings;
}

Supervisor::Supervisor(proxy::Control& control, Settings settings)
    : control_(control),
      settings_(std::move(settings)),
      watchdog_([](void* self) { static_cast<Supervisor*>(self)->feed_watchdog(); }, this) {
  if (settings_.socket.empty()) return;
  watching_ = control_.on_change([this] { look(); });
  notify_supervisor(settings_.socket, "READY=1");
  if (settings_.watchdog_ms > 0) feed_watchdog();
}

Supervisor::~Supervisor() {
  if (!settings_.socket.empty()) control_.forget_change(watching_);
}

void Supervisor::look() {
  if (control_.state() != proxy::RunState::draining || std::exchange(said_last_, true)) return;
  const int successor = control_.successor();
  notify_supervisor(settings_.socket, successor == 0 ? "STOPPING=1" : "MAINPID=" + std::to_string(successor));
}

void Supervisor::feed_watchdog() {
  notify_supervisor(settings_.socket, "WATCHDOG=1");
  control_.loop().arm(watchdog_, settings_.watchdog_ms / 2);
}

}  // namespace sluice::admin
