// The path of a unix listening socket (unix(7)): taken, and let go.
//
// bind() makes a file that its process leaves behind when it is killed, and that
// the next one has to remove. Between finding that nobody serves it and removing
// it, another process may have begun to; so who looks, removes, binds and listens
// does it under a lock of its own, the file PATH.lock (flock(2)), which is there
// for no longer.
//
// The control thread's. Errors say what is in the way and what to do.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "conf/result.h"

namespace sluice::proxy {

class UnixPath {
 public:
  UnixPath() = default;

  // A socket that listens at `path`, non-blocking, close-on-exec, the caller's. A
  // socket that nobody serves gives way; one that somebody does, one that another
  // process is just beginning with, and anything that is no socket does not. The
  // file is at no time wider than `mode` (nothing: as the umask has it).
  static conf::Result<int> listen(const std::string& path, std::optional<uint32_t> mode, int backlog);

  // What lies at `path` now is ours: we listen there, or have been handed it.
  static UnixPath of(const std::string& path);
  // Removes the file, once, unless another has put its own there meanwhile.
  void remove();

 private:
  std::string path_;  // empty: nothing to remove
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace sluice::proxy
