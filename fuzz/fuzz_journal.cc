// The journal and what is kept in it, after a disk has put anything there.
//
// Invariants: whatever the file holds, open() reads it, or says why not; then
// what is put is there after the next open(), with all that was there before.
// What a service saved is restored, or refused, and what was restored saves and
// restores again.
#include <memory>
#include <string>

#include "balancer/journal.h"
#include "balancer/rollout.h"
#include "balancer/saved_state.h"
#include "fuzz/fuzz.h"
#include "tests/balancer/memory_file_system.h"

namespace sluice::fuzz {
namespace {

using namespace balancer;

// The octets are the file.
void open_file(std::string_view octets) {
  MemoryFileSystem files(1);
  files.set_content("/s/journal", std::string(octets));
  std::map<std::string, std::string> entries;
  {
    auto opened = Journal::open(files, "/s");
    if (!opened) return;
    must(!(*opened)->recovery().write_error.has_value(), "a healthy disk refused");
    must((*opened)->put("key", "value").ok(), "a healthy disk refused a value");
    entries = (*opened)->entries();
  }
  auto again = Journal::open(files, "/s");
  must(again.ok(), "the journal's own file is wrong");
  must((*again)->entries() == entries && entries.at("key") == "value", "a value is lost");
  must((*again)->recovery().damaged_bytes == 0 && (*again)->recovery().torn_bytes == 0,
       "the repair left damage");
}

// The octets are a rollout's position, in a record that is as it should be.
void restore_rollout(const std::string& saved) {
  auto restored = Rollout::restore(saved, 2500, false, false);
  if (!restored) return;
  const std::string kept = (*restored)->save();
  auto again = Rollout::restore(kept, 2500, false, false);
  must(again.ok(), "what was restored does not save", kept);
  must((*again)->save() == kept, "saving changes something", kept);
}

// The octets are the value of a record whose checksum is right.
void open_record(const std::string& key, std::string_view octets) {
  MemoryFileSystem files(1);
  {
    auto journal = Journal::open(files, "/s");
    must(journal.ok() && (*journal)->put(key, octets).ok(), "a healthy disk refused");
  }
  std::map<std::string, SavedService> services;
  {
    auto store = StateStore::open(files, "/s");
    if (!store) return;
    SavedService mine;
    mine.green = 2500;
    mine.trip_reason = "a reason";
    must((*store)->save("mine", mine).ok(), "a healthy disk refused a state");
    services = (*store)->services();
    for (const auto& [name, saved] : services) {
      must(saved.green <= conf::kFullSplit, "a split over 100 %");
      restore_rollout(saved.rollout);
    }
  }
  auto again = StateStore::open(files, "/s");
  must(again.ok() && (*again)->services() == services, "a state is lost");
}

}  // namespace
}  // namespace sluice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::fuzz;
  Choices choices(data, size);
  switch (choices.octet()) {
    case 'f':
      open_file(choices.rest());
      break;
    case 's':
      open_record("service/web", choices.rest());
      break;
    case 'z':
      open_record("freeze", choices.rest());
      break;
    case 'r':
      restore_rollout(std::string(choices.rest()));
      break;
    default:
      break;
  }
  return 0;
}
