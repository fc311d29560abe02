#include "proxy/state_writer.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>

#include "tests/balancer/memory_file_system.h"

namespace sluice::proxy {
namespace {

using balancer::File;
using balancer::MemoryFileSystem;
using balancer::SavedService;
using balancer::StateStore;

// A disk whose every sync waits until the gate is open.
class StalledDisk final : public balancer::FileSystem {
 public:
  struct Gate {
    std::mutex mutex;
    std::condition_variable changed;
    bool open = true;
    int waiting = 0;
    uint64_t syncs = 0;

    void set(bool wanted) {
      const std::lock_guard<std::mutex> lock(mutex);
      open = wanted;
      changed.notify_all();
    }
    void pass() {
      std::unique_lock<std::mutex> lock(mutex);
      ++syncs;
      ++waiting;
      changed.notify_all();
      changed.wait(lock, [this] { return open; });
      --waiting;
    }
    void await_somebody() {
      std::unique_lock<std::mutex> lock(mutex);
      changed.wait(lock, [this] { return waiting > 0; });
    }
  };

  conf::Result<std::string> read(const std::string& path) override { return under_.read(path); }
  conf::Result<std::unique_ptr<File>> open_to_append(const std::string& path) override {
    return wrap(under_.open_to_append(path));
  }
  conf::Result<std::unique_ptr<File>> create(const std::string& path) override {
    return wrap(under_.create(path));
  }
  conf::Result<std::unique_ptr<File>> lock(const std::string& path) override { return under_.lock(path); }
  conf::Status rename(const std::string& from, const std::string& to) override {
    return under_.rename(from, to);
  }
  conf::Status remove(const std::string& path) override { return under_.remove(path); }
  conf::Status sync_directory(const std::string& path) override { return under_.sync_directory(path); }
  conf::Status make_directory(const std::string& path, uint32_t mode) override {
    return under_.make_directory(path, mode);
  }
  conf::Result<std::vector<std::string>> list(const std::string& path) override { return under_.list(path); }

  MemoryFileSystem& under() { return under_; }
  Gate& gate() { return *gate_; }

 private:
  struct Wrapped final : File {
    Wrapped(std::unique_ptr<File> file, std::shared_ptr<Gate> the_gate)
        : under(std::move(file)), gate(std::move(the_gate)) {}
    conf::Result<size_t> write(std::string_view bytes) override { return under->write(bytes); }
    conf::Status sync() override {
      gate->pass();
      return under->sync();
    }
    bool reserve(uint64_t bytes) override { return under->reserve(bytes); }
    std::unique_ptr<File> under;
    std::shared_ptr<Gate> gate;
  };
  conf::Result<std::unique_ptr<File>> wrap(conf::Result<std::unique_ptr<File>> file) {
    if (!file.ok()) return file.error();
    return std::unique_ptr<File>(std::make_unique<Wrapped>(std::move(*file), gate_));
  }

  MemoryFileSystem under_{1};
  std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
};

class Bench {
 public:
  enum class Start : uint8_t { with_store, unread };

  explicit Bench(Start start = Start::with_store) {
    auto store = StateStore::open(*disk, "state");
    REQUIRE(store.ok());
    if (start == Start::unread) {
      REQUIRE((*store)->save("web", at(40)).ok());
      store->reset();
    }
    writer.begin("state", std::move(*store));
  }
  ~Bench() {
    writer.end();
    mailbox.close();
    loop.run();
    CHECK(loop.close() == 0);
  }

  void run_until(const std::function<bool()>& condition) {
    while (!condition()) uv_run(loop.uv(), UV_RUN_ONCE);
  }

  static SavedService at(conf::BasisPoints green) {
    SavedService state;
    state.green = green;
    return state;
  }

  // Of another process that starts now.
  conf::BasisPoints green_on_disk(const std::string& service) {
    auto store = StateStore::open(*disk, "state");
    REQUIRE(store.ok());
    return (*store)->services().at(service).green;
  }

