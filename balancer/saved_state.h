// StateStore: what the process must not forget, as typed values over a Journal.
//
// Everything about one service is one record, so that a split, its generation,
// the latch, the rollout's position and what operators set by hand are never
// seen half changed. The order
// of a change is: put it in force, save it, acknowledge it. A crash in between
// therefore never brings back more green than was in force, when the split
// rose; and a return to blue does not wait for a disk.
//
// Thread: the control thread. Owner: the composition root.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "balancer/baseline.h"
#include "balancer/endpoint.h"
#include "balancer/journal.h"
#include "conf/config.h"
#include "conf/result.h"

namespace sluice::balancer {

// What operators set beside the split; each value stays until the file says the
// same, a mode until the endpoint goes or is set to ready.
struct ByHand {
  std::optional<bool> maintenance;
  std::optional<uint32_t> max_connections[2];    // by conf::Colour; 0: no limit
  std::map<std::string, EndpointMode> modes[2];  // by endpoint name, of those that are not ready

  bool operator==(const ByHand&) const = default;
};

struct SavedService {
  conf::BasisPoints green = 0;
  uint64_t generation = 0;
  std::string source;         // who set the split: "config", "admin", "rollout", "trip"
  int64_t since_unix_ms = 0;  // when it was set
  bool tripped = false;       // the latch
  std::string trip_reason;
  int64_t tripped_unix_ms = 0;
  std::string rollout;  // Rollout::save(); empty: there was none
  ByHand by_hand;
  BlueKnown blue;  // what the judge knew of it when this was saved

  bool operator==(const SavedService&) const = default;
};

struct SavedFreeze {
  bool on = false;
  std::string reason;
  int64_t since_unix_ms = 0;

  bool operator==(const SavedFreeze&) const = default;
};

// As records, which an older and a newer release read alike (balancer/fields.h).
std::string encode(const SavedService& state);
conf::Result<SavedService> decode_service(std::string_view bytes);
std::string encode(const SavedFreeze& freeze);
conf::Result<SavedFreeze> decode_freeze(std::string_view bytes);

class StateStore {
 public:
  // The journal's key of a service is this and its name.
  static constexpr std::string_view kServicePrefix = "service/";

  // Records that cannot be understood, of another release perhaps, are left out:
  // unreadable() has their keys. Of a freeze it is assumed that it was on.
  static conf::Result<std::unique_ptr<StateStore>> open(FileSystem& files, std::string directory);

  const std::map<std::string, SavedService>& services() const { return services_; }
  const SavedFreeze& freeze() const { return freeze_; }
  const Journal::Recovery& recovery() const { return journal_->recovery(); }
  const std::vector<std::string>& unreadable() const { return unreadable_; }
  bool failing() const { return journal_->failing(); }

  // Ok: it is on the disk. An error leaves services() and freeze() as they were.
  conf::Status save(const std::string& service, const SavedService& state);
  conf::Status forget(const std::string& service);
  conf::Status save_freeze(const SavedFreeze& freeze);
  // As Journal::settle().
  conf::Status settle() { return journal_->settle(); }

 private:
  explicit StateStore(std::unique_ptr<Journal> journal) : journal_(std::move(journal)) {}

  std::unique_ptr<Journal> journal_;
  std::map<std::string, SavedService> services_;
  SavedFreeze freeze_;
  std::vector<std::string> unreadable_;
};

}  // namespace sluice::balancer
