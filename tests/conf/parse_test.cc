#include "conf/parse.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "conf/document.h"
#include "tests/conf/fixtures.h"

using namespace sluice::conf;

namespace {

// The file's folder, removed with its contents at the end of the test.
class Folder {
 public:
  Folder() {
    char name[] = "/tmp/sluice-conf-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

}  // namespace

TEST_CASE("the smallest configuration has the documented defaults") {
  const Config config = parse_valid(kSmallConfig);
  CHECK(config.file == "test.toml");
  CHECK(config.workers == 0);
  CHECK(config.drain_ms == 30000);
  CHECK(config.admin == Admin{});
  CHECK(config.log == Log{});
  CHECK(config.overload == Overload{});
  REQUIRE(config.listeners.size() == 1);
  CHECK(config.listeners[0].position.line == 1);
  CHECK(config.routes.empty());
  const Service& web = config.services.at("web");
  CHECK(web.name == "web");
  CHECK(web.split == 0);
  CHECK(!web.has_green);
  CHECK(!web.health.enabled);
  CHECK(!web.outlier.enabled);
  CHECK(!web.rollout.enabled);
  CHECK(web.trip.enabled);
  CHECK(web.upstream(Colour::blue).position.line == 3);
  CHECK(web.upstream(Colour::blue).endpoints ==
        std::vector<Endpoint>{{{Address::Kind::inet, "127.0.0.1", 9001}, 1}});
}

TEST_CASE("every key of the process reaches its member") {
  const Config config = parse_valid(kFullConfig);
  CHECK(config.workers == 3);
  CHECK(config.state_dir == "/var/lib/sluice");
  CHECK(config.user == "sluice");
  CHECK(config.group == "proxy");
  CHECK(config.drain_ms == 5000);
  CHECK(config.admin == Admin{"/run/sluice/admin.sock",
                              0600,
                              Address{Address::Kind::inet, "127.0.0.1", 9901},
                              {"sluice.internal"}});
  CHECK(config.log == Log{"stdout", "debug", 0.25});
  CHECK(config.overload == Overload{5000, 200});
  REQUIRE(config.listeners.size() == 2);
  const Listener& first = config.listeners[0];
  CHECK(first.bind.to_string() == "0.0.0.0:8443");
  CHECK(first.proxy_protocol);
  CHECK(first.trusted.size() == 2);
  CHECK(first.tls ==
        TlsServer{{{"/etc/a.pem", "/etc/a.key", "/etc/a.ocsp"}, {"/etc/b.pem", "/etc/b.key", ""}},
                  "/etc/ca.pem",
                  false,
                  "1.3",
                  3000,
                  50});
  CHECK(config.listeners[1].bind.to_string() == "unix:/run/sluice/in.sock");
  REQUIRE(config.routes.size() == 2);
  CHECK(config.routes[0].host == "*.example.com");
  CHECK(config.routes[0].path == "/api/");
  CHECK(config.routes[0].service == "web");
  CHECK(config.routes[1].host.empty());
  CHECK(config.routes[1].path == "/");
  const Cap& cap = config.caps.at("database");
  CHECK(cap.name == "database");
  CHECK(cap.members ==
        std::vector<Cap::Member>{{"web", Colour::blue}, {"web", Colour::green}, {"shop-2", Colour::blue}});
  CHECK(cap.max_connections == 100);
  CHECK(cap.warn_at == 0.9);
}

TEST_CASE("every key of a service reaches its member") {
  const Config config = parse_valid(kFullConfig);
  const Service& web = config.services.at("web");
  CHECK(web.split == 1234);
  CHECK(web.sticky == Sticky{Sticky::Kind::cookie, "Session"});
  CHECK(web.override_header == "x-sluice-upstream");
  CHECK((web.rescue && web.maintenance));
  CHECK(web.maintenance_page == "/etc/sluice/down.html");
  CHECK(web.timeouts.connect_ms == 250);
  CHECK(web.timeouts.first_byte_ms == 11000);
  CHECK(web.timeouts.idle_ms == 12000);
  CHECK(web.timeouts.request_ms == 3600000);
  CHECK(web.timeouts.client_header_ms == 13000);
  CHECK(web.timeouts.client_idle_ms == 14000);
  CHECK(web.timeouts.client_body_ms == 15000);
  CHECK(web.retry.max == 2);
  CHECK(web.retry.budget == 0.5);
  CHECK((!web.retry.on_connect && web.retry.on_reset));
  CHECK(web.retry.on_status == std::vector<uint16_t>{502, 504});
  CHECK(web.limits.header_bytes == 65536);
  CHECK(web.limits.headers == 50);
  CHECK(web.limits.uri_bytes == 4096);
  CHECK(web.limits.body_bytes == 8ULL << 30);
  CHECK(web.trip.enabled == false);
  CHECK((web.trip.on_5xx && !web.trip.on_connect && !web.trip.on_reset && web.trip.on_timeout));
  CHECK(web.trip.slow_ms == 2000);
  CHECK(web.trip.false_trip_rate == 0.001);
  CHECK(web.trip.max_error_rate == 0.05);
  CHECK(web.trip.window_ms == 20000);
  CHECK(web.trip.min_requests == 30);
}

TEST_CASE("every key of an upstream and its checks reaches its member") {
  const Config config = parse_valid(kFullConfig);
  const Service& web = config.services.at("web");
  const Upstream& blue = web.upstream(Colour::blue);
  REQUIRE(blue.endpoints.size() == 3);
  CHECK(blue.endpoints[1] == Endpoint{{Address::Kind::dns, "app-blue.svc", 8080}, 2});
  CHECK(blue.balance == Balance::round_robin);
  CHECK(blue.max_connections == 40);
  CHECK(blue.max_queue == 7);
  CHECK(blue.queue_timeout_ms == 1000);
  CHECK(blue.tls == TlsClient{"/etc/up.pem", "app.internal", "/etc/c.pem", "/etc/c.key", false});
  CHECK(web.has_green);
  CHECK(web.upstream(Colour::green).balance == Balance::random);
  CHECK(!web.upstream(Colour::green).tls);
  const Health& health = web.health;
  CHECK((health.enabled && health.tcp));
  CHECK(health.path == "/health");
  CHECK(health.host == "app");
  CHECK(health.interval_ms == 3000);
  CHECK(health.timeout_ms == 500);
  CHECK(health.rise == 4);
  CHECK(health.fall == 5);
  CHECK(health.status == std::vector<std::pair<uint16_t, uint16_t>>{{200, 299}, {301, 301}});
  CHECK(health.body == "ok");
  const Outlier& outlier = web.outlier;
  CHECK((outlier.enabled && outlier.consecutive == 6 && outlier.eject_ms == 10000));
  CHECK((outlier.max_eject_ms == 20000 && outlier.max_ejected_percent == 30 && outlier.panic_percent == 20));
  const Rollout& rollout = web.rollout;
  CHECK(rollout.enabled);
  CHECK(rollout.steps == std::vector<BasisPoints>{1, 1000, 10000});
  CHECK((rollout.hold_ms == 60000 && rollout.min_requests == 10 && rollout.max_latency_ratio == 2));
  CHECK((rollout.margin == 0.02 && !rollout.auto_promote));
  CHECK((rollout.deadline_ms == 3600000 && rollout.return_ms == 30000));
  CHECK(rollout.webhook == "http://127.0.0.1:9800/hook");
  CHECK(rollout.webhook_secret == "hush");
  CHECK(rollout.webhook_ca == "/etc/hooks.pem");
  CHECK(rollout.gate == "http://gate.example.com/");
}

TEST_CASE("health.status takes a code, a class, or an array of both") {
  using Ranges = std::vector<std::pair<uint16_t, uint16_t>>;
  const auto status = [](const std::string& text) {
    return parse_valid(kSmallConfig + ("[service.web.health]\nstatus = " + text))
        .services.at("web")
        .health.status;
  };
  CHECK(status("200") == Ranges{{200, 200}});
  CHECK(status("[200]") == Ranges{{200, 200}});
  CHECK(status("[200, 204]") == Ranges{{200, 200}, {204, 204}});
  CHECK(status("\"2xx\"") == Ranges{{200, 299}});
  CHECK(status("[\"2xx\", 301]") == Ranges{{200, 299}, {301, 301}});
}

TEST_CASE("sticky and override take the forms of the contract") {
  const auto service = [](const std::string& line) {
    return parse_valid("[[listener]]\nbind = \"127.0.0.1:1\"\n[service.web]\n" + line +
                       "\n[service.web.blue]\nendpoints = [\"127.0.0.1:2\"]\n")
        .services.at("web");
  };
  CHECK(service("sticky = \"none\"").sticky == Sticky{});
  CHECK(service("sticky = \"client-ip\"").sticky == Sticky{Sticky::Kind::client_ip, ""});
  CHECK(service("sticky = \"header:X-User\"").sticky == Sticky{Sticky::Kind::header, "x-user"});
  CHECK(service("sticky = \"cookie:sid\"").sticky == Sticky{Sticky::Kind::cookie, "sid"});
  CHECK(service("override = \"header:X-Up\"").override_header == "x-up");
  CHECK(service("override = \"off\"").override_header.empty());
}

TEST_CASE("tls on a listener may be one table") {
  const Config config = parse_valid(
      "[[listener]]\nbind = \"127.0.0.1:1\"\ntls = { cert = \"a\", key = \"b\" }\n"
      "[service.web.blue]\nendpoints = [\"127.0.0.1:2\"]\n");
  CHECK(config.listeners[0].tls == TlsServer{{{"a", "b", ""}}, "", true, "1.2"});
}

TEST_CASE("an empty tls table towards endpoints turns TLS on") {
  const Config config = parse_valid(std::string(kSmallConfig) + "tls = {}\n");
  CHECK(config.services.at("web").upstream(Colour::blue).tls == TlsClient{});
}

TEST_CASE("the last step of a rollout may be below 100") {
  const Config config = parse_valid(std::string(kSmallConfig) +
                                    "[service.web.green]\nendpoints = [\"127.0.0.1:9002\"]\n"
                                    "[service.web.rollout]\nsteps = [5]\n");
  CHECK(config.services.at("web").rollout.steps == std::vector<BasisPoints>{500});
}

TEST_CASE("several listeners may each take any free port") {
  const Config config = parse_valid(
      "[[listener]]\nbind = \"127.0.0.1:0\"\n[[listener]]\nbind = \"127.0.0.1:0\"\n"
      "[service.web.blue]\nendpoints = [\"127.0.0.1:2\"]\n");
  CHECK(config.listeners.size() == 2);
}

TEST_CASE("parse_file reads a file and names it") {
  const Folder folder;
  const std::string path = folder.file("sluice.toml");
  write_file(path, kSmallConfig);
  const ParseOutcome outcome = parse_file(path);
  REQUIRE(outcome.ok());
  CHECK(outcome.config->file == path);
  CHECK(outcome.to_string().empty());
}

TEST_CASE("the admin socket is found beside errors elsewhere") {
  const std::string admin = "[admin]\nsocket = \"/run/s.sock\"\n";
  CHECK(parse(admin + kSmallConfig, "f").admin_socket == "/run/s.sock");
  const std::string unknown_key = admin + "[log]\nlevle = \"info\"\n";
  const std::string bad_syntax = admin + "[log]\nlevel = info\n" + kSmallConfig;
  const std::string bad_line_above = "[log]\nlevel = info\n" + admin + kSmallConfig;
  const std::string bad_heading = admin + "[log]\n[log]\n" + kSmallConfig;
  const std::string incomplete = admin + "[service.web]\nsplit = 5\n";
  for (const std::string& spoilt : {unknown_key, bad_syntax, bad_line_above, bad_heading, incomplete}) {
    const ParseOutcome outcome = parse(spoilt, "f");
    CHECK_FALSE(outcome.ok());
    CHECK(outcome.admin_socket == "/run/s.sock");
  }
  CHECK(parse("[admin]\nsocket = 5\n", "f").admin_socket.empty());
  CHECK(parse("[admin\nsocket = \"/run/s.sock\"\n", "f").admin_socket.empty());
}

TEST_CASE("a file that cannot be read is one line") {
  const Folder folder;
  const std::string absent = folder.file("absent.toml");
  CHECK(parse_file(absent).to_string() ==
        absent + ":1:1: error: the file cannot be opened: No such file or directory");
  const std::string directory = folder.file("directory");
  std::filesystem::create_directory(directory);
  CHECK(parse_file(directory).to_string() ==
        directory + ":1:1: error: the file cannot be read: Is a directory");
}

TEST_CASE("a pipe is read by who may wait, and refused by who may not") {
  const Folder folder;
  const std::string path = folder.file("pipe");
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
  CHECK(parse_file(path, Patience::regular_files).to_string() ==
        path + ":1:1: error: this is no regular file, which a running process does not wait for");
  std::thread writer([&] { write_file(path, kSmallConfig); });
  CHECK(parse_file(path).ok());
  writer.join();
}

TEST_CASE("a file of more than 16 MiB is one line") {
  const Folder folder;
  const std::string path = folder.file("large.toml");
  write_file(path, "# " + std::string(kMaxFileBytes, 'x'));
  CHECK(parse_file(path).to_string() ==
        path + ":1:1: error: the file is larger than 16 MiB, which no configuration should be");
}
