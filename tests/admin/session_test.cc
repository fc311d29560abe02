#include "admin/session.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

#include "fixtures.h"

namespace sluice::admin::test {
namespace {

class Directory {
 public:
  Directory() {
    char name[] = "/tmp/sluice-test-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path_ = name;
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string socket() const { return path_ + "/admin.sock"; }
  std::string state() const { return path_ + "/state"; }

 private:
  std::string path_;
};

// A served admin socket.
class Served {
 public:
  explicit Served(const std::string& settings = "") : proxy(settings + kTwoServices) {
    REQUIRE(proxy.server.start(directory.socket(), 0600).ok());
  }
  // The path goes with the loop's end, so before the directory.
  Directory directory;
  TestProxy proxy;
};

class Client {
 public:
  explicit Client(Served& served) : served_(served), fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = served.directory.socket();
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    REQUIRE(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { leave(); }

  void send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0) {
        REQUIRE(errno == EAGAIN);
        uv_run(served_.proxy.control.loop().uv(), UV_RUN_NOWAIT);
        continue;
      }
      text.remove_prefix(static_cast<size_t>(sent));
    }
  }
  // What of it the socket takes now.
  size_t offer(std::string_view text) {
    const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 ? 0 : static_cast<size_t>(sent);
  }
  void end_sending() { shutdown(fd_, SHUT_WR); }
  void leave() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }
  // Reads until the received text ends with `end`.
  std::string until(const std::string& end) {
    served_.proxy.run_until([&] {
      receive();
      return received_.ends_with(end) || !open_;
    });
    return std::exchange(received_, {});
  }
  std::string to_the_end() {
    served_.proxy.run_until([&] {
      receive();
      return !open_;
    });
    return std::exchange(received_, {});
  }

