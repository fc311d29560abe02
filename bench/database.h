// A database that several origins share, reduced to what runs out: its
// connections. Each process of an origin keeps a pool: a connection that was
// opened once stays open, as most pools do it, and counts against the database
// whether it is used or not. A request needs a connection while it works; where
// neither the process nor the database has one left it fails at once.
//
//   Database (100 in all) ── Origin's processes (20 each) ── requests
//
// Thread: the origin's one.
#pragma once

#include <cstddef>
#include <vector>

namespace sluice::bench {

class Database {
 public:
  explicit Database(size_t most) : most_(most) {}

  bool open() {
    if (opened_ == most_) return false;
    ++opened_;
    return true;
  }

 private:
  const size_t most_;
  size_t opened_ = 0;
};

class Processes {
 public:
  static constexpr int kNone = -1;

  // `database` must outlive this. So many connections are open from the start, as
  // of an earlier peak, shared out evenly and as far as there are any.
  Processes(Database& database, size_t count, size_t most_each, size_t open)
      : database_(database), most_each_(most_each), processes_(count) {
    for (size_t i = 0; i < open; ++i) {
      Process& process = processes_[i % count];
      if (process.opened < most_each_ && database_.open()) ++process.opened;
    }
  }

  // The process that takes a request and has a connection for it, or kNone. It
  // is the one with the fewest requests.
  int take() {
    size_t least = 0;
    for (size_t i = 1; i < processes_.size(); ++i) {
      if (processes_[i].busy < processes_[least].busy) least = i;
    }
    Process& process = processes_[least];
    if (process.busy == process.opened) {
      if (process.opened == most_each_ || !database_.open()) return kNone;
      ++process.opened;
    }
    ++process.busy;
    return static_cast<int>(least);
  }

  void give_back(int process) { --processes_[static_cast<size_t>(process)].busy; }

 private:
  struct Process {
    size_t opened = 0;
    size_t busy = 0;
  };
  Database& database_;
  const size_t most_each_;
  std::vector<Process> processes_;
};

}  // namespace sluice::bench
