#include "balancer/journal.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>

#include "balancer/fields.h"
#include "balancer/saved_state.h"
#include "tests/balancer/memory_file_system.h"

namespace sluice::balancer {
namespace {

constexpr const char* kPath = "state/journal";

std::unique_ptr<Journal> open_journal(FileSystem& files, const std::string& directory = "state") {
  auto journal = Journal::open(files, directory);
  REQUIRE(journal.ok());
  return std::move(journal.value());
}

TEST_CASE("crc32c: matches the vectors of RFC 3720 B.4") {
  CHECK(crc32c("123456789") == 0xe3069283);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aa);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43);
  CHECK(crc32c("6789", crc32c("12345")) == 0xe3069283);
}

TEST_CASE("fields: come back by name and type, and unknown ones are skipped") {
  FieldWriter writer;
  writer.number("count", 1234567890123);
  writer.real("ratio", 0.1);
  writer.text("why", std::string("a\0b", 3));
  const std::string bytes = writer.take();
  const auto reader = FieldReader::parse(bytes);
  REQUIRE(reader.ok());
  CHECK(reader->number("count") == 1234567890123);
  CHECK(reader->real("ratio") == 0.1);
  CHECK(reader->text("why") == std::string("a\0b", 3));
  CHECK(reader->number("why", 7) == 7);
  CHECK(reader->text("nothing").empty());
}

TEST_CASE("fields: what is cut short is an error wherever it is cut inside a field") {
  FieldWriter writer;
  writer.text("name", "value");
  const std::string bytes = writer.take();
  for (size_t size = 1; size < bytes.size(); ++size) CHECK(!FieldReader::parse(bytes.substr(0, size)));
  CHECK(!FieldReader::parse("x\x01y12345678"));
}

TEST_CASE("journal: what was put is there after reopening, what was erased is not") {
  MemoryFileSystem files(1);
  {
    auto journal = open_journal(files);
    CHECK(journal->put("a", "1"));
    CHECK(journal->put("b", "2"));
    CHECK(journal->put("a", "3"));
    CHECK(journal->erase("b"));
  }
  const auto journal = open_journal(files);
  CHECK(journal->entries() == std::map<std::string, std::string>{{"a", "3"}});
  CHECK(journal->recovery().records == 4);
  CHECK(journal->recovery().torn_bytes == 0);
  CHECK(journal->recovery().damaged_bytes == 0);
}

TEST_CASE("journal: works on a real disk, and refuses a directory that is in use") {
  char directory[] = "/tmp/sluice_journal_XXXXXX";
  REQUIRE(::mkdtemp(directory) != nullptr);
  PosixFileSystem files;
  {
    auto journal = open_journal(files, directory);
    CHECK(journal->put("key", std::string(100000, 'x')));
    const auto second = Journal::open(files, directory);
    REQUIRE(!second.ok());
    CHECK(second.error().kind == conf::Error::Kind::conflict);
  }
  CHECK(open_journal(files, directory)->entries().at("key").size() == 100000);
  std::filesystem::remove_all(directory);
  const auto missing = Journal::open(files, directory);
  REQUIRE(!missing.ok());
  CHECK(missing.error().detail.find(directory) != std::string::npos);
}

TEST_CASE("journal: a tail that is torn anywhere is cut and reported") {
  MemoryFileSystem files(1);
  size_t whole = 0;
  {
    auto journal = open_journal(files);
    CHECK(journal->put("a", "first"));
    whole = files.content(kPath).size();
    CHECK(journal->put("a", "second"));
  }
  const std::string full = files.content(kPath);
  for (size_t size = whole; size < full.size(); ++size) {
    files.set_content(kPath, full.substr(0, size));
    const auto journal = open_journal(files);
    CHECK(journal->entries().at("a") == "first");
    CHECK(journal->recovery().torn_bytes == size - whole);
    CHECK(journal->recovery().damaged_bytes == 0);
    CHECK(!journal->recovery().lost_any());
    CHECK(files.content(kPath).size() == whole);
  }
}

