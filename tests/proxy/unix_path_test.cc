#include "proxy/unix_path.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

namespace sluice::proxy {
namespace {

constexpr int kBacklog = 64;

class Folder {
 public:
  Folder() { REQUIRE(mkdtemp(name_.data()) != nullptr); }
  ~Folder() { std::filesystem::remove_all(name_); }
  std::string path() const { return name_ + "/in.sock"; }
  std::string lock() const { return path() + ".lock"; }

 private:
  std::string name_ = "/tmp/unix-path-XXXXXX";
};

bool is_served(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const bool connected = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  close(fd);
  return connected;
}

// What a process leaves behind that was killed.
void leave_behind(const std::string& path) {
  const conf::Result<int> fd = UnixPath::listen(path, std::nullopt, kBacklog);
  REQUIRE(fd.ok());
  close(*fd);
  REQUIRE_FALSE(is_served(path));
}

void refused(const std::string& path, const std::string& why) {
  const conf::Result<int> fd = UnixPath::listen(path, std::nullopt, kBacklog);
  REQUIRE_FALSE(fd.ok());
  CHECK_THAT(fd.error().detail, Catch::Contains(path) && Catch::Contains(why));
}

TEST_CASE("a unix path gets its mode and leaves no lock", "[unix_path]") {
  const Folder folder;
  const conf::Result<int> fd = UnixPath::listen(folder.path(), 0600, kBacklog);
  REQUIRE(fd.ok());
  struct stat status {};
  REQUIRE(lstat(folder.path().c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  CHECK_FALSE(std::filesystem::exists(folder.lock()));
  close(*fd);
}

TEST_CASE("a unix path that somebody serves, or that is no socket, stays", "[unix_path]") {
  const Folder folder;
  const conf::Result<int> fd = UnixPath::listen(folder.path(), std::nullopt, kBacklog);
  REQUIRE(fd.ok());
  refused(folder.path(), "another process listens there");
  CHECK(is_served(folder.path()));
  close(*fd);
  REQUIRE(unlink(folder.path().c_str()) == 0);
  close(open(folder.path().c_str(), O_CREAT | O_WRONLY, 0600));
  refused(folder.path(), "is no socket");
  CHECK(std::filesystem::is_regular_file(folder.path()));
}

TEST_CASE("a unix path that another is just beginning with is left to it", "[unix_path]") {
  const Folder folder;
  leave_behind(folder.path());
  const int other = open(folder.lock().c_str(), O_CREAT | O_RDWR, 0600);
  REQUIRE(flock(other, LOCK_EX | LOCK_NB) == 0);
  refused(folder.path(), folder.lock());
  CHECK(std::filesystem::exists(folder.path()));
  CHECK(std::filesystem::exists(folder.lock()));
  close(other);
  // A lock file alone, as a killed process may leave it, is in nobody's way.
  const conf::Result<int> fd = UnixPath::listen(folder.path(), std::nullopt, kBacklog);
  REQUIRE(fd.ok());
  close(*fd);
}

TEST_CASE("what is no lock of ours stays, and is named", "[unix_path]") {
  const Folder folder;
  SECTION("a file with something in it") {
    const int fd = open(folder.lock().c_str(), O_CREAT | O_WRONLY, 0600);
    REQUIRE(write(fd, "x", 1) == 1);
    close(fd);
    refused(folder.path(), folder.lock() + " exists and is no lock");
  }
  SECTION("a pipe") {
    REQUIRE(mkfifo(folder.lock().c_str(), 0600) == 0);
    refused(folder.path(), folder.lock() + " exists and is no lock");
  }
  SECTION("a folder") {
    REQUIRE(mkdir(folder.lock().c_str(), 0700) == 0);
    refused(folder.path(), folder.lock() + " cannot be locked");
  }
  CHECK(std::filesystem::exists(folder.lock()));
}

TEST_CASE("of several that begin at once on a path that was left behind one gets it", "[unix_path]") {
  constexpr int kRounds = 200;
  constexpr int kRivals = 4;
  const Folder folder;
  for (int round = 0; round < kRounds; ++round) {
    INFO("round " << round);
    leave_behind(folder.path());
    std::atomic<int> waiting{kRivals};
    std::vector<int> fds(kRivals, -1);
    std::vector<std::thread> rivals;
    rivals.reserve(kRivals);
    for (int& fd : fds) {
      rivals.emplace_back([&] {
        --waiting;
        while (waiting.load() > 0) std::this_thread::yield();
        const conf::Result<int> listening = UnixPath::listen(folder.path(), std::nullopt, kBacklog);
        if (listening.ok()) fd = *listening;
      });
    }
    for (std::thread& rival : rivals) rival.join();
    int winners = 0;
    for (const int fd : fds) winners += fd >= 0 ? 1 : 0;
    REQUIRE(winners == 1);
    REQUIRE(is_served(folder.path()));
    REQUIRE_FALSE(std::filesystem::exists(folder.lock()));
    for (const int fd : fds) {
      if (fd >= 0) close(fd);
    }
    REQUIRE(unlink(folder.path().c_str()) == 0);
  }
}

TEST_CASE("a unix path is removed by who has it, once", "[unix_path]") {
  const Folder folder;
  leave_behind(folder.path());
  UnixPath mine = UnixPath::of(folder.path());
  SECTION("it is removed") {
    mine.remove();
    CHECK_FALSE(std::filesystem::exists(folder.path()));
    leave_behind(folder.path());
    mine.remove();
    CHECK(std::filesystem::exists(folder.path()));
  }
  SECTION("another's stays") {
    // The old file is kept, so that its inode is not given to the new one.
    std::filesystem::rename(folder.path(), folder.path() + ".old");
    leave_behind(folder.path());
    mine.remove();
    CHECK(std::filesystem::exists(folder.path()));
  }
}

}  // namespace
}  // namespace sluice::proxy
