// ReportFiles: what trips and rollouts leave behind for people and programs:
//
//   state_dir/reports/20240501T100000.123Z-trip-web.json
//   state_dir/reports/20240501T100000.123Z-trip-web.txt
//
// Names sort by time; of more than kKept reports the oldest go. A report that
// cannot be written is an error to tell of, never a reason to stop: nothing
// that was decided depends on it.
//
// Thread: the control thread; a write may block on the disk. Owner: Control.
// The FileSystem must outlive it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "balancer/file_system.h"
#include "conf/result.h"

namespace sluice::balancer {

class ReportFiles {
 public:
  static constexpr size_t kKept = 200;

  // An empty state_dir: nothing is kept, and every write is as good as done.
  ReportFiles(FileSystem& files, const std::string& state_dir)
      : files_(files), directory_(state_dir.empty() ? "" : state_dir + "/reports") {}

  // `kind` is a word, `service` a service's name. Returns the path of the .txt;
  // it is empty without a state_dir.
  conf::Result<std::string> write(std::string_view kind, std::string_view service, int64_t unix_ms,
                                  std::string_view json, std::string_view text);

 private:
  conf::Status write_file(const std::string& path, std::string_view content);
  void remove_oldest();

  FileSystem& files_;
  const std::string directory_;
};

}  // namespace sluice::balancer
