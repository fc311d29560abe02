// FileWatch: whether files that belong together have changed and stand still
// again, so that none of them is read half written. It looks only at what
// stat(2) says of the files behind the paths, so a swapped symbolic link, as in
// Kubernetes' volumes, is a change.
//
// Thread: its owner's. No error: a file that is not there is a state too.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::proxy {

// What can be seen of a file without reading it; all zero where none is seen.
struct FileState {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  int64_t modified_ns = 0;
  int64_t changed_ns = 0;  // in any way, also by who keeps the time of modification
  bool denied = false;     // it may be there, but not for us
  bool operator==(const FileState&) const = default;
};
using FileStates = std::vector<FileState>;
bool any_denied(const FileStates& files);

// One for each path; an empty path is no file.
FileStates look_at(const std::vector<std::string>& paths);

struct FileWatch {
  FileStates read;     // as they were when they were read
  FileStates seen;     // at the latest look
  bool usable = true;  // what was read then

  // True when they have changed and stand still; then they count as read.
  bool due(FileStates now);
};

}  // namespace sluice::proxy