TEST_CASE("journal: an octet changed in the middle is reported and later records still count") {
  MemoryFileSystem files(1);
  size_t begin = 0;
  size_t end = 0;
  {
    auto journal = open_journal(files);
    CHECK(journal->put("a", "1"));
    begin = files.content(kPath).size();
    CHECK(journal->put("b", "2"));
    end = files.content(kPath).size();
    CHECK(journal->put("c", "3"));
  }
  const std::string full = files.content(kPath);
  for (size_t at = begin; at < end; ++at) {
    std::string damaged = full;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    files.set_content(kPath, damaged);
    const auto journal = open_journal(files);
    CHECK(journal->entries() == std::map<std::string, std::string>{{"a", "1"}, {"c", "3"}});
    CHECK(journal->recovery().damaged_bytes == end - begin);
    CHECK(journal->recovery().damaged_at == begin);
    CHECK(files.content("state/journal.damaged") == damaged);
  }
}

TEST_CASE("journal: old records uncovered behind the end are not taken for new ones") {
  MemoryFileSystem files(1);
  std::string old;
  {
    auto journal = open_journal(files);
    CHECK(journal->put("green", "100"));
    old = files.content(kPath).substr(17);  // the record without the version line
    CHECK(journal->put("green", "0"));
  }
  files.set_content(kPath, files.content(kPath) + "torn" + old);
  const auto journal = open_journal(files);
  CHECK(journal->entries().at("green") == "0");
  CHECK(journal->recovery().torn_bytes == 4 + old.size());
  CHECK(!journal->recovery().lost_any());
}

TEST_CASE("journal: a last record that is all there but unreadable may have been acknowledged") {
  MemoryFileSystem files(1);
  size_t whole = 0;
  {
    auto journal = open_journal(files);
    CHECK(journal->put("green", "50"));
    whole = files.content(kPath).size();
    CHECK(journal->put("green", "0"));
  }
  std::string damaged = files.content(kPath);
  damaged.back() = static_cast<char>(damaged.back() ^ 0x01);
  files.set_content(kPath, damaged);
  const auto journal = open_journal(files);
  CHECK(journal->entries().at("green") == "50");
  CHECK(journal->recovery().torn_bytes == damaged.size() - whole);
  CHECK(journal->recovery().lost_any());
}

TEST_CASE("journal: a file of another version is kept aside before it is written over") {
  MemoryFileSystem files(1);
  const std::string other = "sluice-journal 9\nwhatever";
  files.set_content(kPath, other);
  files.free_bytes = 5;
  auto journal = open_journal(files);
  CHECK(journal->recovery().other_version);
  CHECK(journal->recovery().lost_any());
  CHECK(journal->recovery().write_error.has_value());
  CHECK(!journal->put("a", "1"));
  CHECK(files.content(kPath) == other);  // as long as there is no copy
  files.free_bytes = MemoryFileSystem::kNever;
  CHECK(journal->put("a", "1"));
  CHECK(files.content("state/journal.other-version") == other);
  journal.reset();
  journal = open_journal(files);
  CHECK(journal->entries().at("a") == "1");
  CHECK(journal->recovery().unsettled);
}

