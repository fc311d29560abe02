// StateWriter: brings states and reports to the disk on a thread of its own, so
// that a disk that is slow or stuck holds up nobody who judges or answers.
//
//   save() ──────────┐                     ┌── StateStore ──┐
//   write_report() ──┴─ queue ─ its thread ┴── ReportFiles ─┴─ mailbox ─> Hooks
//
// What is asked for is done in the order of asking, one thing at a time. Of a
// state that is asked for again before its turn only the later value is written,
// in the place of the earlier one, so the queue never has more states than there
// are services, the freeze, and kMostReports reports.
//
// Every state asked for has a number, and they only rise: what was asked for up
// to a number has ended when ended_through() has reached it, well or not.
//
// Thread: all members are the control thread's, where the hooks run as well.
// Owner: Control. The mailbox must outlive it. An error of the disk is told by
// the hook and ends nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "balancer/file_system.h"
#include "balancer/saved_state.h"
#include "conf/result.h"
#include "proxy/mailbox.h"

namespace sluice::proxy {

class StateWriter {
 public:
  static constexpr uint32_t kFolderMode = 0750;  // of state_dir, where it is made
  static constexpr size_t kMostReports = 64;     // under way; more are refused
  static constexpr uint64_t kEndMs = 2000;
  static constexpr const char* kFreeze = "";       // among the names of services
  static constexpr const char* kSettled = "\x01";  // likewise: that nothing is missing any more

  struct Found {
    std::map<std::string, balancer::SavedService> services;
    balancer::SavedFreeze freeze;
    balancer::Journal::Recovery recovery;
    std::vector<std::string> unreadable;  // as of StateStore
  };
  struct Hooks {
    // How it went with `what`: a service, kFreeze or kSettled.
    std::function<void(const std::string& what, const conf::Status& status)> saved;
    std::function<void(const std::string& service, const conf::Result<std::string>& path)> reported;
    // begin() got no store, and now there is one that remembers this. States are
    // refused until joined(), so that nothing of it is written over.
    std::function<void(const Found& found)> found;
  };

  StateWriter(Mailbox& mailbox, Hooks hooks,
              std::shared_ptr<balancer::FileSystem> files = std::make_shared<balancer::PosixFileSystem>());
  StateWriter(const StateWriter&) = delete;
  StateWriter& operator=(const StateWriter&) = delete;
  // As end().
  ~StateWriter();

  // The disk that a store for begin() is to be opened on.
  balancer::FileSystem& files();
  // Starts the thread. Before it, and without a folder, nothing is kept. Without a
  // store, which could not be opened, each state tries to open one.
  void begin(const std::string& state_dir, std::unique_ptr<balancer::StateStore> store);
  bool keeps() const { return keeps_; }

  void save(const std::string& service, balancer::SavedService state);
  void save_freeze(balancer::SavedFreeze freeze);
  // What the journal may have lost has been answered by what was saved, all of it:
  // to be asked for while nothing is saving() and nothing failed.
  void settle();
  void write_report(std::string_view kind, const std::string& service, int64_t unix_ms, std::string json,
                    std::string text);

  // What was found is part of what is asked for from here on.
  void joined();
  // begin() got no store, and there has been none since: what the disk remembers
  // is not known.
  bool unread() const;

  uint64_t asked() const { return asked_; }
  uint64_t ended_through() const { return saving_.empty() ? asked_ : *saving_.begin() - 1; }
  // Is a state still to be written?
  bool saving() const { return !saving_.empty(); }

  // Lets go of the store, for another process; not while saving(). Reports are
  // written as before.
  void let_go();
  // Keeps states again; the next one opens the store.
  void take_back() { keeps_ = thread_.joinable(); }

  // Waits for what was asked for, at most so long, and leaves the thread to
  // itself if that was not enough: it then writes nothing more than what it is
  // about. Returns whether all was done.
  bool end(uint64_t most_ms = kEndMs);

 private:
  struct Core;

  void ask(const std::string& what, std::function<conf::Status(balancer::StateStore&)> work);

  const Hooks hooks_;
  const std::shared_ptr<Core> core_;  // the thread's as well
  bool keeps_ = false;
  uint64_t asked_ = 0;
  std::set<uint64_t> saving_;
  size_t reports_ = 0;  // under way
  std::thread thread_;
};

}  // namespace sluice::proxy
