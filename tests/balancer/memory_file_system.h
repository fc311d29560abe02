// MemoryFileSystem: a disk that can be full, broken, or pulled out at any
// octet, for the tests of the journal.
//
// Every file has what its writers wrote and what is durable; every name has
// where it points now and where it would point after a crash. crash() throws
// away what was never made durable, in the ways a real file system may: of the
// unsynced octets of a file a random prefix is left, sometimes followed by
// zeros or by garbage, and of the unsynced renames a random prefix in their
// order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "balancer/file_system.h"
#include "balancer/random.h"

namespace sluice::balancer {

class MemoryFileSystem final : public FileSystem {
 public:
  static constexpr uint64_t kNever = UINT64_MAX;

  explicit MemoryFileSystem(uint64_t seed) : random_(seed) {}

  // What goes wrong. Each octet written and each other call is one tick.
  uint64_t crash_in_ticks = kNever;  // then every call fails, until crash()
  uint64_t free_bytes = kNever;      // ENOSPC after these
  double error_chance = 0;           // EIO, of any call
  bool reserves = false;             // can room be kept behind a file's end?
  bool short_writes = false;
  bool read_only = false;  // EROFS
  bool crashed = false;
  uint64_t ticks = 0;

  // The power comes back: what was not durable may be gone.
  void crash() {
    crashed = false;
    crash_in_ticks = kNever;
    for (auto& [inode, file] : files_) lose_unsynced(*file);
    const size_t survive = random_.below(pending_.size() + 1);
    for (size_t i = 0; i < survive; ++i) apply(durable_names_, pending_[i]);
    pending_.clear();
    names_ = durable_names_;
    locked_.clear();
    std::erase_if(files_, [this](const auto& file) {
      return std::none_of(names_.begin(), names_.end(),
                          [&](const auto& name) { return name.second == file.first; });
    });
  }

  std::string& content(const std::string& path) { return files_.at(names_.at(path))->now; }
  // Makes a change by hand durable.
  void set_content(const std::string& path, std::string content) {
    if (!names_.contains(path)) create_name(path);
    files_.at(names_.at(path))->now = content;
    files_.at(names_.at(path))->durable = std::move(content);
    durable_names_ = names_;
    pending_.clear();
  }
  bool exists(const std::string& path) const { return names_.contains(path); }

  conf::Result<std::string> read(const std::string& path) override {
    if (!names_.contains(path)) return error("read", conf::Error::Kind::not_found);
    return content(path);
  }
  conf::Result<std::unique_ptr<File>> open_to_append(const std::string& path) override {
    if (fails()) return error("open");
    if (!names_.contains(path)) return error("open", conf::Error::Kind::not_found);
    return std::unique_ptr<File>(std::make_unique<OpenFile>(*this, files_.at(names_.at(path))));
  }
  conf::Result<std::unique_ptr<File>> create(const std::string& path) override {
    if (fails()) return error("create");
    create_name(path);
    return std::unique_ptr<File>(std::make_unique<OpenFile>(*this, files_.at(names_.at(path))));
  }
  conf::Result<std::unique_ptr<File>> lock(const std::string& path) override {
    if (read_only) return error("lock");
    auto held = locked_[path].lock();
    if (held) return error("lock", conf::Error::Kind::conflict);
    held = std::make_shared<int>(0);
    locked_[path] = held;
    return std::unique_ptr<File>(std::make_unique<Lock>(held));
  }
  conf::Status rename(const std::string& from, const std::string& to) override {
    if (fails()) return error("rename");
    change_name({from, to, names_.at(from)});
    return conf::Done{};
  }
  conf::Status remove(const std::string& path) override {
    if (fails()) return error("remove");
    change_name({path, "", 0});
    return conf::Done{};
  }
  conf::Status sync_directory(const std::string&) override {
    if (fails()) return error("sync directory");
    for (const NameChange& change : pending_) apply(durable_names_, change);
    pending_.clear();
    return conf::Done{};
  }
  // Directories are only the beginnings of names.
  conf::Status make_directory(const std::string&, uint32_t) override {
    if (fails()) return error("make the directory");
    return conf::Done{};
  }
  conf::Result<std::vector<std::string>> list(const std::string& path) override {
    std::vector<std::string> names;
    for (const auto& [name, inode] : names_) {
      if (name.starts_with(path + "/")) names.push_back(name.substr(path.size() + 1));
    }
    return names;
  }

