#include "proxy/resolver.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "tests/proxy/fake_name_server.h"

namespace sluice::proxy {
namespace {

using Strings = std::vector<std::string>;
constexpr auto kA = RecordType::a;
constexpr auto kAaaa = RecordType::aaaa;

// A file with the text, gone at the end.
class TextFile {
 public:
  explicit TextFile(const std::string& text) {
    const int fd = mkstemp(path_.data());
    REQUIRE(fd >= 0);
    ::close(fd);
    std::ofstream(path_) << text;
  }
  TextFile(const TextFile&) = delete;
  TextFile& operator=(const TextFile&) = delete;
  ~TextFile() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = std::filesystem::temp_directory_path() / "resolver_test_XXXXXX";
};

// A resolver, its name server and their loop. Refreshes are waited for in
// virtual time, except where c-ares itself, which reads a clock of its own, has
// to run into a timeout.
struct Fixture {
  explicit Fixture(const std::string& conf = "search lan.test\n") : resolv_conf(conf) {
    Resolver::Options options;
    options.lookup.servers = server.address();
    options.lookup.resolv_conf = resolv_conf.path();
    options.lookup.tries = 1;
    make(options);
  }
  ~Fixture() {
    resolver->close();
    server.close();
    CHECK(loop.close() == 0);
  }

  void make(const Resolver::Options& options) {
    resolver = std::make_unique<Resolver>(
        loop, options,
        [this] {
          ++changes;
          told_us = loop.now_us();
          if (on_change) on_change();
        },
        [this](const std::string& problem) {
          problems.push_back(problem);
          told_us = loop.now_us();
        });
  }

  template <typename Condition>
  void run_until(Condition condition) {
    while (!condition()) uv_run(loop.uv(), UV_RUN_ONCE);
  }
  void run_until_changes(int wanted) {
    run_until([&] { return changes >= wanted; });
    CHECK(changes == wanted);
  }
  void run_until_problems(size_t wanted) {
    run_until([&] { return problems.size() >= wanted; });
    CHECK(problems.size() == wanted);
  }
  // Everything that is under way at once on the loopback interface.
  void run_pending() {
    for (int i = 0; i < 5; ++i) uv_run(loop.uv(), UV_RUN_NOWAIT);
  }
  void watch(const std::set<std::string>& names) {
    const Loop::Scope scope(loop);
    resolver->watch(names);
  }
  // To at least this long after the last news, by the loop's clock. The next
  // callback from libuv reads the real clock again, but the timer wheel has
  // been turned, so each jump must go beyond the one before.
  void skip(uint64_t after_ms) {
    const uint64_t tick_us = TimerWheel::kTickMs * 1000;
    horizon_us = std::max(horizon_us, told_us + after_ms * 1000) + 2 * tick_us;
    loop.set_time_us(horizon_us);
  }
  // The next question for the name comes this long after the last news, not
  // before. For the first jump of a test.
  void check_asked_after(const std::string& name, uint64_t pause_ms) {
    REQUIRE(horizon_us == 0);
    const size_t asked = server.asked(name);
    loop.set_time_us(told_us + (pause_ms - 1) * 1000);
    run_pending();
    CHECK(server.asked(name) == asked);
    skip(pause_ms);
    run_until([&] { return server.asked(name) > asked; });
  }
  Strings addresses(const std::string& name) const {
    const auto found = resolver->names().find(name);
    return found == resolver->names().end() ? Strings{"unknown"} : found->second;
  }