  // Takes what is there.
  void receive() {
    char buffer[4096];
    ssize_t size = 0;
    while ((size = recv(fd_, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
      received_.append(buffer, static_cast<size_t>(size));
    if (size == 0 || errno != EAGAIN) open_ = false;
  }
  const std::string& received() const { return received_; }

 private:
  Served& served_;
  int fd_;
  bool open_ = true;
  std::string received_;
};

TEST_CASE("session: one line is answered, ended by an empty line, and the connection closes") {
  Served served;
  Client client(served);
  client.send("maintenance web off\n");
  CHECK(client.to_the_end() == "web: maintenance is off\n\n");
}

TEST_CASE("session: what comes last needs no line feed") {
  Served served;
  Client client(served);
  client.send("maintenance web off");
  client.end_sending();
  CHECK(client.to_the_end() == "web: maintenance is off\n\n");
}

TEST_CASE("session: a line may come octet by octet") {
  Served served;
  Client client(served);
  for (const char c : std::string("maintenance web off\r\n")) {
    client.send({&c, 1});
    uv_run(served.proxy.control.loop().uv(), UV_RUN_NOWAIT);
  }
  CHECK(client.to_the_end() == "web: maintenance is off\n\n");
}

TEST_CASE("session: commands of a line are answered in order, whatever became of those before") {
  Served served;
  Client client(served);
  client.send("maintenance web off; maintenance wbe off; json maintenance plain off; json nonsense\n");
  CHECK(client.to_the_end() ==
        "web: maintenance is off\n\n"
        "error: not_found: no service is called \"wbe\"; did you mean 'web'?\n\n"
        "{\"ok\":true,\"service\":\"plain\",\"maintenance\":false}\n\n"
        "{\"ok\":false,\"error\":{\"code\":\"usage\",\"message\":\"no command is called 'nonsense'; 'help' "
        "lists what "
        "there is\"}}\n\n");
}

TEST_CASE("session: a command that waits holds up those behind it, not the loop") {
  Served served;
  Client waiting(served);
  waiting.send("wait 600 split web green=25; maintenance web off\n");
  Client other(served);
  other.send("set weight web green=25\n");
  CHECK(other.to_the_end().starts_with("web: green has 25 %"));
  CHECK(waiting.to_the_end() == "done\n\nweb: maintenance is off\n\n");
}

TEST_CASE("session: of many commands at once one is run in each turn of the loop, whoever gave them") {
  Served served;
  constexpr size_t kCommands = 100;
  std::string text;
  for (size_t i = 0; i < kCommands; ++i) text += i % 10 == 9 ? "version\n" : "version; ";
  Client one(served);
  Client other(served);
  for (Client* const client : {&one, &other}) {
    client->send("prompt\n");
    client->until("> ");
  }
  one.send(text);
  other.send(text);
  const auto answers = [](const Client& client) {
    size_t count = 0;
    for (size_t at = 0; (at = client.received().find("\n\n", at)) != std::string::npos; at += 2) ++count;
    return count;
  };
  size_t before = 0;
  while (before < 2 * kCommands) {
    uv_run(served.proxy.control.loop().uv(), UV_RUN_ONCE);
    one.receive();
    other.receive();
    const size_t now = answers(one) + answers(other);
    // The one in the line; at first also what each begins with.
    REQUIRE(now <= before + (before < 2 ? 3 : 1));
    before = now;
  }
  CHECK(answers(one) == kCommands);
}

TEST_CASE("session: what a client has asked for before it leaves is done all the same") {
  for (const bool hangs_up : {true, false}) {
    Served served;
    Client client(served);
    client.send("freeze on today; trip web\nset maxconn web/blue 11\nset maxconn web/green 12\n");
    if (hangs_up) {
      client.leave();
    } else {
      client.end_sending();
    }
    served.proxy.run_until([&] { return served.proxy.control.registry().find("web")->state->tripped(); });
    CHECK(served.proxy.control.freeze().on);
    // Without a prompt one line is all that is taken.
    Client other(served);
    other.send("json show upstreams\n");
    CHECK(other.to_the_end().find("\"max_connections\":11") == std::string::npos);
  }
}

TEST_CASE("session: what a client has asked before it leaves is not answered, and holds up nothing") {
  Served served;
  Client client(served);
  std::string line = "freeze on today; ";
  for (int i = 0; i < 500; ++i) line += "help; ";
  client.send(line + "trip web\n");
  client.leave();
  served.proxy.run_until([&] { return served.proxy.control.registry().find("web")->state->tripped(); });
  CHECK(served.proxy.control.freeze().on);
}

TEST_CASE("session: what a client that has left wanted done after a wait is not done before") {
  Served served;
  Client client(served);
  client.send("freeze on today; wait 600 tripped web; trip web\n");
  client.leave();
  served.proxy.run_until([&] { return served.proxy.control.freeze().on; });
  Client other(served);
  other.send("show sessions\n");
  other.to_the_end();
  for (int i = 0; i < 20; ++i) uv_run(served.proxy.control.loop().uv(), UV_RUN_NOWAIT);
  CHECK_FALSE(served.proxy.control.registry().find("web")->state->tripped());
}

TEST_CASE("session: what has been read of a client that leaves is done as if it had stayed") {
  const std::pair<const char*, bool> lines[] = {
      {"freeze on today; show sessions; check; trip web\n", true},  // these are answered later
      {"freeze on today; show split; prompt\ntrip web\n", true},
      {"freeze on today; show split; quit; trip web\n", false},
      {"freeze on today; show events -w; trip web\n", false},
  };
  for (const auto& [line, trips] : lines) {
    INFO(line);
    Served served;
    Client client(served);
    client.send(line);
    client.leave();
    const auto& state = *served.proxy.control.registry().find("web")->state;
    served.proxy.run_until([&] { return served.proxy.control.freeze().on && (!trips || state.tripped()); });
    for (int i = 0; i < 100; ++i) uv_run(served.proxy.control.loop().uv(), UV_RUN_NOWAIT);
    CHECK(state.tripped() == trips);
  }
}

TEST_CASE("session: what waits for its turn is done before the sessions end for a successor") {
  Directory state;
  for (const bool durable : {false, true}) {
    Served served(durable ? "state_dir = \"" + state.state() + "\"\n" : "");
    Client client(served);
    client.send("freeze on today; trip web\n");
    // With a state_dir it is not answered yet.
    while (!served.proxy.control.freeze().on) uv_run(served.proxy.control.loop().uv(), UV_RUN_ONCE);
    served.proxy.server.pause();
    client.to_the_end();
    CHECK(served.proxy.control.registry().find("web")->state->tripped());
  }
}

TEST_CASE("session: who has asked for too much does not hold up its end") {
  Served served;
  Client client(served);
  std::string line = "freeze on today";
  for (size_t i = 0; i < Session::kMostAtOnce - 1; ++i) line += "; version";
  client.send(line + "; freeze off; trip web\n");
  while (!served.proxy.control.freeze().on) uv_run(served.proxy.control.loop().uv(), UV_RUN_ONCE);
  served.proxy.server.pause();
  client.to_the_end();
  CHECK_FALSE(served.proxy.control.freeze().on);
  CHECK_FALSE(served.proxy.control.registry().find("web")->state->tripped());
}

TEST_CASE("session: lines with nothing in them are taken in turns, too") {
  Served served;
  Client blank(served);
  blank.send("prompt\n");
  blank.until("> ");
  constexpr size_t kLines = 10 * Session::kMostLinesATurn;
  blank.send(std::string(kLines, '\n'));
  size_t prompts = 0;
  while (prompts < kLines) {
    uv_run(served.proxy.control.loop().uv(), UV_RUN_ONCE);
    blank.receive();
    const auto now = static_cast<size_t>(std::count(blank.received().begin(), blank.received().end(), '>'));
    REQUIRE(now <= prompts + 2 * Session::kMostLinesATurn);
    prompts = now;
  }
}

TEST_CASE("session: those that left while they waited for their turn are forgotten") {
  Served served;
  constexpr size_t kCommands = 20;
  std::string text;
  for (size_t i = 0; i < kCommands; ++i) text += "show split; ";
  // More than there are places: each has to be given back.
  for (size_t i = 0; i < 2 * Server::kMostSessions; ++i) {
    Client greedy(served);
    greedy.send(text + "show split\n");
    served.proxy.run_until([&] {
      greedy.receive();
      return !greedy.received().empty();
    });
    REQUIRE_FALSE(greedy.received().starts_with("error"));
    greedy.leave();
    // One turn for each, and some for the end.
    for (size_t turn = 0; turn < 2 * kCommands; ++turn)
      uv_run(served.proxy.control.loop().uv(), UV_RUN_NOWAIT);
  }
}

TEST_CASE("session: after prompt it stays, and quit ends it") {
  Served served;
  Client client(served);
  client.send("prompt\n");
  CHECK(client.until("> ") == "> ");
  client.send("maintenance web off\n");
  CHECK(client.until("> ") == "web: maintenance is off\n\n> ");
  client.send("\n");
  CHECK(client.until("> ") == "> ");
  client.send("maintenance web off; maintenance web off\nmaintenance plain off\n");
  CHECK(client.until("plain: maintenance is off\n\n> ") ==
        "web: maintenance is off\n\nweb: maintenance is off\n\n> plain: maintenance is off\n\n> ");
  client.send("quit\n");
  CHECK(client.to_the_end().empty());
}

TEST_CASE("session: a line of 16 KiB is read, a longer one refused, and so is one without an end") {
  Served served;
  Client fits(served);
  fits.send("maintenance web off" + std::string(kMaxLineBytes - 19, ' ') + "\n");
  CHECK(fits.to_the_end() == "web: maintenance is off\n\n");
  Client over(served);
  over.send("maintenance web off" + std::string(kMaxLineBytes - 18, ' ') + "\n");
  CHECK(over.to_the_end() == "error: usage: the line is longer than 16 KiB\n\n");
  Client endless(served);
  endless.send(std::string(1 << 20, 'x'));
  CHECK(endless.to_the_end() == "error: usage: the line is longer than 16 KiB\n\n");
}

TEST_CASE("session: what a client sends on that reads nothing is left in its socket") {
  Served served;
  Client client(served);
  std::string line;
  while (line.size() < kMaxLineBytes - 10) line += "help; ";
  client.send(line + "\n");
  const std::string more(64 * 1024, 'x');
  size_t sent = 0;
  for (int refused = 0; refused < 1000; ++refused) {
    for (size_t now = 0; (now = client.offer(more)) > 0; refused = 0) sent += now;
    uv_run(served.proxy.control.loop().uv(), UV_RUN_NOWAIT);
    REQUIRE(sent < (size_t{4} << 20));
  }
}

TEST_CASE("session: octets that are no text are refused") {
  Served served;
  Client client(served);
  client.send(std::string("\0\xff\x1b[2J\n", 7));
  CHECK(client.to_the_end() == "error: usage: a command is UTF-8 text without control characters\n\n");
}

TEST_CASE("session: a client that leaves gives up its wait, also when it had stopped sending before") {
  Served served;
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t i = 0; i < Waits::kMost; ++i) {
    clients.push_back(std::make_unique<Client>(served));
    clients.back()->send("wait 600 split web green=25\n");
  }
  Client refused(served);
  refused.send("wait 600 split web green=25\n");
  CHECK(refused.to_the_end().starts_with("error: unavailable: "));
  clients[0]->leave();
  Client again(served);
  again.send("wait 0 split web green=25\n");
  CHECK(again.to_the_end().starts_with("error: timeout: "));
}

TEST_CASE("session: a client that leaves behind more than is read gives up its wait too") {
  Served served;
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t i = 0; i < Waits::kMost; ++i) {
    clients.push_back(std::make_unique<Client>(served));
    clients.back()->send("wait 600 split web green=25\n");
  }
  clients.front()->send(std::string(64 * 1024, 'x'));
  clients.front()->leave();
  std::string reply;
  do {
    Client again(served);
    again.send("wait 0 split web green=25\n");
    reply = again.to_the_end();
  } while (reply.starts_with("error: unavailable: "));
  CHECK(reply.starts_with("error: timeout: "));
}

TEST_CASE("session: of too many the idlest gives its place, and none that has something to do") {
  Served served;
  served.proxy.ask("maintenance web off");  // an event to be watched
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t i = 0; i < Server::kMostSessions; ++i) {
    clients.push_back(std::make_unique<Client>(served));
    clients.back()->send("prompt\n");
    REQUIRE(clients.back()->until("> ") == "> ");
    if (i >= Waits::kMost) continue;  // the others watch
    clients.back()->send("show events -w\n");
    REQUIRE(clients.back()->until("\n").ends_with("\n"));
  }
  for (const size_t idlest : {Waits::kMost, Waits::kMost + 1}) {
    clients.push_back(std::make_unique<Client>(served));
    clients.back()->send("prompt\n");
    CHECK(clients.back()->until("> ") == "> ");
    CHECK(clients[idlest]->to_the_end().starts_with("error: unavailable: another client needs the place"));
  }
  served.proxy.ask("maintenance web on");
  CHECK(clients.front()->until("\n").find("maintenance_changed") != std::string::npos);
}

