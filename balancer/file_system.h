// FileSystem: the few file operations that the journal and the reports need, so that a test
// can fill the disk, cut a write short or pull the plug at any octet.
//
// Thread: the control thread; every call may block on the disk. Errors are of
// kind io, or not_found for a file that is not there.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conf/result.h"

namespace sluice::balancer {

// An open file; closed when it is destroyed.
class File {
 public:
  virtual ~File() = default;
  // Appends. May write less than it was given, but at least one octet.
  virtual conf::Result<size_t> write(std::string_view bytes) = 0;
  // After success everything written so far survives a loss of power. After a
  // failure nothing is known, and trying again proves nothing: the kernel may
  // have dropped the pages (Rebello et al., "Can applications recover from
  // fsync failures?", USENIX ATC 2020).
  virtual conf::Status sync() = 0;
  // Takes room for the next so many octets off the disk, behind the end, which
  // stays where it is (fallocate(2), FALLOC_FL_KEEP_SIZE). False: there is none,
  // or the file system cannot.
  virtual bool reserve(uint64_t bytes) = 0;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual conf::Result<std::string> read(const std::string& path) = 0;
  virtual conf::Result<std::unique_ptr<File>> open_to_append(const std::string& path) = 0;
  // Creates the file, or empties it.
  virtual conf::Result<std::unique_ptr<File>> create(const std::string& path) = 0;
  // Holds the file locked against other processes for as long as it is open;
  // an error of kind conflict when another process has it.
  virtual conf::Result<std::unique_ptr<File>> lock(const std::string& path) = 0;
  virtual conf::Status rename(const std::string& from, const std::string& to) = 0;
  virtual conf::Status remove(const std::string& path) = 0;
  // Makes creations, renames and removals in the directory durable.
  virtual conf::Status sync_directory(const std::string& path) = 0;
  // Ok also when it is there already, whatever its mode; its parent must be.
  virtual conf::Status make_directory(const std::string& path, uint32_t mode) = 0;
  // The names in a directory, in no order.
  virtual conf::Result<std::vector<std::string>> list(const std::string& path) = 0;
};

class PosixFileSystem final : public FileSystem {
 public:
  // More than any journal may grow to; read() refuses longer files.
  static constexpr uint64_t kMaxReadBytes = 64u << 20;

  conf::Result<std::string> read(const std::string& path) override;
  conf::Result<std::unique_ptr<File>> open_to_append(const std::string& path) override;
  conf::Result<std::unique_ptr<File>> create(const std::string& path) override;
  conf::Result<std::unique_ptr<File>> lock(const std::string& path) override;
  conf::Status rename(const std::string& from, const std::string& to) override;
  conf::Status remove(const std::string& path) override;
  conf::Status sync_directory(const std::string& path) override;
  conf::Status make_directory(const std::string& path, uint32_t mode) override;
  conf::Result<std::vector<std::string>> list(const std::string& path) override;
};

}  // namespace sluice::balancer