  Loop loop{1};
  FakeNameServer server{loop};
  TextFile resolv_conf;
  std::unique_ptr<Resolver> resolver;
  int changes = 0;
  std::function<void()> on_change;
  Strings problems;
  uint64_t told_us = 0;
  uint64_t horizon_us = 0;
};

TEST_CASE("resolver: a watched name is resolved at once, both families, sorted") {
  Fixture f;
  f.server.set("app.test", kA, Strings{"10.0.0.7", "10.0.0.12", "10.0.0.7"});
  f.server.set("app.test", kAaaa, Strings{"2001:db8::7"});
  f.watch({"app.test"});
  CHECK(f.addresses("app.test") == Strings{"unknown"});
  f.run_until_changes(1);
  CHECK(f.addresses("app.test") == Strings{"10.0.0.12", "10.0.0.7", "2001:db8::7"});
  CHECK(f.problems.empty());
}

TEST_CASE("resolver: it asks again when the shortest time-to-live has passed") {
  Fixture f;
  f.server.set("app.test", kA, Strings{"10.0.0.1"}, 90);
  f.server.set("app.test", kAaaa, Strings{"2001:db8::1"}, 45);
  f.watch({"app.test"});
  f.run_until_changes(1);
  f.check_asked_after("app.test", 45'000);
}

TEST_CASE("resolver: an alias's time-to-live counts as well") {
  Fixture f;
  f.server.set("app.test", kA,
               Reply{Reply::Kind::records,
                     {{"", RecordType::cname, 20, "real.test"}, {"real.test", kA, 90, "10.0.0.1"}}});
  f.watch({"app.test"});
  f.run_until_changes(1);
  CHECK(f.addresses("app.test") == Strings{"10.0.0.1"});
  f.check_asked_after("app.test", 20'000);
}

TEST_CASE("resolver: times-to-live are kept within limits") {
  Fixture f;
  const auto [ttl_s, pause_ms] = GENERATE(std::pair(uint32_t{0}, Resolver::kLeastTtlMs),
                                          std::pair(uint32_t{0x80000001}, Resolver::kLeastTtlMs),
                                          std::pair(uint32_t{604'800}, Resolver::kMostTtlMs));
  f.server.set("app.test", kA, Strings{"10.0.0.1"}, ttl_s);
  f.watch({"app.test"});
  f.run_until_changes(1);
  f.check_asked_after("app.test", pause_ms);
}

TEST_CASE("resolver: changed records are news, the same ones are not") {
  Fixture f;
  f.server.set("app.test", kA, Strings{"10.0.0.1", "10.0.0.2"}, 10);
  f.server.set("other.test", kA, Strings{"10.9.9.9"}, 10);
  f.watch({"app.test", "other.test"});
  f.run_until([&] { return f.resolver->names().size() == 2; });
  const int before = f.changes;

  f.server.set("app.test", kA, Strings{"10.0.0.2", "10.0.0.1"}, 10);
  f.skip(10'000);
  f.run_until(
      [&] { return f.server.asked("app.test", kAaaa) == 2 && f.server.asked("other.test", kAaaa) == 2; });
  f.run_pending();
  CHECK(f.changes == before);

  f.server.set("app.test", kA, Strings{"10.0.0.3"}, 10);
  f.skip(10'000);
  f.run_until_changes(before + 1);
  CHECK(f.addresses("app.test") == Strings{"10.0.0.3"});
  CHECK(f.addresses("other.test") == Strings{"10.9.9.9"});
}

TEST_CASE("resolver: a name that no longer exists loses its addresses and gets them back") {
  Fixture f;
  f.server.set("app.test", kA, Strings{"10.0.0.1"}, 10);
  f.server.set("app.test", kAaaa, Strings{"2001:db8::1"}, 10);
  f.watch({"app.test"});
  f.run_until_changes(1);
  f.server.forget("app.test");
  f.skip(10'000);
  f.run_until_changes(2);
  CHECK(f.addresses("app.test").empty());
  REQUIRE(f.problems.size() == 1);
  CHECK_THAT(f.problems[0], Catch::Contains("app.test") && Catch::Contains("does not exist"));

  f.server.set("app.test", kA, Strings{"10.0.0.2"}, 10);
  f.skip(Resolver::kFirstRetryMs);
  f.run_until_changes(3);
  CHECK(f.addresses("app.test") == Strings{"10.0.0.2"});
}

TEST_CASE("resolver: an answer without records takes away that family's addresses alone") {
  Fixture f;
  f.server.set("app.test", kA, Strings{"10.0.0.1"}, 10);
  f.server.set("app.test", kAaaa, Strings{"2001:db8::1"}, 10);
  f.watch({"app.test"});
  f.run_until_changes(1);
  f.server.set("app.test", kA, Strings{});
  f.skip(10'000);
  f.run_until_changes(2);
  CHECK(f.addresses("app.test") == Strings{"2001:db8::1"});
  CHECK(f.problems.empty());

  f.server.set("app.test", kAaaa, Strings{});
  f.skip(10'000);
  f.run_until_changes(3);
  CHECK(f.addresses("app.test").empty());
  REQUIRE(f.problems.size() == 1);
  CHECK_THAT(f.problems[0], Catch::Contains("no address"));
}

TEST_CASE("resolver: a failing server is asked again after a pause") {
  Fixture f;
  f.server.set("app.test", kA, Reply::Kind::servfail);
  f.server.set("app.test", kAaaa, Reply::Kind::servfail);
  f.watch({"app.test"});
  f.run_until_problems(1);
  f.check_asked_after("app.test", Resolver::kFirstRetryMs);
}

TEST_CASE("resolver: a failing server takes nothing away and is asked with growing pauses") {
  Fixture f;
  f.server.set("app.test", kA, Strings{"10.0.0.1"}, 10);
  f.server.set("app.test", kAaaa, Strings{"2001:db8::1"}, 10);
  f.watch({"app.test"});
  f.run_until_changes(1);
  f.server.set("app.test", kA, Reply::Kind::servfail);
  f.server.set("app.test", kAaaa, Reply::Kind::servfail);
  f.skip(10'000);
  uint64_t pause_ms = Resolver::kFirstRetryMs;
  for (size_t i = 1; i <= 9; ++i) {
    f.run_until_problems(i);
    CHECK_THAT(f.problems.back(), Catch::Contains("next try in " + std::to_string(pause_ms) + " ms"));
    f.skip(pause_ms);
    pause_ms = std::min(pause_ms * 2, Resolver::kMostRetryMs);
  }
  f.run_until_problems(10);
  CHECK(f.addresses("app.test") == Strings{"10.0.0.1", "2001:db8::1"});
  CHECK(f.changes == 1);

  // Once it works again the pauses begin from the start.
  f.server.set("app.test", kA, Strings{"10.0.0.5"}, 10);
  f.server.set("app.test", kAaaa, Strings{}, 10);
  f.skip(Resolver::kMostRetryMs);
  f.run_until_changes(2);
  f.server.set("app.test", kA, Reply::Kind::servfail);
  f.skip(10'000);
  f.run_until_problems(11);
  CHECK_THAT(f.problems.back(), Catch::Contains("next try in 500 ms"));
  CHECK(f.addresses("app.test") == Strings{"10.0.0.5"});
}

TEST_CASE("resolver: one family's failure beside the other's answer keeps its addresses") {
  // Whichever answer comes last decides what c-ares reports of both together.
  const auto [failing, answering] = GENERATE(std::pair(kA, kAaaa), std::pair(kAaaa, kA));
  const Strings mine = failing == kA ? Strings{"10.0.0.1"} : Strings{"2001:db8::1"};
  const Strings other = failing == kA ? Strings{"2001:db8::2"} : Strings{"10.0.0.2"};
  const auto how = GENERATE(Reply::Kind::servfail, Reply::Kind::malformed);
  INFO("failing " << static_cast<int>(failing) << " how " << static_cast<int>(how));
  Fixture f;
  f.server.set("app.test", failing, mine, 10);
  f.watch({"app.test"});
  f.run_until_changes(1);

  // Beside an empty answer.
  f.server.set("app.test", failing, how);
  f.server.set("app.test", answering, Strings{});
  f.skip(10'000);
  f.run_until_problems(1);
  CHECK(f.addresses("app.test") == mine);

  // Beside addresses, which are news. (Of a malformed answer that comes last,
  // c-ares makes a failure of both.)
  if (how == Reply::Kind::malformed) return;
  f.server.set("app.test", answering, other, 10);
  f.skip(Resolver::kMostRetryMs);
  f.run_until_problems(2);
  CHECK(f.changes == 2);
  Strings both = mine;
  both.insert(both.end(), other.begin(), other.end());
  std::sort(both.begin(), both.end());
  CHECK(f.addresses("app.test") == both);
}

TEST_CASE("resolver: silence and garbage take nothing away") {
  const auto how = GENERATE(Reply::Kind::silent, Reply::Kind::garbage);
  INFO("how " << static_cast<int>(how));
  Fixture f;
  Resolver::Options options;
  options.lookup.servers = f.server.address();
  options.lookup.resolv_conf = f.resolv_conf.path();
  options.lookup.tries = 2;
  options.lookup.timeout_ms = 500;
  options.least_ttl_ms = options.most_ttl_ms = 1;  // real time: c-ares reads a clock
  f.make(options);
  f.server.set("app.test", kA, Strings{"10.0.0.1"});
  f.on_change = [&] {
    f.server.set("app.test", kA, how);
    f.server.set("app.test", kAaaa, how);
  };
  f.watch({"app.test"});
  f.run_until_changes(1);
  f.run_until([&] { return !f.problems.empty(); });
  CHECK(f.addresses("app.test") == Strings{"10.0.0.1"});
  CHECK(f.changes == 1);
  CHECK(f.server.asked("app.test") == 3);
  CHECK_THAT(f.problems[0], Catch::Contains("Timeout"));
}

TEST_CASE("resolver: a name that never resolves is unknown, and said so") {
  Fixture f;
  f.server.set("app.test", kA, Reply::Kind::servfail);
  f.server.set("app.test", kAaaa, Reply::Kind::servfail);
  f.watch({"app.test"});
  f.run_until_problems(1);
  CHECK(f.addresses("app.test") == Strings{"unknown"});
  CHECK(f.changes == 0);
}

TEST_CASE("resolver: a forged answer before the real one is ignored") {
  Fixture f;
  f.server.set("app.test", kA, Reply{Reply::Kind::forged, {{"", kA, 10, "10.0.0.1"}}});
  f.watch({"app.test"});
  f.run_until_changes(1);
  CHECK(f.addresses("app.test") == Strings{"10.0.0.1"});
}

TEST_CASE("resolver: an answer too long for UDP comes over TCP") {
  Fixture f;
  Strings many;
  for (int i = 0; i < 250; ++i) many.push_back("10.1.0." + std::to_string(i));
  f.server.set("app.test", kA, many);
  f.watch({"app.test"});
  f.run_until_changes(1);
  CHECK(f.server.asked_over_tcp() == 1);
  std::sort(many.begin(), many.end());
  CHECK(f.addresses("app.test") == many);
}

TEST_CASE("resolver: the search list of resolv.conf is used") {
  Fixture f("search default.svc.test svc.test\noptions ndots:5\n");
  f.server.set("app.svc.test", kA, Strings{"10.0.0.1"});
  f.watch({"app"});
  f.run_until_changes(1);
  CHECK(f.addresses("app") == Strings{"10.0.0.1"});
}

TEST_CASE("resolver: the hosts file comes before the name servers") {
  const TextFile hosts("10.2.2.2 app.test\n");
  setenv("CARES_HOSTS", hosts.path().c_str(), 1);
  Fixture f;
  f.server.set("app.test", kA, Strings{"10.0.0.1"});
  f.server.set("app.test", kAaaa, Strings{"2001:db8::1"});
  f.watch({"app.test"});
  f.run_until_changes(1);
  unsetenv("CARES_HOSTS");
  CHECK(f.addresses("app.test") == Strings{"10.2.2.2"});
  CHECK(f.server.asked("app.test") == 0);
}

TEST_CASE("resolver: a numeric name stands for itself") {
  Fixture f;
  f.watch({"10.0.0.9", "2001:DB8:0::9"});
  CHECK(f.addresses("10.0.0.9") == Strings{"10.0.0.9"});
  CHECK(f.addresses("2001:DB8:0::9") == Strings{"2001:db8::9"});
  f.run_pending();
  CHECK(f.problems.empty());
  f.watch({});
  CHECK(f.resolver->names().empty());
}

TEST_CASE("resolver: watching other names keeps the answers of those that stay") {
  Fixture f;
  f.server.set("a.test", kA, Strings{"10.0.0.1"});
  f.server.set("b.test", kA, Strings{"10.0.0.2"});
  f.server.set("c.test", kA, Strings{"10.0.0.3"});
  f.watch({"a.test", "b.test"});
  f.run_until([&] { return f.resolver->names().size() == 2; });
  f.watch({"b.test", "c.test"});
  CHECK(f.addresses("a.test") == Strings{"unknown"});
  CHECK(f.addresses("b.test") == Strings{"10.0.0.2"});
  f.run_until([&] { return f.addresses("c.test") == Strings{"10.0.0.3"}; });
  CHECK(f.server.asked("b.test") == 1);
}

TEST_CASE("resolver: names may be watched from the callback and left while they are asked for") {
  Fixture f;
  f.server.set("a.test", kA, Strings{"10.0.0.1"});
  f.server.set("b.test", kA, Strings{"10.0.0.2"});
  f.server.set("slow.test", kA, Reply::Kind::silent);
  f.on_change = [&] {
    f.on_change = nullptr;
    f.resolver->watch({"b.test"});
  };
  f.watch({"a.test", "slow.test"});
  f.run_until([&] { return f.addresses("b.test") == Strings{"10.0.0.2"}; });
  CHECK(f.resolver->names().size() == 1);
}

TEST_CASE("resolver: closing ends what is under way and leaves no handle") {
  Fixture f;  // checks it
  f.server.set("a.test", kA, Strings{"10.0.0.1"});
  f.server.set("slow.test", kA, Reply::Kind::silent);
  f.watch({"a.test", "slow.test", "10.0.0.4"});
  f.run_until_changes(1);
  f.resolver->close();
  f.resolver->close();
  f.watch({"late.test"});
  f.run_pending();
  CHECK(f.server.asked("late.test") == 0);
}

size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

size_t handles_of(Loop& loop) {
  size_t count = 0;
  uv_walk(
      loop.uv(), [](uv_handle_t*, void* counter) { ++*static_cast<size_t*>(counter); }, &count);
  return count;
}

TEST_CASE("resolver: a thousand refreshes leave nothing behind") {
  Fixture f;
  f.server.set("app.test", kA, Strings{"10.9.9.9"}, 10);
  f.watch({"app.test"});
  f.run_until_changes(1);
  f.run_pending();
  const size_t descriptors = open_descriptors();
  const size_t handles = handles_of(f.loop);
  for (int i = 1; i <= 1000; ++i) {
    f.server.set("app.test", kA, Strings{"10.0.0." + std::to_string(i % 250)}, 10);
    f.skip(10'000);
    f.run_until_changes(1 + i);
  }
  f.run_pending();
  CHECK(open_descriptors() == descriptors);
  CHECK(handles_of(f.loop) == handles);
}

}  // namespace
}  // namespace sluice::proxy