TEST_CASE("journal: says that something may be missing until that is settled") {
  MemoryFileSystem files(1);
  {
    auto journal = open_journal(files);
    CHECK(journal->put("green", "50"));
    CHECK(journal->put("green", "0"));
    CHECK(journal->settle());
  }
  CHECK(!open_journal(files)->recovery().lost_any());
  std::string damaged = files.content(kPath);
  damaged.back() = static_cast<char>(damaged.back() ^ 0x01);
  files.set_content(kPath, damaged);
  CHECK(!open_journal(files)->recovery().unsettled);  // this opening found it
  {
    // The one before ended at once. Compactions keep it in mind.
    auto journal = open_journal(files);
    CHECK(journal->recovery().unsettled);
    CHECK(journal->recovery().lost_any());
    CHECK(journal->entries() == std::map<std::string, std::string>{{"green", "50"}});
    const std::string large(Journal::kCompactBytes, 'x');
    for (int i = 0; i < 8; ++i) CHECK(journal->put("large", large));
    CHECK(journal->put("green", "0"));
  }
  {
    auto journal = open_journal(files);
    CHECK(journal->recovery().unsettled);
    files.free_bytes = 0;
    while (journal->put("filler", std::string(4096, 'x'))) continue;  // the room that was kept
    CHECK(!journal->settle());
  }
  {
    auto journal = open_journal(files);
    CHECK(journal->recovery().unsettled);
    files.free_bytes = MemoryFileSystem::kNever;
    CHECK(journal->settle());
  }
  auto journal = open_journal(files);
  CHECK(!journal->recovery().lost_any());
  CHECK(journal->entries().at("green") == "0");
}

TEST_CASE("journal: says that something may be missing when it could not be written at first") {
  MemoryFileSystem files(1);
  { CHECK(open_journal(files)->put("green", "50")); }
  std::string torn = files.content(kPath) + "torn";  // which is to be cut off
  files.set_content(kPath, torn);
  files.free_bytes = 0;
  {
    auto journal = open_journal(files);
    REQUIRE(journal->recovery().write_error.has_value());
    files.free_bytes = MemoryFileSystem::kNever;
    CHECK(journal->put("other", "1"));
  }
  {
    auto journal = open_journal(files);
    CHECK(journal->recovery().unsettled);
    CHECK(journal->settle());
  }
  CHECK(!open_journal(files)->recovery().lost_any());
}

TEST_CASE("journal: behind a damaged version line whole records count, and the file is kept") {
  MemoryFileSystem files(1);
  {
    auto journal = open_journal(files);
    CHECK(journal->put("a", "1"));
    CHECK(journal->put("a", "2"));
  }
  const std::string full = files.content(kPath);
  for (const size_t at : {0, 7, 14, 16}) {
    INFO("octet " << at);
    std::string damaged = full;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    files.set_content(kPath, damaged);
    auto journal = open_journal(files);
    CHECK(journal->recovery().lost_any());
    CHECK((journal->recovery().other_version || journal->entries().at("a") == "2"));
    const char* const copy =
        journal->recovery().other_version ? "state/journal.other-version" : "state/journal.damaged";
    CHECK(files.content(copy) == damaged);
    CHECK(journal->put("b", "3"));
    CHECK(journal->settle());
    journal.reset();
    CHECK(!open_journal(files)->recovery().lost_any());
  }
  files.set_content(kPath, "not a journal at all");
  auto journal = open_journal(files);
  CHECK(journal->recovery().damaged_bytes == 20);
  CHECK(journal->recovery().lost_any());
  CHECK(journal->entries().empty());
}

TEST_CASE("journal: what a read-only disk has is in force, and is locked when it can be written") {
  MemoryFileSystem files(1);
  CHECK(open_journal(files)->put("a", "1"));
  files.read_only = true;
  auto journal = open_journal(files);
  CHECK(journal->entries().at("a") == "1");
  REQUIRE(journal->recovery().write_error.has_value());
  CHECK(journal->failing());
  CHECK(!journal->put("a", "2"));
  CHECK(journal->entries().at("a") == "1");
  files.read_only = false;
  {
    const auto other = open_journal(files);  // it was faster
    const conf::Status put = journal->put("a", "2");
    REQUIRE(!put.ok());
    CHECK(put.error().kind == conf::Error::Kind::conflict);
  }
  CHECK(journal->put("a", "2"));
  const auto second = Journal::open(files, "state");
  REQUIRE(!second.ok());
  CHECK(second.error().kind == conf::Error::Kind::conflict);
  journal.reset();
  CHECK(open_journal(files)->entries().at("a") == "2");
}

