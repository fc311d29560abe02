#include "balancer/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

namespace sluice::balancer {
namespace {

conf::Error os_error(const char* verb, const std::string& path, int error) {
  const auto kind = error == ENOENT ? conf::Error::Kind::not_found : conf::Error::Kind::io;
  return {kind, conf::Error::Source::system, true,
          std::string("Cannot ") + verb + " " + path + ": " + std::generic_category().message(error) + "."};
}

template <typename Call>
auto retry_on_interrupt(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

class PosixFile final : public File {
 public:
  PosixFile(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;
  ~PosixFile() override { ::close(descriptor_); }

  int descriptor() const { return descriptor_; }

  conf::Result<size_t> write(std::string_view bytes) override {
    const ssize_t written =
        retry_on_interrupt([&] { return ::write(descriptor_, bytes.data(), bytes.size()); });
    if (written < 0) return os_error("write", path_, errno);
    if (written == 0) return os_error("write", path_, EIO);
    return static_cast<size_t>(written);
  }

  conf::Status sync() override {
    if (retry_on_interrupt([&] { return ::fsync(descriptor_); }) != 0) {
      return os_error("sync", path_, errno);
    }
    return conf::Done{};
  }

  bool reserve(uint64_t bytes) override {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) return false;
    return retry_on_interrupt([&] {
             return ::fallocate(descriptor_, FALLOC_FL_KEEP_SIZE, status.st_size, static_cast<off_t>(bytes));
           }) == 0;
  }

 private:
  const int descriptor_;
  const std::string path_;
};

// Files of ours are no links; the folder that they are in may be reached by one.
conf::Result<std::unique_ptr<PosixFile>> open_file(const std::string& path, int flags) {
  if ((flags & O_DIRECTORY) == 0) flags |= O_NOFOLLOW;
  const int descriptor = retry_on_interrupt([&] { return ::open(path.c_str(), flags | O_CLOEXEC, 0600); });
  if (descriptor < 0) return os_error("open", path, errno);
  return std::make_unique<PosixFile>(descriptor, path);
}

conf::Result<std::unique_ptr<File>> as_file(conf::Result<std::unique_ptr<PosixFile>> file) {
  if (!file) return file.error();
  return std::unique_ptr<File>(std::move(file.value()));
}

}  // namespace

conf::Result<std::string> PosixFileSystem::read(const std::string& path) {
  auto file = open_file(path, O_RDONLY);
  if (!file) return file.error();
  std::string content;
  char block[16 * 1024];
  for (;;) {
    const ssize_t got =
        retry_on_interrupt([&] { return ::read((*file)->descriptor(), block, sizeof block); });
    if (got < 0) return os_error("read", path, errno);
    if (got == 0) return content;
    content.append(block, static_cast<size_t>(got));
    if (content.size() > kMaxReadBytes) return os_error("read", path, EFBIG);
  }
}

conf::Result<std::unique_ptr<File>> PosixFileSystem::open_to_append(const std::string& path) {
  return as_file(open_file(path, O_WRONLY | O_APPEND));
}

conf::Result<std::unique_ptr<File>> PosixFileSystem::create(const std::string& path) {
  return as_file(open_file(path, O_WRONLY | O_APPEND | O_CREAT | O_TRUNC));
}

conf::Result<std::unique_ptr<File>> PosixFileSystem::lock(const std::string& path) {
  auto file = open_file(path, O_WRONLY | O_CREAT);
  if (!file) return file.error();
  if (retry_on_interrupt([&] { return ::flock((*file)->descriptor(), LOCK_EX | LOCK_NB); }) != 0) {
    conf::Error error = os_error("lock", path, errno);
    if (errno == EWOULDBLOCK) {
      error.kind = conf::Error::Kind::conflict;
      error.detail = "Another process uses this state_dir: it holds " + path + ".";
    }
    return error;
  }
  return as_file(std::move(file));
}

conf::Status PosixFileSystem::rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return os_error("rename", from, errno);
  return conf::Done{};
}

conf::Status PosixFileSystem::remove(const std::string& path) {
  if (::unlink(path.c_str()) != 0) return os_error("remove", path, errno);
  return conf::Done{};
}

conf::Status PosixFileSystem::sync_directory(const std::string& path) {
  auto directory = open_file(path, O_RDONLY | O_DIRECTORY);
  if (!directory) return directory.error();
  return (*directory)->sync();
}

conf::Status PosixFileSystem::make_directory(const std::string& path, uint32_t mode) {
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return os_error("make the directory", path, errno);
  return conf::Done{};
}

conf::Result<std::vector<std::string>> PosixFileSystem::list(const std::string& path) {
  const auto close_directory = [](DIR* directory) { ::closedir(directory); };
  const std::unique_ptr<DIR, decltype(close_directory)> directory(::opendir(path.c_str()), close_directory);
  if (directory == nullptr) return os_error("list", path, errno);
  std::vector<std::string> names;
  while (const dirent* const entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  return names;
}

}  // namespace sluice::balancer
