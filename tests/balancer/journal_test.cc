#include "balancer/journal.h"

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

TEST_CASE("journal: a file of another version is refused and left alone") {
  MemoryFileSystem files(1);
  files.set_content(kPath, "sluice-journal 9\nwhatever");
  const auto journal = Journal::open(files, "state");
  REQUIRE(!journal.ok());
  CHECK(journal.error().kind == conf::Error::Kind::invalid);
  CHECK(files.content(kPath) == "sluice-journal 9\nwhatever");
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
  const SavedService web{2500, 7, "rollout", 1700000000123, true, "error rate", 1700000001000, "blob"};
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

}  // namespace
}  // namespace sluice::balancer