TEST_CASE("journal: a full disk is an error each time and over when there is room") {
  MemoryFileSystem files(1);
  auto journal = open_journal(files);
  CHECK(journal->put("a", "1"));
  files.free_bytes = 10;
  CHECK(!journal->put("a", "2"));
  CHECK(journal->failing());
  CHECK(!journal->put("a", "3"));
  CHECK(journal->entries().at("a") == "1");
  files.free_bytes = MemoryFileSystem::kNever;
  CHECK(journal->put("a", "4"));
  CHECK(!journal->failing());
  journal.reset();
  journal = open_journal(files);
  CHECK(journal->entries().at("a") == "4");
  CHECK(journal->recovery().torn_bytes == 0);
}

TEST_CASE("journal: on a full disk changes go into the room that was kept") {
  MemoryFileSystem files(1);
  files.reserves = true;
  auto journal = open_journal(files);
  CHECK(journal->put("split", "50"));
  files.free_bytes = 0;
  const std::string value(1000, 'v');
  uint64_t kept = 0;
  while (journal->put("trip", value + std::to_string(kept))) ++kept;
  CHECK(kept >= Journal::kReserveBytes / 2 / 1100);
  CHECK(kept <= Journal::kReserveBytes / 1000);
  CHECK(journal->failing());
  journal.reset();
  files.crash();
  journal = open_journal(files);
  CHECK(journal->entries().at("split") == "50");
  CHECK(journal->entries().at("trip") == value + std::to_string(kept - 1));
}

TEST_CASE("journal: the room that was used is kept anew as soon as there is some") {
  MemoryFileSystem files(1);
  files.reserves = true;
  auto journal = open_journal(files);
  const std::string value(60000, 'v');
  for (int life = 0; life < 3; ++life) {
    files.free_bytes = 0;
    REQUIRE(journal->put("trip", value + std::to_string(life)));
    REQUIRE(journal->put("trip", value + std::to_string(life)));
    files.free_bytes = MemoryFileSystem::kNever;
    REQUIRE(journal->put("split", "50"));
  }
  CHECK(!journal->failing());
}

TEST_CASE("journal: on a real disk the room lies behind the end, and no octet of it is read") {
  char directory[] = "/tmp/sluice_journal_XXXXXX";
  REQUIRE(::mkdtemp(directory) != nullptr);
  PosixFileSystem files;
  const std::string path = std::string(directory) + "/journal";
  {
    auto journal = open_journal(files, directory);
    CHECK(journal->put("key", "1"));
    CHECK(journal->put("key", "2"));
    struct stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    CHECK(static_cast<size_t>(status.st_size) < 200);
    const auto probe = files.create(std::string(directory) + "/probe");
    REQUIRE(probe.ok());
    if ((*probe)->reserve(1)) CHECK(static_cast<size_t>(status.st_blocks) * 512 >= Journal::kReserveBytes);
  }
  const auto journal = open_journal(files, directory);
  CHECK(journal->entries().at("key") == "2");
  CHECK(journal->recovery().records == 2);
  std::filesystem::remove_all(directory);
}

TEST_CASE("journal: opens on a disk that is full from the start") {
  MemoryFileSystem files(1);
  files.free_bytes = 0;
  auto journal = open_journal(files);
  REQUIRE(journal->recovery().write_error.has_value());
  CHECK(journal->failing());
  CHECK(!journal->put("a", "1"));
  files.free_bytes = MemoryFileSystem::kNever;
  CHECK(journal->put("a", "1"));
}

TEST_CASE("journal: stays small however often a value is put") {
  MemoryFileSystem files(1);
  auto journal = open_journal(files);
  const std::string value(1000, 'v');
  for (int i = 0; i < 1000; ++i) {
    REQUIRE(journal->put("key", value + std::to_string(i)));
    REQUIRE(files.content(kPath).size() <= Journal::kCompactBytes + 2000);
  }
  journal.reset();
  CHECK(open_journal(files)->entries().at("key") == value + "999");
}