TEST_CASE("session: changes are logged with the user and process that the kernel names") {
  Served served;
  Client client(served);
  client.send("set weight web green=25\n");
  client.to_the_end();
  const auto& fields = served.proxy.control.events().events().back().fields;
  const std::string who = "uid " + std::to_string(getuid()) + " pid " + std::to_string(getpid());
  CHECK(std::find(fields.begin(), fields.end(), std::pair<std::string, std::string>("who", who)) !=
        fields.end());
}

TEST_CASE("server: the socket has its mode, is not taken from who serves it, and goes at the end") {
  Directory directory;
  {
    TestProxy first;
    REQUIRE(first.server.start(directory.socket(), 0620).ok());
    struct stat status {};
    REQUIRE(lstat(directory.socket().c_str(), &status) == 0);
    CHECK(S_ISSOCK(status.st_mode));
    CHECK((status.st_mode & 0777) == 0620);
    TestProxy second;
    CHECK(!second.server.start(directory.socket(), 0600).ok());
    REQUIRE(lstat(directory.socket().c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0620);
  }
  CHECK(access(directory.socket().c_str(), F_OK) != 0);
}

TEST_CASE("server: a missing directory and an over-long path are told with advice") {
  TestProxy proxy;
  const conf::Status missing = proxy.server.start("/nonexistent/sluice/admin.sock", 0600);
  REQUIRE(!missing.ok());
  CHECK(missing.error().detail.find("make its directory first") != std::string::npos);
}

}  // namespace
}  // namespace sluice::admin::test