 private:
  struct Inode {
    std::string now;
    std::string durable;
    uint64_t reserved = 0;
  };
  // A file appears under `to` and vanishes from `from`; either may be empty.
  struct NameChange {
    std::string from;
    std::string to;
    uint64_t inode;
  };
  using Names = std::map<std::string, uint64_t>;

  struct Lock final : File {
    explicit Lock(std::shared_ptr<int> token) : held(std::move(token)) {}
    conf::Result<size_t> write(std::string_view bytes) override { return bytes.size(); }
    conf::Status sync() override { return conf::Done{}; }
    bool reserve(uint64_t) override { return false; }
    std::shared_ptr<int> held;
  };

  class OpenFile final : public File {
   public:
    OpenFile(MemoryFileSystem& system, std::shared_ptr<Inode> inode)
        : system_(system), inode_(std::move(inode)) {}
    conf::Result<size_t> write(std::string_view bytes) override {
      if (system_.fails()) return system_.error("write");
      size_t take = bytes.size();
      if (system_.short_writes) take = 1 + system_.random_.below(take);
      if (system_.free_bytes != kNever) take = std::min(take, system_.free_bytes + inode_->reserved);
      const bool full = take == 0;
      take = system_.ticks_left(take);
      inode_->now += bytes.substr(0, take);
      const uint64_t from_reserve = std::min<uint64_t>(take, inode_->reserved);
      inode_->reserved -= from_reserve;
      if (system_.free_bytes != kNever) system_.free_bytes -= take - from_reserve;
      if (full || take == 0) return system_.error("write: no space left");
      return take;
    }
    conf::Status sync() override {
      if (system_.fails()) {
        // A failed fsync may have written anything up to all of it.
        if (!system_.crashed) system_.lose_nothing_or_some(*inode_);
        return system_.error("sync");
      }
      inode_->durable = inode_->now;
      return conf::Done{};
    }
    bool reserve(uint64_t bytes) override {
      if (!system_.reserves || system_.fails()) return false;
      const uint64_t more = bytes - std::min(bytes, inode_->reserved);
      if (system_.free_bytes < more) return false;
      if (system_.free_bytes != kNever) system_.free_bytes -= more;
      inode_->reserved += more;
      return true;
    }

   private:
    MemoryFileSystem& system_;
    std::shared_ptr<Inode> inode_;
  };

  static conf::Error error(const char* verb, conf::Error::Kind kind = conf::Error::Kind::io) {
    return {kind, conf::Error::Source::system, true, std::string("Cannot ") + verb + "."};
  }

  bool fails() {
    return read_only || ticks_left(1) == 0 || (error_chance > 0 && random_.unit() < error_chance);
  }

  // How many of `wanted` ticks pass before the crash.
  size_t ticks_left(size_t wanted) {
    if (crashed) return 0;
    if (crash_in_ticks != kNever && crash_in_ticks < wanted) {
      wanted = crash_in_ticks;
      crashed = true;
    }
    if (crash_in_ticks != kNever) crash_in_ticks -= wanted;
    ticks += wanted;
    return wanted;
  }

  void create_name(const std::string& path) {
    files_[++last_inode_] = std::make_shared<Inode>();
    change_name({"", path, last_inode_});
  }
  void change_name(const NameChange& change) {
    apply(names_, change);
    pending_.push_back(change);
  }
  static void apply(Names& names, const NameChange& change) {
    if (!change.from.empty()) names.erase(change.from);
    if (!change.to.empty()) names[change.to] = change.inode;
  }

  void lose_nothing_or_some(Inode& file) {
    if (file.now.size() > file.durable.size() && random_.below(2) == 0) {
      const size_t extra = file.now.size() - file.durable.size();
      file.durable = file.now.substr(0, file.durable.size() + random_.below(extra + 1));
    }
  }
  void lose_unsynced(Inode& file) {
    const size_t unsynced = file.now.size() - std::min(file.now.size(), file.durable.size());
    const size_t kept = random_.below(unsynced + 1);
    std::string left = file.durable + file.now.substr(file.now.size() - unsynced, kept);
    const uint64_t kind = random_.below(4);
    for (size_t i = kept; kind >= 2 && i < unsynced; ++i) {
      left.push_back(kind == 2 ? '\0' : static_cast<char>(random_.below(256)));
    }
    file.now = file.durable = std::move(left);
  }

  Random random_;
  uint64_t last_inode_ = 0;
  std::map<uint64_t, std::shared_ptr<Inode>> files_;
  Names names_;
  Names durable_names_;
  std::vector<NameChange> pending_;
  std::map<std::string, std::weak_ptr<int>> locked_;
};

}  // namespace sluice::balancer
