// Server: the admin socket, the only way to change anything.
//
// A unix socket on the control thread's loop. Its path gets its mode before
// anybody can connect, is never taken from a process that still serves it, and
// is removed at the end if it is still ours. Who connects is read from the
// kernel (SO_PEERCRED, unix(7)) and travels with each change as Actor::who.
//
// Owner: the composition root, which destroys it after Control::run() has
// returned. Thread: the control thread's.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "admin/command.h"
#include "admin/command_table.h"
#include "admin/history.h"
#include "admin/session.h"
#include "admin/turns.h"
#include "admin/wait.h"
#include "conf/result.h"
#include "proxy/accepting_socket.h"
#include "proxy/unix_path.h"

namespace sluice::admin {

class Server final : public proxy::Control::Part {
 public:
  static constexpr size_t kMostSessions = 64;

  explicit Server(proxy::Control& control);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() override = default;

  // Listens until the control loop ends. Errors say what is in the way.
  conf::Status start(const std::string& path, uint32_t mode);

  Context& context() { return context_; }
  // Runs whether or not there is a socket.
  History& history() { return history_; }

  proxy::NamedSockets sockets() const override;
  conf::Status begin() override;
  void pause() override;

 private:
  void begin(int client);
  bool make_room();
  void close();

  proxy::Control& control_;
  const CommandTable commands_;
  Waits waits_;
  History history_;
  Context context_;
  std::string path_;
  proxy::UnixPath bound_;
  proxy::AcceptingSocket socket_;
  std::optional<Turns> turns_;
  std::vector<std::unique_ptr<Session>> sessions_;
};

}  // namespace sluice::admin