// The state after a crash, checked key by key against what was asked for.
class Oracle {
 public:
  void asked(const std::string& key, const std::string& value) { candidates_[key].push_back(value); }
  void acknowledged(const std::string& key) { candidates_[key] = {candidates_[key].back()}; }
  bool allows(const std::string& key, const std::string& value) const {
    const auto found = candidates_.find(key);
    if (found == candidates_.end()) return value.empty();
    return std::find(found->second.begin(), found->second.end(), value) != found->second.end();
  }
  void settle(const std::string& key, const std::string& value) { candidates_[key] = {value}; }

 private:
  // The last acknowledged value, then what was asked since; "" for no value.
  std::map<std::string, std::vector<std::string>> candidates_;
};

void one_life(MemoryFileSystem& files, Random& random, Oracle& oracle, uint64_t& serial) {
  const auto journal = Journal::open(files, "state");
  if (!journal) return;
  for (int i = 0; i < 60 && !files.crashed; ++i) {
    const std::string key = "key" + std::to_string(random.below(4));
    // Long values make compactions frequent.
    const std::string value = std::to_string(++serial) + std::string(random.below(4000), '.');
    oracle.asked(key, value);
    if ((*journal)->put(key, value)) oracle.acknowledged(key);
  }
}

TEST_CASE("journal: a crash at any moment leaves the last acknowledged values or later ones") {
  constexpr int kLives = 2000;
  Random random(20240501);
  MemoryFileSystem files(7);
  Oracle oracle;
  uint64_t serial = 0;
  for (int i = 0; i < 4; ++i) oracle.settle("key" + std::to_string(i), "");
  for (int life = 0; life < kLives; ++life) {
    INFO("life " << life);
    files.short_writes = random.below(2) == 0;
    files.error_chance = random.below(4) == 0 ? 0.05 : 0;
    files.reserves = random.below(2) == 0;
    files.free_bytes = random.below(8) == 0 ? random.below(100000) : MemoryFileSystem::kNever;
    files.crash_in_ticks = random.below(4) == 0 ? random.below(300) : random.below(150000);
    one_life(files, random, oracle, serial);
    files.crash();
    files.error_chance = 0;
    files.free_bytes = MemoryFileSystem::kNever;
    const auto journal = open_journal(files);
    CHECK(journal->recovery().damaged_bytes == 0);
    for (int i = 0; i < 4; ++i) {
      const std::string key = "key" + std::to_string(i);
      const auto found = journal->entries().find(key);
      const std::string value = found == journal->entries().end() ? "" : found->second;
      REQUIRE(oracle.allows(key, value));
      oracle.settle(key, value);
    }
  }
}

// Puts "1" and "2" behind "0", the second of which compacts, with a crash after
// `crash_at` ticks. Returns how many ticks that took.
uint64_t crash_at_tick(uint64_t crash_at) {
  MemoryFileSystem files(crash_at + 1);
  auto journal = open_journal(files);
  REQUIRE(journal->put("a", "0"));
  const std::string bulk(Journal::kCompactBytes / 4 + 100, 'p');
  for (int i = 0; i < 3; ++i) REQUIRE(journal->put("bulk", bulk));
  REQUIRE(journal->erase("bulk"));
  const uint64_t begin = files.ticks;
  files.crash_in_ticks = crash_at;
  std::string acknowledged = "0";
  for (const std::string value : {"1", "2"}) {
    if (journal->put("a", value + (value == "2" ? bulk : ""))) acknowledged = value;
  }
  const uint64_t ticks = files.ticks - begin;
  journal.reset();
  files.crash();
  const int found = std::stoi(open_journal(files)->entries().at("a"));
  CHECK((found == std::stoi(acknowledged) || found == std::stoi(acknowledged) + 1));
  return ticks;
}

