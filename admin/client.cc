#include "admin/client.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "conf/address.h"
#include "conf/parse.h"

namespace sluice::admin {
namespace {

std::string advice(int error) {
  switch (error) {
    case ENOENT:
      return "; no sluice has that admin socket: is it running, and is this the path in its [admin] section?";
    case ECONNREFUSED:
      return "; the socket is there but nobody serves it: is sluice running?";
    case EACCES:
      return "; this user may not use it: see the mode in the [admin] section";
    default:
      return {};
  }
}

}  // namespace

conf::Error admin_failure(std::string detail) {
  return {conf::Error::Kind::unavailable, conf::Error::Source::operator_, false, std::move(detail)};
}

conf::Result<std::string> admin_socket_path(const std::string& option) {
  if (!option.empty()) return option;
  if (const char* const socket = std::getenv("SLUICE_SOCKET"); socket != nullptr && *socket != '\0') {
    return std::string(socket);
  }
  const char* const file = std::getenv("SLUICE_CONFIG");
  if (file == nullptr || *file == '\0') {
    return admin_failure("no socket was named; use -s SOCKET, or set SLUICE_SOCKET or SLUICE_CONFIG");
  }
  const conf::ParseOutcome outcome = conf::parse_file(file);
  // A file that somebody has spoilt is no reason why green cannot be tripped.
  if (!outcome.admin_socket.empty()) return outcome.admin_socket;
  if (!outcome.ok()) {
    return admin_failure("SLUICE_CONFIG names a file with errors; mend it or use -s SOCKET\n" +
                         outcome.to_string());
  }
  return admin_failure(std::string(file) + " has no [admin] socket; use -s SOCKET");
}

conf::Result<int> connect_to_admin(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() > conf::kMaxSocketPath) return admin_failure("the path of the socket is too long: " + path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return fd;
  const int error = errno;
  if (fd >= 0) close(fd);
  return admin_failure("cannot reach " + path + ": " + std::strerror(error) + advice(error));
}

}  // namespace sluice::admin
