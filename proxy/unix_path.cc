#include "proxy/unix_path.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace sluice::proxy {
namespace {

conf::Error failure(const std::string& path, const std::string& detail) {
  return {conf::Error::Kind::io, conf::Error::Source::system, false,
          "cannot listen on unix:" + path + ": " + detail};
}

conf::Error failure(const std::string& path, int error) {
  std::string detail = std::strerror(error);
  if (error == EADDRINUSE) detail += "; another process listens there, stop it or choose another path";
  if (error == ENOENT) detail += "; make its directory first";
  if (error == EACCES) detail += "; choose a directory that this user may write to";
  if (error == EMFILE) detail += "; raise the limit of open files";
  return failure(path, detail);
}

conf::Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return failure(path, ENAMETOOLONG);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

const sockaddr* any(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  bool ok() const { return fd_ >= 0; }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// A lock that a killed process of another user has left is nobody's now.
conf::Error unlockable(const std::string& path, const std::string& name, int error) {
  if (struct stat status{}; lstat(name.c_str(), &status) != 0) return failure(path, error);
  return failure(path, name + " cannot be locked: " + std::strerror(error) +
                           "; remove it, if no other process is beginning there");
}

// The right to make the path free and to bind it.
class Lock {
 public:
  static conf::Result<Lock> take(const std::string& path) {
    const std::string name = path + ".lock";
    for (;;) {
      Descriptor file(
          open(name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, S_IRUSR | S_IWUSR));
      if (!file.ok()) return unlockable(path, name, errno);
      if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return unlockable(path, name, errno);
        return failure(path, "another process is beginning to, and holds " + name);
      }
      // Whoever had it may have removed the file between our two calls.
      struct stat held {};
      struct stat there {};
      if (fstat(file.get(), &held) != 0) return unlockable(path, name, errno);
      if (!S_ISREG(held.st_mode) || held.st_size != 0)
        return failure(path, name + " exists and is no lock; remove it or choose another path");
      if (lstat(name.c_str(), &there) == 0 && there.st_dev == held.st_dev && there.st_ino == held.st_ino)
        return Lock(std::move(file), name);
    }
  }
  Lock(Lock&& other) noexcept = default;
  Lock& operator=(Lock&&) = delete;
  ~Lock() {
    if (file_.ok()) unlink(name_.c_str());
  }

 private:
  Lock(Descriptor file, std::string name) : file_(std::move(file)), name_(std::move(name)) {}

  Descriptor file_;
  std::string name_;
};

conf::Status clear(const std::string& path, const sockaddr_un& address) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) return conf::Done{};
  if (!S_ISSOCK(status.st_mode))
    return failure(path, "the path exists and is no socket; remove it or choose another");
  const Descriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe.ok()) return failure(path, errno);
  const int error = connect(probe.get(), any(address), sizeof(address)) == 0 ? 0 : errno;
  const bool served = error == 0 || error == EAGAIN;  // its queue may be full
  if (served) return failure(path, EADDRINUSE);
  if (error != ECONNREFUSED) return failure(path, error);
  if (unlink(path.c_str()) != 0) return failure(path, errno);
  return conf::Done{};
}

}  // namespace

// The inode is born with the descriptor's mode, less the umask, so that it is at
// no time wider than wanted; and nobody connects before listen().
conf::Result<int> UnixPath::listen(const std::string& path, std::optional<uint32_t> mode, int backlog) {
  const conf::Result<sockaddr_un> address = address_of(path);
  if (!address.ok()) return address.error();
  const conf::Result<Lock> lock = Lock::take(path);
  if (!lock.ok()) return lock.error();
  if (const conf::Status cleared = clear(path, *address); !cleared.ok()) return cleared.error();
  Descriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.ok()) return failure(path, errno);
  if ((mode && fchmod(fd.get(), *mode) != 0) || bind(fd.get(), any(*address), sizeof(*address)) != 0)
    return failure(path, errno);
  if ((mode && chmod(path.c_str(), *mode) != 0) || ::listen(fd.get(), backlog) != 0) {
    const int error = errno;
    unlink(path.c_str());
    return failure(path, error);
  }
  return fd.release();
}

UnixPath UnixPath::of(const std::string& path) {
  UnixPath taken;
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) return taken;
  taken.path_ = path;
  taken.device_ = status.st_dev;
  taken.inode_ = status.st_ino;
  return taken;
}

void UnixPath::remove() {
  const std::string path = std::exchange(path_, {});
  struct stat status {};
  if (path.empty() || lstat(path.c_str(), &status) != 0) return;
  if (status.st_dev == device_ && status.st_ino == inode_) unlink(path.c_str());
}

}  // namespace sluice::proxy