TEST_CASE("journal: a crash at every octet of two changes and a compaction") {
  const uint64_t total = crash_at_tick(MemoryFileSystem::kNever - 1);
  REQUIRE(total > Journal::kCompactBytes / 2);  // the long value was written twice
  // Every tick at both ends, where the records begin and the names change; each
  // 97th within the long value.
  for (uint64_t tick = 0; tick <= total; tick += tick < 200 || tick + 200 > total ? 1 : 97) {
    INFO("tick " << tick);
    crash_at_tick(tick);
  }
}

TEST_CASE("saved state: the same once more costs no write, unless the last one failed") {
  MemoryFileSystem files(1);
  const auto store = StateStore::open(files, "state");
  REQUIRE(store.ok());
  SavedService state;
  state.green = 2500;
  state.generation = 3;
  REQUIRE((*store)->save("web", state).ok());
  const uint64_t ticks = files.ticks;
  REQUIRE((*store)->save("web", state).ok());
  CHECK(files.ticks == ticks);
  files.free_bytes = 0;
  SavedService next = state;
  next.generation = 4;
  REQUIRE_FALSE((*store)->save("web", next).ok());
  REQUIRE_FALSE((*store)->save("web", state).ok());  // what is on the disk is in doubt
  files.free_bytes = MemoryFileSystem::kNever;
  REQUIRE((*store)->save("web", state).ok());
  CHECK(!(*store)->failing());
}

TEST_CASE("saved state: comes back whole, and a failed save changes nothing") {
  MemoryFileSystem files(1);
  SavedService web{2500,          7,      "rollout", 1700000000123, true, "error rate",
                   1700000001000, "blob", {},        {20000, 60}};
  web.by_hand.maintenance = false;
  web.by_hand.max_connections[0] = 0;
  web.by_hand.max_connections[1] = 4294967294;
  web.by_hand.modes[0] = {{"10.0.0.5:80", EndpointMode::drain}, {"unix:/run/a b", EndpointMode::maint}};
  web.by_hand.modes[1] = {{"[::1]:80", EndpointMode::maint}};
  const SavedFreeze freeze{true, "holiday", 1700000002000};
  {
    auto store = StateStore::open(files, "state");
    REQUIRE(store.ok());
    CHECK((*store)->services().empty());
    CHECK((*store)->save("web", web));
    CHECK((*store)->save("api", {}));
    CHECK((*store)->forget("api"));
    CHECK((*store)->save_freeze(freeze));
    files.free_bytes = 0;
    CHECK(!(*store)->save("web", {}));
    CHECK((*store)->failing());
    CHECK((*store)->services().at("web") == web);
    files.free_bytes = MemoryFileSystem::kNever;
  }
  const auto store = StateStore::open(files, "state");
  REQUIRE(store.ok());
  CHECK((*store)->services() == std::map<std::string, SavedService>{{"web", web}});
  CHECK((*store)->freeze() == freeze);
}

TEST_CASE("saved state: what another release wrote is left out and named") {
  MemoryFileSystem files(1);
  SavedService state;
  state.by_hand.modes[0] = {{"10.0.0.5:80", EndpointMode::drain}};
  std::string later = encode(state);
  later.replace(later.find("drain"), 5, "stare");
  CHECK(!decode_service(later).ok());
  {
    auto journal = open_journal(files);
    REQUIRE(journal->put("service/web", later));
    REQUIRE(journal->put("service/api", encode(SavedService{})));
    REQUIRE(journal->put("freeze", "x"));
  }
  const auto store = StateStore::open(files, "state");
  REQUIRE(store.ok());
  CHECK((*store)->unreadable() == std::vector<std::string>{"freeze", "service/web"});
  CHECK((*store)->services().size() == 1);
  CHECK((*store)->freeze().on);  // rather than a split that rises in one
}

}  // namespace
}  // namespace sluice::balancer
