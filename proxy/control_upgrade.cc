// Giving this process's place to a new one, and taking the place of an old one.
#include <algorithm>
#include <string_view>
#include <utility>

#include "balancer/fields.h"
#include "proxy/control.h"

namespace sluice::proxy {

std::optional<int> Control::inherited(const std::string& name) {
  const std::vector<int> fds = inheritance_.claim(name);
  if (fds.empty()) return std::nullopt;
  return fds.front();
}

conf::Status Control::add_part(Part& part) {
  parts_.push_back(&part);
  const bool others_turn = !accepting_ && inheritance_.any();
  return others_turn ? conf::Status(conf::Done{}) : part.begin();
}

void Control::accept_when_ready() {
  if (accepting_ || state_ != RunState::running) return;
  // A predecessor serves as long as we could not.
  const bool waits = inheritance_.any() ? !ready() : !first_checks_over();
  if (waits && loop_.now_us() < accept_latest_us_) return;
  if (inheritance_.any()) {
    take_last_word(inheritance_.report_ready());
    await_places();
  }
  accepting_ = true;
  for (const OpenListener& one : listeners_) give_to_workers(one);
  for (Part* const part : parts_) {
    if (const conf::Status begun = part->begin(); !begun.ok())
      add_event("admin_failed", "", begun.error().detail);
  }
}

void Control::upgrade(const Actor& actor) {
  if (state_ != RunState::running || !accepting_ || upgrade_.under_way()) {
    add_event(
        "upgrade_failed", "",
        std::string("the process is ") + (upgrade_.under_way() ? "upgrading already" : to_string(state_)));
    return;
  }
  if (predecessor_.is_open()) {
    add_event(
        "upgrade_failed", "",
        "the process before this one still has connections, which a third could not count under the caps: "
        "ask again when it has ended");
    return;
  }
  std::vector<NamedSockets> sockets = named_listeners();
  for (const Part* const part : parts_) sockets.push_back(part->sockets());
  add_event("upgrading", "", "a new process is to take over", {{"source", actor.source}, {"who", actor.who}});
  if (const conf::Status started = upgrade_.start(sockets); !started.ok()) {
    add_event("upgrade_failed", "", started.error().detail + "; this process goes on");
  }
}

namespace {

constexpr std::string_view kServicePrefix = "service/";

}  // namespace

// First what was asked for goes to the disk. Where that takes too long the
// new process would not know it, and the upgrade is given up.
void Control::let_go_of_state() {
  when_settled(StateWriter::kEndMs, [this](bool in_time) {
    if (!upgrade_.wants_state()) return;
    if (!in_time) {
      upgrade_.give_up("the disk of state_dir has not taken the latest changes in time");
    } else if (writer_.saving()) {
      let_go_of_state();
    } else if (!parts_paused_) {
      pause_parts();
      let_go_of_state();  // what was asked for at the last moment is on its way to the disk
    } else {
      writer_.let_go();
      handing_over_ = true;
      upgrade_.give_state(state_in_force());
    }
  });
}

// Nobody can ask for anything from now on. What has been asked for is done first,
// and may be a `drain`, which gives the upgrade up.
void Control::pause_parts() {
  for (Part* const part : parts_) part->pause();
  parts_paused_ = true;
  if (!upgrade_.wants_state()) begin_parts();
}

void Control::begin_parts() {
  if (!std::exchange(parts_paused_, false) || state_ == RunState::stopped) return;
  for (Part* const part : parts_) {
    if (const conf::Status begun = part->begin(); !begun.ok())
      add_event("admin_failed", "", begun.error().detail);
  }
}

// All that is in force and not in the configuration, also where there is no
// journal.
std::string Control::state_in_force() const {
  balancer::FieldWriter all;
  std::string names;
  for (const auto& [name, entry] : registry_.services()) {
    balancer::FieldWriter one;
    one.text("saved", encode(saved_of(name)));
    all.text(std::string(kServicePrefix) + name, one.take());
    names += name + "\n";
  }
  all.text("services", names);
  all.text("freeze", encode(freeze_));
  all.number("journal_unread", writer_.unread() ? 1 : 0);
  return all.take();
}

// It is what counts also where the journal has less: that disk may have been full.
conf::Status Control::read_handover(const std::string& state) {
  if (state.empty()) return conf::Done{};
  const conf::Result<balancer::FieldReader> all = balancer::FieldReader::parse(state);
  if (!all.ok()) return all.error();
  InForce told;
  const std::string names = all->text("services");
  for (std::string_view rest = names; !rest.empty();) {
    const std::string name(rest.substr(0, rest.find('\n')));
    rest.remove_prefix(std::min(name.size() + 1, rest.size()));
    const auto one = balancer::FieldReader::parse(all->text(std::string(kServicePrefix) + name));
    if (!one.ok()) return one.error();
    conf::Result<balancer::SavedService> saved = balancer::decode_service(one->text("saved"));
    if (!saved.ok()) return saved.error();
    told.services.emplace(name, std::move(*saved));
  }
  conf::Result<balancer::SavedFreeze> freeze = balancer::decode_freeze(all->text("freeze"));
  if (!freeze.ok()) return freeze.error();
  told.freeze = std::move(*freeze);
  if (all->number("journal_unread") != 0 && !unjoined_) unjoined_ = remembered_;
  told.services.merge(remembered_.services);  // those of which the other knew nothing
  remembered_ = std::move(told);
  in_doubt_.clear();
  return conf::Done{};
}

// The predecessor judged until now: what tripped there meanwhile is tripped here
// before the first client comes.
void Control::take_last_word(const std::string& state) {
  const InForce before = remembered_;
  if (const conf::Status read = read_handover(state); !read.ok()) {
    add_event("state_not_taken_over", "", read.error().detail);
  }
  if (freeze_ != remembered_.freeze) {
    freeze_ = remembered_.freeze;
    rollouts_.set_frozen(freeze_.on);
  }
  for (const auto& [name, saved] : remembered_.services) {
    ServiceEntry* const entry = registry_.find(name);
    const auto known = before.services.find(name);
    if (entry == nullptr) continue;
    if (known != before.services.end()) {
      balancer::SavedService same = known->second;
      same.blue = saved.blue;  // which goes on growing
      if (same == saved) continue;
    }
    put_in_force(*entry, saved);
    judge_.split_changed(name);
    if (saved.tripped) judge_.restore(name, saved.trip_reason);
    restore_rollout(name, saved.rollout);
  }
  remembered_ = {};
  if (unjoined_) join(*std::exchange(unjoined_, std::nullopt));
  save_all();
}

void Control::take_back_state(const std::string& why, bool had_let_go) {
  add_event("upgrade_failed", "", why + "; this process goes on");
  if (had_let_go) {
    handing_over_ = false;
    writer_.take_back();
    save_all();
  }
  begin_parts();
}

void Control::handed_over_to(int pid) {
  successor_ = pid;
  add_event("upgraded", "", "process " + std::to_string(pid) + " serves now", {{"pid", std::to_string(pid)}});
  drain({"upgrade", "pid " + std::to_string(pid)});
  give_up_places();
}

}  // namespace sluice::proxy
