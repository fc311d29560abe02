#include "proxy/file_watch.h"

#include <sys/stat.h>

#include <utility>

namespace sluice::proxy {

FileStates look_at(const std::vector<std::string>& paths) {
  FileStates files;
  for (const std::string& path : paths) {
    struct stat status {};
    if (path.empty() || stat(path.c_str(), &status) != 0) {
      files.emplace_back();
      continue;
    }
    files.push_back({status.st_dev, status.st_ino, status.st_size,
                     int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec});
  }
  return files;
}

bool FileWatch::due(FileStates now) {
  const bool still = now == seen;
  seen = std::move(now);
  if (!still || seen == read) return false;
  read = seen;
  return true;
}

}  // namespace sluice::proxy
