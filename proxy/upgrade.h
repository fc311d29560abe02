// Upgrade and Inheritance: how a process gives its place to a new one of the
// same arguments, perhaps of another release, without losing a connection.
//
//   the old one (Upgrade)                        the new one (Inheritance)
//   runs its binary again, with all listening    reads its configuration
//   sockets and SLUICE_UPGRADE in the
//   environment
//   lets go of the state and of the    <-- 's' --
//   admin sockets; 'g', u32, octets:    -------> opens the state, takes over what
//   what is in force                             is in force, starts, waits until
//   serves and judges as before                  it could serve
//   'f', u32, octets: what is in       <-- 'r' --
//   force now                           -------> takes over what has changed,
//   drains, telling of its places       -------> accepts
//   (places_line.h), ends with exit code 0
//
// If the new one ends before 'r', or takes longer than kReadyMs, it is as if
// nothing had been: the old one takes back what it let go of and says so. Until
// 'r' only the old one accepts clients and judges, after it only the new one
// does; whoever connects in between waits in the sockets' queues, which never
// close. Nobody accepts admin connections from 's' to 'r'.
//
// SLUICE_UPGRADE has a line for each socket, "FD[,FD...] NAME"; descriptor
// kChannelFd is the channel for the letters.
//
// A service manager may have opened sockets as well (socket activation,
// sd_listen_fds(3)): LISTEN_FDS of them from descriptor 3 on, for the process
// LISTEN_PID. A TCP socket goes to the listener that is bound to its address.
//
// Threads: the control thread's; take() before any other thread begins.
#pragma once

#include <uv.h>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "conf/config.h"
#include "conf/result.h"
#include "proxy/loop.h"

namespace sluice::proxy {

struct NamedSockets {
  std::string name;
  std::vector<int> fds;
};

class Upgrade {
 public:
  // For the new process to start and to find its endpoints healthy.
  static constexpr uint64_t kReadyMs = 30'000;

  struct Hooks {
    // Lets go of what only one process may have, then calls give_state(), at
    // once or later; or gives up.
    std::function<void()> let_go;
    // What the other must know now that it takes over.
    std::function<std::string()> last_word;
    std::function<void(int pid)> done;
    // `had_let_go`: it has to be taken back.
    std::function<void(const std::string& why, bool had_let_go)> failed;
  };

  Upgrade(Loop& loop, Hooks hooks);
  Upgrade(const Upgrade&) = delete;
  Upgrade& operator=(const Upgrade&) = delete;
  ~Upgrade() = default;

  bool under_way() const { return attempt_ != nullptr && !attempt_->over; }
  // Starts the new process; one at a time.
  conf::Status start(const std::vector<NamedSockets>& sockets);
  // Has the new process asked for the state, and not got it?
  bool wants_state() const { return attempt_ != nullptr && attempt_->asked && !attempt_->let_go; }
  // What is in force; everything was let go of.
  void give_state(const std::string& state);
  // Gives up an attempt that is under way: its process is killed. From the last
  // word on it is too late.
  void give_up(const std::string& why);
  void abandon() { give_up("it was given up"); }
  // Says one thing more to the process that has taken over. False: nobody is there,
  // or what was said before has not gone yet.
  bool tell(char letter, const std::string& octets);
  // There will be nothing more to say.
  void close();

 private:
  // Lives until libuv has closed its handles.
  struct Attempt {
    uv_process_t process{};
    uv_pipe_t channel{};
    Upgrade* upgrade = nullptr;  // null: over
    bool asked = false;
    bool let_go = false;
    bool committed = false;  // the last word is on its way
    bool over = false;       // the other has taken over
    int handles = 0;
  };

  void on_letter(char letter);
  void send(char letter, const std::string& state, std::function<void()> sent);
  void end_well();
  void fail(const std::string& why);
  void end_attempt();
  static void on_exit(uv_process_t* process, int64_t status, int signal);
  static void close_handle(uv_handle_t* handle);

  Loop& loop_;
  const Hooks hooks_;
  const std::string binary_;  // where it lay when this process began
  const std::string name_;    // by which this process was started
  Attempt* attempt_ = nullptr;
  Timer deadline_;
};

class Inheritance {
 public:
  static constexpr int kChannelFd = 3;
  // How long a new process waits for endpoints that its checks find healthy; it
  // then serves with what there is, as the old one did.
  static constexpr uint64_t kHealthyMs = 15'000;

  // What a predecessor or a service manager left in the environment, which is
  // cleaned; nothing when there was none.
  static Inheritance take();
  Inheritance() = default;
  Inheritance(Inheritance&& other) noexcept;
  Inheritance& operator=(Inheritance&&) = delete;
  // Closes what nobody claimed.
  ~Inheritance();

  bool any() const { return channel_ >= 0; }
  // The sockets of a name, the caller's from now on; empty: there are none.
  std::vector<int> claim(const std::string& name);
  // Likewise the socket that a service manager has bound to an address.
  std::vector<int> claim_activated(const conf::Address& bind);
  // Blocks until the predecessor writes its state no more.
  conf::Status ask_for_state();
  // What it said then.
  const std::string& state() const { return state_; }
  // Blocks until the predecessor goes; returns its last word, which is empty
  // where it is gone already.
  std::string report_ready();
  // On which it goes on talking; below 0: it is gone. The caller's from now on.
  int take_channel() { return std::exchange(kept_channel_, -1); }

 private:
  void take_activated();
  conf::Status read_state(char letter);

  int channel_ = -1;
  int kept_channel_ = -1;  // after its last word
  std::string state_;
  std::map<std::string, std::vector<int>> sockets_;
  std::map<std::string, std::vector<int>> activated_;  // by address
};

}  // namespace sluice::proxy
