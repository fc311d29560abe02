// What the process must not forget: the journal of states, the freeze, and the
// reports that trips and rollouts leave behind.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "conf/units.h"
#include "proxy/control.h"
#include "proxy/control_text.h"

namespace sluice::proxy {

using balancer::Split;
using conf::Colour;
using conf::Error;

namespace {

// The folder of a state_dir that is on a disk which fails: not one that was never
// there, or that was named by mistake.
bool disk_fails(int error) {
  return error == EROFS || error == ENOSPC || error == EDQUOT || error == EIO;
}

}  // namespace

// A disk that is full, read-only or damaged is no reason to serve nobody.
conf::Status Control::open_store() {
  if (config_.state_dir.empty()) return conf::Done{};
  if (mkdir(config_.state_dir.c_str(), StateWriter::kFolderMode) != 0 && errno != EEXIST &&
      !disk_fails(errno)) {
    return conf::Error{
        conf::Error::Kind::io, conf::Error::Source::system, false,
        "state_dir " + config_.state_dir + " is not there and cannot be made: " + std::strerror(errno)};
  }
  struct stat there {};
  if (stat(config_.state_dir.c_str(), &there) == 0 && !S_ISDIR(there.st_mode)) {
    return conf::Error{conf::Error::Kind::io, conf::Error::Source::operator_, false,
                       "state_dir " + config_.state_dir + " is no folder: name one, or remove the file"};
  }
  conf::Result<std::unique_ptr<balancer::StateStore>> opened =
      balancer::StateStore::open(writer_.files(), config_.state_dir);
  if (opened.ok()) {
    remembered_ = {(*opened)->services(), (*opened)->freeze()};
    mind_recovery((*opened)->recovery(), (*opened)->unreadable());
    writer_.begin(config_.state_dir, std::move(*opened));
    return conf::Done{};
  }
  if (opened.error().kind == conf::Error::Kind::conflict) return opened.error();
  doubt("The journal cannot be read: " + opened.error().detail);
  writer_.begin(config_.state_dir, nullptr);  // which tries again with each state
  return conf::Done{};
}

// Of what is said here the first is the reason that splits give. Who has served
// already, or takes over from a process that did, goes on with what is in force.
void Control::doubt(std::string why) {
  const bool begins = state_ == RunState::starting && inheritance_.state().empty();
  add_event("state_damaged", "",
            why + " A trip or a freeze may be missing: " + (begins ? "every service begins on blue; " : "") +
                "look at 'show trip' before a split rises.");
  if (state_ == RunState::starting && in_doubt_.empty()) in_doubt_ = std::move(why);
}

void Control::mind_recovery(const balancer::Journal::Recovery& recovery,
                            const std::vector<std::string>& unreadable) {
  const std::string journal = config_.state_dir + "/journal";
  if (recovery.other_version) {
    doubt(journal + " is of another release, which alone can read it; it is kept as journal.other-version.");
  } else if (recovery.damaged_bytes > 0) {
    doubt(std::to_string(recovery.damaged_bytes) + " octets of " + journal +
          " were unreadable; the file is kept as journal.damaged.");
  } else if (recovery.torn_whole) {
    doubt("The last record of " + journal + " is there but unreadable.");
  } else if (recovery.unsettled) {
    doubt("An earlier start found " + journal +
          " damaged, and ended before what it did about that was saved.");
  } else if (recovery.torn_bytes > 0) {
    add_event("state_damaged", "",
              "the last record of " + journal + " was cut off after " + std::to_string(recovery.torn_bytes) +
                  " octets: a change that nobody was told was saved");
  }
  const std::string foreign = " of " + journal + " is of another release.";
  constexpr std::string_view kOfAService = balancer::StateStore::kServicePrefix;
  for (const std::string& record : unreadable) {
    doubt(std::string("The record '").append(record).append("'").append(foreign));
    if (record.starts_with(kOfAService)) unreadable_services_.push_back(record.substr(kOfAService.size()));
  }
  if (recovery.write_error) {
    doubt(journal + " cannot be written, perhaps for long: " + recovery.write_error->detail);
  }
}

// What was in force when the process ended is in force again: the file's split
// is for the first start.
void Control::restore_states() {
  freeze_ = remembered_.freeze;
  for (const auto& [name, saved] : remembered_.services) {
    if (ServiceEntry* const entry = registry_.find(name); entry != nullptr) {
      put_in_force(*entry, saved);
      registry_.restore_by_hand(service_conf(name), saved.by_hand, resolver_.names());
    } else {
      restore_absent(name, saved);
    }
  }
  judge_.configure();
  for (const auto& [name, saved] : remembered_.services) {
    judge_.recall_blue(name, saved.blue);
    if (registry_.find(name) != nullptr) restore_rollout(name, saved.rollout);
  }
  for (const std::string& service : registry_.take_changed()) save_service(service);
  if (!in_doubt_.empty()) begin_on_blue(std::exchange(in_doubt_, {}));
  for (const std::string& by_hand : values_by_hand(config_)) {
    add_event("value_restored", "", by_hand + "; it was so before the start and stays");
  }
}

// A restart with a file that lacks the service for a while is no more of a `reset`
// than a reload is.
void Control::restore_absent(const std::string& service, const balancer::SavedService& saved) {
  registry_.remember(service, saved);
  if (!saved.rollout.empty() && rollouts_.find(service) == nullptr) {
    rollouts_.restore_absent(service, saved.rollout, saved.green, saved.tripped);
  }
}

// Never with more green than before the end, also not by a rollout that goes on,
// nor by a service that the file lacks until later.
void Control::begin_on_blue(const std::string& why) {
  for (const auto& [name, entry] : registry_.services()) {
    rollouts_.hold_back(name, why);
    if (entry.state->split().get().green != 0) {
      put_split(name, 0, kRecovery);
      rollouts_.split_changed(name, 0);
    }
    registry_.put_in_doubt(name);
  }
  for (const std::string& name : std::exchange(unreadable_services_, {})) {
    if (registry_.find_any(name) == nullptr) registry_.remember(name, {});
  }
  leave_absent_on_blue();
  save_all();
}

// Their rollouts are paused already.
void Control::leave_absent_on_blue() {
  for (const auto& [name, entry] : registry_.dropped()) {
    registry_.put_in_doubt(name);
    save_service(name);
  }
}

// The journal that could not be read at the start can be read now.
void Control::take_found(const StateWriter::Found& found) {
  mind_recovery(found.recovery, found.unreadable);
  join({found.services, found.freeze});
  writer_.joined();
  if (found.recovery.lost_any()) leave_absent_on_blue();
  save_all();
  changed();
}

// What the journal remembers comes in beside what was done without it.
void Control::join(const InForce& journalled) {
  std::string joined;
  for (const auto& [name, saved] : journalled.services) {
    if (ServiceEntry* const entry = registry_.find(name); entry != nullptr) {
      joined += join_service(*entry, saved);
    } else {
      restore_absent(name, saved);
    }
  }
  if (journalled.freeze.on && freeze_ == balancer::SavedFreeze{}) {
    freeze_ = journalled.freeze;
    rollouts_.set_frozen(true);
    joined += " The freeze is on again.";
  }
  add_event("state_found", "", "the journal of state_dir can be read now." + joined);
}

// Nobody has reset a latch that nobody knew of: it holds again, unless somebody
// has given green something since, who could know that a trip may be missing.
// Returns what is to be told.
std::string Control::join_service(ServiceEntry& entry, const balancer::SavedService& saved) {
  const std::string& name = entry.state->name();
  const Split::Value split = entry.state->split().get();
  entry.state->split().set({split.green, std::max(split.generation, saved.generation + 1)});
  judge_.recall_blue(name, saved.blue);
  if (entry.by_hand == balancer::ByHand{}) restore_by_hand_late(entry, saved.by_hand);
  std::string told;
  const bool missed = saved.tripped && !entry.state->tripped();
  if (missed && split.green == 0) {
    entry.take_latch(saved);
    judge_.restore(name, saved.trip_reason);
    if (rollouts_.find(name) != nullptr) rollouts_.tripped(name, saved.trip_reason);
    told = " " + name + " had tripped and is latched again.";
  } else if (missed) {
    told = " " + name + " had tripped; green has got " + conf::format_percent(split.green) +
           " since, so it is not latched.";
  }
  if (rollouts_.find(name) == nullptr) {
    restore_rollout(name, saved.rollout);
    rollouts_.hold_back(name, "the journal could not be read at the start.");
  }
  return told;
}

// Those who look after the endpoints have begun without it.
void Control::restore_by_hand_late(ServiceEntry& entry, const balancer::ByHand& by_hand) {
  const std::string& name = entry.state->name();
  registry_.restore_by_hand(service_conf(name), by_hand, resolver_.names());
  for (const Colour colour : conf::kColours) {
    const auto i = static_cast<size_t>(colour);
    for (const auto& [endpoint, mode] : entry.by_hand.modes[i]) {
      const balancer::EndpointState* const state = entry.find_endpoint(colour, endpoint);
      if (state != nullptr) health_.set_mode(name, colour, state, mode);
    }
    entry.upstreams[i]->bump_epoch();
  }
  share_connections();
}

void Control::put_in_force(ServiceEntry& entry, const balancer::SavedService& saved) {
  const bool fits = service_conf(entry.state->name()).has_green;
  entry.state->split().set({fits ? saved.green : 0, saved.generation});
  entry.take_latch(saved);
  entry.split_source = saved.source;
  entry.split_since_us = static_cast<uint64_t>(saved.since_unix_ms) * 1000;
}

void Control::restore_rollout(const std::string& service, const std::string& saved) {
  if (saved.empty() || !service_conf(service).has_green) return;
  const conf::Status restored = rollouts_.restore(service, saved);
  if (!restored.ok()) {
    add_event("rollout_not_restored", service,
              restored.error().detail + " The split stays as it was; 'rollout start' begins anew.");
  }
}

balancer::SavedService Control::saved_of(const std::string& service) const {
  const ServiceEntry& entry = *registry_.find_any(service);
  balancer::SavedService saved;
  const Split::Value split = entry.state->split().get();
  saved.green = split.green;
  saved.generation = split.generation;
  saved.source = entry.split_source;
  saved.since_unix_ms = static_cast<int64_t>(entry.split_since_us / 1000);
  saved.tripped = entry.state->tripped();
  saved.trip_reason = entry.trip_reason;
  saved.tripped_unix_ms = static_cast<int64_t>(entry.tripped_at_us / 1000);
  saved.rollout = rollouts_.save(service);
  saved.by_hand = entry.by_hand;
  saved.blue = judge_.blue_known(service);
  return saved;
}

void Control::save_service(const std::string& service) {
  if (registry_.find_any(service) != nullptr) writer_.save(service, saved_of(service));
}

void Control::save_freeze() {
  writer_.save_freeze(freeze_);
}

void Control::save_all() {
  for (const auto& [name, entry] : registry_.services()) save_service(name);
  save_freeze();
  settle_when_saved_ = true;
}

// One event for each thing that a restart would not know, and one when there is
// none left.
void Control::note_saved(const std::string& what, const conf::Status& status) {
  if (what == StateWriter::kSettled) {
    settle_when_saved_ |= !status.ok();
    return look_at_settling();
  }
  if (status.ok()) {
    if (unsaved_.erase(what) > 0 && unsaved_.empty()) {
      add_event("state_saved_again", "", "the state is on the disk again, whole");
    }
  } else if (unsaved_.insert(what).second) {
    add_event("state_not_saved", what,
              status.error().detail + "; traffic goes on, but a restart would not know " +
                  (what == StateWriter::kFreeze ? "of the freeze" : "the last changes") +
                  " until the disk takes them, which is tried again each second");
  }
  settle_journal();
  look_at_settling();
}

// Only when all is on the disk that follows from what may be missing.
void Control::settle_journal() {
  if (!settle_when_saved_ || !unsaved_.empty() || writer_.saving() || !writer_.keeps()) return;
  settle_when_saved_ = false;
  writer_.settle();
}

// Nobody else may come by to save it.
void Control::save_again() {
  if ((unsaved_.empty() && !settle_when_saved_) || !writer_.keeps() || loop_.now_ms() < save_again_ms_)
    return;
  save_again_ms_ = loop_.now_ms() + kSaveAgainMs;
  for (const std::string& what : std::set<std::string>(unsaved_)) {
    if (what == StateWriter::kFreeze) {
      save_freeze();
    } else {
      save_service(what);  // also of one that the configuration has no more
    }
  }
  settle_journal();
}

conf::Status Control::freeze(const std::string& reason, const Actor& actor) {
  return change_freeze({true, reason, static_cast<int64_t>(Loop::wall_clock_us() / 1000)}, actor);
}

conf::Status Control::unfreeze(const Actor& actor) {
  if (!freeze_.on) return refusal(Error::Kind::refused, "no freeze is on");
  return change_freeze({false, "", static_cast<int64_t>(Loop::wall_clock_us() / 1000)}, actor);
}

// In force also where it cannot be saved: it only ever holds back, and the
// event says what a restart would not know.
conf::Status Control::change_freeze(balancer::SavedFreeze next, const Actor& actor) {
  freeze_ = std::move(next);
  rollouts_.set_frozen(freeze_.on);
  save_freeze();
  add_event(freeze_.on ? "frozen" : "unfrozen", "",
            freeze_.on ? "no split may rise: " + freeze_.reason : "splits may rise again",
            {{"reason", freeze_.reason}, {"source", actor.source}, {"who", actor.who}});
  changed();
  return conf::Done{};
}

void Control::write_report(std::string_view kind, const std::string& service, int64_t unix_ms,
                           std::string json, std::string text) {
  writer_.write_report(kind, service, unix_ms, std::move(json), std::move(text));
}

void Control::report_written(const std::string& service, const conf::Result<std::string>& path) {
  if (!path.ok()) {
    add_event("report_not_written", service, path.error().detail + " The report is in memory only.");
  } else {
    add_event("report_written", service, "a report was written: " + *path, {{"path", *path}});
  }
}

// ---- waiting for the disk

void Control::when_durable(std::function<void(bool durable)> done) {
  when_settled(kDurableMs,
               [this, done = std::move(done)](bool in_time) { done(in_time && unsaved_.empty()); });
}

void Control::when_settled(uint64_t most_ms, std::function<void(bool in_time)> done) {
  if (!writer_.saving()) return done(true);
  settling_.push_back({writer_.asked(), loop_.now_ms() + most_ms, std::move(done)});
}

// The calls may ask to be called again.
void Control::look_at_settling() {
  std::vector<Settling> over;
  for (auto it = settling_.begin(); it != settling_.end();) {
    if (it->through > writer_.ended_through() && loop_.now_ms() < it->latest_ms) {
      ++it;
      continue;
    }
    over.push_back(std::move(*it));
    it = settling_.erase(it);
  }
  for (const Settling& one : over) one.call(one.through <= writer_.ended_through());
}

}  // namespace sluice::proxy