  Loop loop{1};
  Mailbox mailbox{loop};
  std::shared_ptr<StalledDisk> disk = std::make_shared<StalledDisk>();
  std::vector<std::pair<std::string, bool>> saved;
  std::vector<std::pair<std::string, bool>> reported;
  std::vector<std::map<std::string, SavedService>> found;
  StateWriter writer{
      mailbox,
      {[this](const std::string& what, const conf::Status& status) { saved.emplace_back(what, status.ok()); },
       [this](const std::string& service, const conf::Result<std::string>& path) {
         reported.emplace_back(service, path.ok());
       },
       [this](const StateWriter::Found& what) { found.push_back(what.services); }},
      disk};
};

TEST_CASE("state_writer: whoever asks never waits for a disk that is stuck") {
  Bench bench;
  bench.disk->gate().set(false);
  bench.writer.save("web", Bench::at(10));
  bench.disk->gate().await_somebody();
  CHECK(bench.writer.saving());
  CHECK(bench.writer.ended_through() == 0);
  for (conf::BasisPoints green = 11; green <= 50; ++green) bench.writer.save("web", Bench::at(green));
  bench.writer.save("other", Bench::at(1));
  bench.writer.save_freeze({true, "why", 1});
  CHECK(bench.saved.empty());
  bench.disk->gate().set(true);
  bench.run_until([&] { return bench.writer.ended_through() == bench.writer.asked(); });
  // The 40 later values of web were one.
  CHECK(bench.saved == std::vector<std::pair<std::string, bool>>{
                           {"web", true}, {"web", true}, {"other", true}, {StateWriter::kFreeze, true}});
  bench.writer.let_go();
  CHECK(bench.green_on_disk("web") == 50);
  CHECK(bench.green_on_disk("other") == 1);
}

TEST_CASE("state_writer: a number has ended only when the value that it asked for is written") {
  Bench bench;
  bench.disk->gate().set(false);
  bench.writer.save("other", Bench::at(1));
  bench.disk->gate().await_somebody();
  bench.writer.save("web", Bench::at(10));
  const uint64_t web = bench.writer.asked();
  bench.writer.save("third", Bench::at(3));
  bench.writer.save("web", Bench::at(20));  // takes the place of the first
  bench.disk->gate().set(true);
  bench.run_until([&] { return bench.writer.ended_through() >= web; });
  CHECK(std::find(bench.saved.begin(), bench.saved.end(), std::pair<std::string, bool>("web", true)) !=
        bench.saved.end());
  bench.run_until([&] { return !bench.writer.saving(); });
  bench.writer.let_go();
  CHECK(bench.green_on_disk("web") == 20);
}

TEST_CASE("state_writer: what the disk refuses is told, and does not stop what follows") {
  Bench bench;
  bench.disk->under().free_bytes = 0;
  bench.writer.save("web", Bench::at(10));
  bench.writer.write_report("trip", "web", 1, "{}", "text");
  bench.run_until([&] { return !bench.writer.saving() && !bench.reported.empty(); });
  CHECK(bench.saved == std::vector<std::pair<std::string, bool>>{{"web", false}});
  CHECK(bench.reported == std::vector<std::pair<std::string, bool>>{{"web", false}});
  bench.disk->under().free_bytes = MemoryFileSystem::kNever;
  bench.writer.save("web", Bench::at(10));
  bench.run_until([&] { return !bench.writer.saving(); });
  CHECK(bench.saved.back().second);
}

TEST_CASE("state_writer: nothing of a journal that is read late is written over before it is joined") {
  Bench bench(Bench::Start::unread);
  bench.disk->gate().set(false);
  for (const char* service : {"api", "web"}) bench.writer.save(service, Bench::at(0));
  bench.writer.save_freeze({true, "all at once", 1});
  bench.disk->gate().set(true);
  bench.run_until([&] { return !bench.writer.saving(); });
  REQUIRE(bench.found.size() == 1);
  CHECK(bench.found[0].at("web").green == 40);
  CHECK(bench.saved ==
        std::vector<std::pair<std::string, bool>>{{"api", false}, {"web", false}, {"", false}});
  bench.writer.let_go();
  CHECK(bench.green_on_disk("web") == 40);
  bench.writer.take_back();
  bench.writer.joined();
  bench.writer.save("web", Bench::at(0));
  bench.run_until([&] { return !bench.writer.saving(); });
  CHECK(bench.saved.back().second);
  CHECK(bench.found.size() == 1);
  bench.writer.let_go();
  CHECK(bench.green_on_disk("web") == 0);
}

TEST_CASE("state_writer: lets go of the store and opens it again") {
  Bench bench;
  bench.writer.save("web", Bench::at(10));
  bench.run_until([&] { return !bench.writer.saving(); });
  bench.writer.let_go();
  {
    auto other = StateStore::open(*bench.disk, "state");
    REQUIRE(other.ok());  // nobody holds its lock
    bench.writer.save("web", Bench::at(20));
    CHECK(!bench.writer.saving());
    bench.writer.take_back();
    bench.writer.save("web", Bench::at(30));
    bench.run_until([&] { return !bench.writer.saving(); });
    CHECK(!bench.saved.back().second);  // the other has it still
  }
  bench.writer.save("web", Bench::at(30));
  bench.run_until([&] { return !bench.writer.saving(); });
  CHECK(bench.saved.back().second);
}

TEST_CASE("state_writer: a folder that could not be made at the start is made once it can be") {
  std::string parent = std::filesystem::temp_directory_path() / "state_writer_test_XXXXXX";
  REQUIRE(mkdtemp(parent.data()) != nullptr);
  {
    Loop loop(1);
    Mailbox mailbox(loop);
    std::vector<bool> saved;
    StateWriter writer(
        mailbox,
        {[&](const std::string&, const conf::Status& status) { saved.push_back(status.ok()); },
         [](const std::string&, const conf::Result<std::string>&) {}, [](const StateWriter::Found&) {}},
        std::make_shared<balancer::PosixFileSystem>());
    writer.begin(parent + "/disk/state", nullptr);
    const auto save = [&] {
      writer.save("web", Bench::at(10));
      while (writer.saving()) uv_run(loop.uv(), UV_RUN_ONCE);
      return saved.back();
    };
    CHECK_FALSE(save());
    std::filesystem::create_directory(parent + "/disk");
    CHECK(save());
    writer.end();
    mailbox.close();
    loop.run();
    CHECK(loop.close() == 0);
    struct stat made {};
    REQUIRE(stat((parent + "/disk/state").c_str(), &made) == 0);
    CHECK((made.st_mode & 07027) == 0);  // the group's to look at, as at any start
    CHECK((made.st_mode & 0700) == 0700);
    balancer::PosixFileSystem files;
    const auto store = StateStore::open(files, parent + "/disk/state");
    REQUIRE(store.ok());
    CHECK((*store)->services().at("web").green == 10);
  }
  std::filesystem::remove_all(parent);
}

TEST_CASE("state_writer: reports beyond its bound are refused at once") {
  Bench bench;
  bench.disk->gate().set(false);
  bench.writer.save("web", Bench::at(10));
  bench.disk->gate().await_somebody();
  for (size_t i = 0; i <= StateWriter::kMostReports; ++i)
    bench.writer.write_report("trip", "web", 1, "{}", "");
  CHECK(bench.reported == std::vector<std::pair<std::string, bool>>{{"web", false}});
  bench.disk->gate().set(true);
  bench.run_until([&] { return bench.reported.size() == StateWriter::kMostReports + 1; });
}

TEST_CASE("state_writer: its end writes what was asked for, and leaves a disk that is stuck") {
  {
    Bench bench;
    bench.writer.save("web", Bench::at(10));
    CHECK(bench.writer.end());
    CHECK(bench.green_on_disk("web") == 10);
  }
  Bench bench;
  bench.disk->gate().set(false);
  bench.writer.save("web", Bench::at(10));
  bench.disk->gate().await_somebody();
  CHECK_FALSE(bench.writer.end(1));
  bench.disk->gate().set(true);
}

}  // namespace
}  // namespace sluice::proxy
