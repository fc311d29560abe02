// Supervisor: tells the service manager how this process does, by the protocol
// of sd_notify(3): one datagram for each message to the socket that the
// environment names in NOTIFY_SOCKET. Without that variable it does nothing.
//
//   READY=1      when made, which is once clients are accepted
//   WATCHDOG=1   every half of WATCHDOG_USEC, from the control thread's loop:
//                a control thread that hangs is a process to be replaced
//   STOPPING=1   when the process begins to drain
//   MAINPID=N    instead of that when it drains because another process took
//                over; only the main process's word is taken, so it is the old
//                one that says who is next
//
// A reload has no message: ExecReload is `sluice ctl reload`, which ends when
// the new configuration is in force and fails when it was refused.
//
// A message that cannot be sent is dropped: a process that serves does not end
// because nobody listens.
//
// Thread: the control thread's. It must be destroyed before Control is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/control.h"
#include "proxy/timer_wheel.h"

namespace sluice::admin {

class Supervisor {
 public:
  // What the environment says.
  struct Settings {
    std::string socket;        // a path, or @NAME in the abstract namespace; empty: nobody listens
    uint64_t watchdog_ms = 0;  // 0: no watchdog
  };
  // The variables may be null. WATCHDOG_USEC is in microseconds; what is no
  // number, and what is under 2 ms, is no watchdog.
  static Settings settings(const char* notify_socket, const char* watchdog_usec);

  Supervisor(proxy::Control& control, Settings settings);
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;
  ~Supervisor();

 private:
  void look();
  void feed_watchdog();

  proxy::Control& control_;
  const Settings settings_;
  uint64_t watching_ = 0;
  bool said_last_ = false;
  proxy::Timer watchdog_;
};

// Sends one message; false when it was not taken.
bool notify_supervisor(const std::string& socket, std::string_view message);

}  // namespace sluice::admin
