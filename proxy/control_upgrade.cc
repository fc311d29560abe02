// Giving this process's place to a new one, and taking the place of an old one.
#include <utility>

#include "proxy/control.h"

namespace sluice::proxy {

std::optional<int> Control::inherited(const std::string& name) {
  const std::vector<int> fds = inheritance_.claim(name);
  if (fds.empty()) return std::nullopt;
  return fds.front();
}

conf::Status Control::add_part(Part& part) {
  parts_.push_back(&part);
  return accepting_ ? part.begin() : conf::Status(conf::Done{});
}

void Control::accept_connections() {
  accepting_ = true;
  for (const OpenListener& one : listeners_) give_to_workers(one);
  for (Part* const part : parts_) {
    if (const conf::Status begun = part->begin(); !begun.ok())
      add_event("admin_failed", "", begun.error().detail);
  }
  if (inheritance_.any()) inheritance_.report_ready();
}

void Control::upgrade(const Actor& actor) {
  if (state_ != RunState::running || !accepting_ || upgrade_.under_way()) {
    add_event(
        "upgrade_failed", "",
        std::string("the process is ") + (upgrade_.under_way() ? "upgrading already" : to_string(state_)));
    return;
  }
  std::vector<NamedSockets> sockets = named_listeners();
  for (const Part* const part : parts_) sockets.push_back(part->sockets());
  add_event("upgrading", "", "a new process is to take over", {{"source", actor.source}, {"who", actor.who}});
  if (const conf::Status started = upgrade_.start(sockets); !started.ok()) {
    add_event("upgrade_failed", "", started.error().detail + "; this process goes on");
  }
}

void Control::let_go_of_state() {
  store_.reset();
  for (Part* const part : parts_) part->pause();
}

void Control::take_back_state(const std::string& why, bool had_let_go) {
  add_event("upgrade_failed", "", why + "; this process goes on");
  if (!had_let_go) return;
  if (const conf::Status opened = open_store(); !opened.ok()) {
    add_event("state_not_saved", "", opened.error().detail);
  }
  for (const auto& [name, entry] : registry_.services()) save_service(name);
  for (Part* const part : parts_) {
    if (const conf::Status begun = part->begin(); !begun.ok())
      add_event("admin_failed", "", begun.error().detail);
  }
}

void Control::handed_over_to(int pid) {
  successor_ = pid;
  add_event("upgraded", "", "process " + std::to_string(pid) + " serves now", {{"pid", std::to_string(pid)}});
  drain({"upgrade", "pid " + std::to_string(pid)});
}

}  // namespace sluice::proxy
