// Journal: a small map from keys to values that survives kill -9, a loss of
// power and a full disk.
//
// put() returns ok only when the new value is on the disk. After a crash at any
// moment open() finds, for every key, the last value whose put() returned ok,
// or a later one whose put() had begun and did not return ok; never anything
// else.
//
//   state_dir/journal        the records in force
//   state_dir/journal.new    a rewrite in progress; worthless, overwritten
//   state_dir/journal.damaged  a copy, made when damage was found at open()
//   state_dir/journal.other-version  a copy, made before the first write over a
//                            journal of another release
//   state_dir/journal.lock   held while the process lives
//
//   file    := "sluice-journal 1\n" record*
//   record  := length:u32 checksum:u32 sequence:u64 payload      little endian
//   payload := op:u8 ('+' put, '-' erase) key_length:u16 key value
//
// `length` is the payload's. `checksum` is the CRC32C (RFC 3720, 12.1) of
// length, sequence and payload. Sequences only rise within a file and from one
// rewrite to the next, so that old blocks that a crash uncovers behind the end
// are never taken for records.
//
// A rewrite (first start, compaction, repair) writes journal.new, syncs it,
// renames it over journal and syncs the directory. After any failed write or
// sync the file's end is in doubt, and so the next put() is a rewrite instead
// of an append: a writer that met a full disk works again as soon as there is
// room, without a restart. A repair after which something may be missing, and the
// first rewrite of what could not be written at open(), leaves a
// record that says so until settle(), since a crash may come before the owner has
// put what he makes of it. Behind the end of the journal room is kept for what
// has to be saved while the disk is full, above all a trip; it is taken off the
// disk beforehand, where the file system can do that. What a folder has that cannot be written at open() is
// read all the same; its lock is taken, or refused, when the first write succeeds.
//
// Thread: the control thread. Owner: the composition root, through StateStore.
// The FileSystem must outlive it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "balancer/file_system.h"
#include "conf/result.h"

namespace sluice::balancer {

// The Castagnoli CRC; `crc` is the result for what came before.
uint32_t crc32c(std::string_view bytes, uint32_t crc = 0);

class Journal {
 public:
  static constexpr size_t kMaxKeyBytes = 1024;
  static constexpr size_t kMaxValueBytes = 1u << 20;
  // A file longer than this, and four times longer than its live records, is
  // compacted.
  static constexpr size_t kCompactBytes = 64 * 1024;
  // The room that is kept behind the end; filled up again when half of it is used.
  static constexpr size_t kReserveBytes = 256 * 1024;

  // What open() found and did.
  struct Recovery {
    uint64_t records = 0;        // valid ones read
    uint64_t torn_bytes = 0;     // cut from the end: a write that a crash interrupted
    bool torn_whole = false;     // they are as long as a record: it may once have been whole
    uint64_t damaged_bytes = 0;  // in front of valid records: the disk lost something
    uint64_t damaged_at = 0;     // offset of the first damage; 0: the version line is gone
    bool other_version = false;  // nothing was read
    bool unsettled = false;      // an earlier open() found one of these, and no settle() followed
    // May a change that was acknowledged be missing?
    bool lost_any() const { return damaged_bytes > 0 || torn_whole || other_version || unsettled; }
    // Set when the file could not be opened to be written, created or repaired:
    // what was read is in force, nothing new is kept until a put() succeeds.
    std::optional<conf::Error> write_error;
  };

  // Fails when another process has the directory (conflict), or when the
  // journal, or its folder, cannot be read.
  static conf::Result<std::unique_ptr<Journal>> open(FileSystem& files, std::string directory);

  const Recovery& recovery() const { return recovery_; }
  const std::map<std::string, std::string>& entries() const { return entries_; }

  // An error leaves entries() as it was, and the journal usable.
  conf::Status put(const std::string& key, std::string_view value);
  conf::Status erase(const std::string& key);
  // What may be missing has been dealt with, and what follows from it has been
  // put: the next open() need not know. Ok at once where nothing was lost.
  conf::Status settle();

  // The last write failed: what is on the disk may be older than what was asked
  // to be kept.
  bool failing() const { return failing_; }

 private:
  using Entries = std::map<std::string, std::string>;

  Journal(FileSystem& files, std::string directory) : files_(files), directory_(std::move(directory)) {}

  void load(const std::string& content);
  conf::Status take_lock();
  conf::Status keep_copy(const char* name, std::string_view content);
  conf::Status make_ready(const conf::Result<std::string>& content);
  bool apply_record_at(std::string_view content, size_t& offset);
  std::string encode(char op, std::string_view key, std::string_view value);
  conf::Status change(char op, const std::string& key, std::string_view value);
  conf::Status append(std::string_view record);
  conf::Status note_written(conf::Status status);
  conf::Status rewrite(const Entries& entries);
  void compact_if_worth_it();
  void keep_room();
  std::string path(const char* name) const { return directory_ + "/" + name; }

  FileSystem& files_;
  const std::string directory_;
  std::unique_ptr<File> lock_;
  std::unique_ptr<File> file_;
  Entries entries_;
  Recovery recovery_;
  uint64_t sequence_ = 0;  // of the last record written or read
  size_t file_bytes_ = 0;
  size_t reserved_to_bytes_ = 0;  // the offset up to which there is room
  size_t compact_at_bytes_ = kCompactBytes;
  std::string other_version_;  // a file that must be kept before it is written over; empty: none
  bool unsettled_ = false;     // something may be missing: each rewrite says so
  bool end_in_doubt_ = false;  // the next change is a rewrite
  bool failing_ = false;
};

}  // namespace sluice::balancer
