#include "proxy/file_watch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace sluice::proxy {

namespace {

int64_t ns_of(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

FileState look_at(const std::string& path) {
  FileState file;
  if (path.empty()) return file;
  struct stat status {};
  if (stat(path.c_str(), &status) == 0) {
    file = {status.st_dev, status.st_ino, status.st_size, ns_of(status.st_mtim), ns_of(status.st_ctim)};
    file.denied = faccessat(AT_FDCWD, path.c_str(), R_OK, AT_EACCESS) != 0 && errno == EACCES;
  } else {
    file.denied = errno == EACCES;
  }
  return file;
}

}  // namespace

FileStates look_at(const std::vector<std::string>& paths) {
  FileStates files;
  files.reserve(paths.size());
  for (const std::string& path : paths) files.push_back(look_at(path));
  return files;
}

bool any_denied(const FileStates& files) {
  return std::any_of(files.begin(), files.end(), [](const FileState& one) { return one.denied; });
}

bool FileWatch::due(FileStates now) {
  const bool still = now == seen;
  seen = std::move(now);
  if (!still || seen == read) return false;
  read = seen;
  return true;
}

}  // namespace sluice::proxy
