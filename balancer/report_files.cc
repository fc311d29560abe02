#include "balancer/report_files.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "balancer/rollout_text.h"

namespace sluice::balancer {
namespace {

constexpr uint32_t kOwnersAlone = 0700;

}  // namespace

conf::Result<std::string> ReportFiles::write(std::string_view kind, std::string_view service, int64_t unix_ms,
                                             std::string_view json, std::string_view text) {
  if (directory_.empty()) return std::string();
  if (conf::Status made = files_.make_directory(directory_, kOwnersAlone); !made) return made.error();
  // The basic format of ISO 8601: no colons, which some tools trip over.
  std::string stem = rfc3339(unix_ms);
  std::erase_if(stem, [](char c) { return c == '-' || c == ':'; });
  stem = directory_ + "/" + stem + "-" + std::string(kind) + "-" + std::string(service);
  if (conf::Status written = write_file(stem + ".json", json); !written) return written.error();
  if (conf::Status written = write_file(stem + ".txt", text); !written) return written.error();
  remove_oldest();
  return stem + ".txt";
}

// Whole or not at all, also for a reader that comes in between.
conf::Status ReportFiles::write_file(const std::string& path, std::string_view content) {
  const std::string beside = path + ".new";
  conf::Result<std::unique_ptr<File>> file = files_.create(beside);
  if (!file) return file.error();
  while (!content.empty()) {
    const conf::Result<size_t> written = (*file)->write(content);
    if (!written) {
      static_cast<void>(files_.remove(beside));
      return written.error();
    }
    content.remove_prefix(*written);
  }
  return files_.rename(beside, path);
}

void ReportFiles::remove_oldest() {
  conf::Result<std::vector<std::string>> names = files_.list(directory_);
  if (!names || names->size() <= 2 * kKept) return;
  std::sort(names->begin(), names->end());
  for (size_t i = 0; i < names->size() - 2 * kKept; ++i) {
    static_cast<void>(files_.remove(directory_ + "/" + (*names)[i]));
  }
}

}  // namespace sluice::balancer
