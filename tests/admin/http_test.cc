#include "admin/http.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <utility>

#include "admin/http_pages.h"
#include "fixtures.h"

namespace sluice::admin::test {
namespace {

// A client whose reads never wait: the server lives in the same thread.
class HttpClient {
 public:
  // Of a server at a unix socket.
  explicit HttpClient(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(path.size() < sizeof(address.sun_path));
    path.copy(address.sun_path, path.size());
    REQUIRE(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  }
  explicit HttpClient(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    REQUIRE(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  }
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient() { close(fd_); }

  void send(const std::string& text) const {
    REQUIRE(::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
  }
  // Takes what is there; false once the server has closed.
  bool read() {
    char buffer[4096];
    ssize_t size = 0;
    while ((size = recv(fd_, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
      received_.append(buffer, static_cast<size_t>(size));
    return size < 0 && (errno == EAGAIN || errno == EINTR);
  }
  const std::string& received() const { return received_; }

 private:
  const int fd_;
  std::string received_;
};

class HttpFixture {
 public:
  HttpFixture() : http_(proxy.server.context(), proxy.server.history()) {
    const conf::Status started = http_.start({conf::Address::Kind::inet, "127.0.0.1", 0});
    REQUIRE(started.ok());
  }
  ~HttpFixture() { proxy.end(); }  // while the server is still there

  uint16_t port() const { return http_.address().port; }

  std::string exchange(const std::string& request) {
    HttpClient client(port());
    client.send(request);
    proxy.run_until([&] { return !client.read(); });
    return client.received();
  }
  std::string get(const std::string& target, const std::string& fields = "Host: localhost\r\n") {
    return exchange("GET " + target + " HTTP/1.1\r\n" + fields + "Connection: close\r\n\r\n");
  }

  TestProxy proxy;

 private:
  HttpServer http_;
};

TEST_CASE("http: localhost and addresses are hosts that may be asked for, other names are not") {
  for (const char* const host : {"", "localhost", "LOCALHOST:9901", "127.0.0.1", "127.0.0.1:9901", "[::1]",
                                 "[::1]:9901", "10.1.2.3:80"}) {
    INFO(host);
    CHECK(is_safe_host(host, {}));
  }
  for (const char* const host : {"evil.example", "evil.example:9901", "localhost.evil.example",
                                 "127.0.0.1.evil.example", "[::1", "[evil]", "127.0.0.1evil", "0x7f.1"}) {
    INFO(host);
    CHECK(!is_safe_host(host, {}));
  }
}

TEST_CASE("http: names in http_hosts may be asked for, and only those") {
  const std::vector<std::string> names{"proxy.internal", "other"};
  CHECK(is_safe_host("Proxy.Internal:9901", names));
  CHECK(is_safe_host("other", names));
  CHECK(!is_safe_host("a.proxy.internal", names));
  CHECK(!is_safe_host("proxy.internal.evil.example", names));
}

TEST_CASE("http: the dashboard comes whole from here, under a strict policy") {
  HttpFixture http;
  const std::string page = http.get("/");
  CHECK(page.find("Content-Type: text/html; charset=utf-8") != std::string::npos);
  CHECK(page.find("default-src 'none'; script-src 'self'; style-src 'self'") != std::string::npos);
  CHECK(page.find("unsafe") == std::string::npos);
  // Nothing inline, nothing from elsewhere.
  for (const char* const never : {"<style", "style=", "onclick", "<script>", "https://", "http://"}) {
    INFO(never);
    CHECK(page.find(never) == std::string::npos);
  }
  for (const char* const part :
       {"dashboard.js", "panels.js", "charts.js", "format.js", "dashboard.css", "favicon.svg"}) {
    INFO(part);
    CHECK(http.get(std::string("/") + part).starts_with("HTTP/1.1 200 "));
  }
}

TEST_CASE("http: what another site's page asks for is refused, a followed link is not") {
  HttpFixture http;
  const std::string host = "Host: localhost\r\n";
  CHECK(http.get("/health", host + "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n")
            .starts_with("HTTP/1.1 403 "));
  CHECK(http.get("/health", host + "Sec-Fetch-Site: same-site\r\n").starts_with("HTTP/1.1 403 "));
  CHECK(http.get("/", host + "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n")
            .starts_with("HTTP/1.1 200 "));
  CHECK(http.get("/health", host + "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n")
            .starts_with("HTTP/1.1 200 "));
}

TEST_CASE("http: the stream begins with the history and the state, and tells events as they happen") {
  HttpFixture http;
  HttpClient client(http.port());
  client.send("GET /stream?service=web HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const auto has = [&](const char* text) { return client.received().find(text) != std::string::npos; };
  http.proxy.run_until([&] { return client.read() && has("event: state\n"); });
  CHECK(has("Content-Type: text/event-stream"));
  CHECK(has("event: history\ndata: {\"service\":\"web\""));
  CHECK(has("\"split\":[{\"service\":\"web\""));
  CHECK(!has("\"split\":[{\"service\":\"plain\""));
  http.proxy.ask("set weight web green=12.5");
  http.proxy.run_until([&] { return client.read() && has("event: event\n"); });
  CHECK(has("\"type\":\"split_changed\""));
  CHECK(http.get("/stream?service=nobody").starts_with("HTTP/1.1 404 "));
  CHECK(http.exchange("HEAD /stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .starts_with("HTTP/1.1 200 "));
}

TEST_CASE("http: streams are bounded, and one that ends makes room") {
  HttpFixture http;
  std::vector<std::unique_ptr<HttpClient>> clients;
  const std::string request = "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
  for (size_t i = 0; i < HttpServer::kMostStreams; ++i) {
    clients.push_back(std::make_unique<HttpClient>(http.port()));
    clients.back()->send(request);
    http.proxy.run_until([&] { return clients.back()->read() && !clients.back()->received().empty(); });
    CHECK(clients.back()->received().starts_with("HTTP/1.1 200 "));
  }
  CHECK(http.exchange(request).starts_with("HTTP/1.1 503 "));
  clients.pop_back();
  // The end is seen in one of the next turns.
  bool admitted = false;
  for (int i = 0; i < 1000 && !admitted; ++i) {
    HttpClient another(http.port());
    another.send(request);
    http.proxy.run_until([&] { return !another.read() || !another.received().empty(); });
    admitted = another.received().starts_with("HTTP/1.1 200 ");
  }
  CHECK(admitted);
}

TEST_CASE("http: metrics.json and health have the windows and the promises") {
  HttpFixture http;
  const auto metrics = nlohmann::json::parse(page_for(http.proxy.server.context(), "/metrics.json", "").body);
  CHECK(metrics["latency"].size() == 15);
  CHECK(metrics["slo"].size() == 6);
  CHECK(metrics["metrics"].is_array());
  const auto health = nlohmann::json::parse(page_for(http.proxy.server.context(), "/health", "").body);
  REQUIRE(health["slo"].size() == 6);
  CHECK(health["slo"][0]["window"] == "5m");
  CHECK(health["slo"][0]["availability"] == 1.0);
  CHECK(health["slo"][0]["promised_availability"] == 0.999);
}

TEST_CASE("http: probes answer 200 while all is well") {
  HttpFixture http;
  CHECK(http.get("/live").starts_with("HTTP/1.1 200 "));
  CHECK(http.get("/ready").starts_with("HTTP/1.1 200 "));
  CHECK(http.get("/ready?verbose").starts_with("HTTP/1.1 200 "));
  CHECK(http.get("/").find("text/html") != std::string::npos);
  CHECK(http.get("/nothing").starts_with("HTTP/1.1 404 "));
}

TEST_CASE("http: ready is 503 without an endpoint and while draining") {
  HttpFixture http;
  http.proxy.ask("set endpoint plain/blue/127.0.0.1:11 maint");
  CHECK(http.get("/ready").starts_with("HTTP/1.1 503 "));
  CHECK(http.get("/live").starts_with("HTTP/1.1 200 "));
  const HttpPage health = page_for(http.proxy.server.context(), "/health", "");
  const auto report = nlohmann::json::parse(health.body);
  CHECK(report["status"] == "failing");
  CHECK(report["checks"]["plain"]["status"] == "failing");
  CHECK(report["checks"]["web/blue"]["status"] == "ok");
  http.proxy.control.drain({"test", ""});
  CHECK(page_for(http.proxy.server.context(), "/ready", "").status == 503);
  CHECK(nlohmann::json::parse(page_for(http.proxy.server.context(), "/health", "").body)["status"] ==
        "draining");
}

TEST_CASE("http: health has status, version, uptime and every check by its name") {
  HttpFixture http;
  const auto report = nlohmann::json::parse(page_for(http.proxy.server.context(), "/health", "").body);
  CHECK(report["status"] == "ok");
  CHECK(report["version"] == "1.2.3");
  CHECK(report["uptime_s"].is_number());
  for (const char* const name : {"sluice/process", "web", "web/blue", "web/green", "plain", "plain/blue"}) {
    INFO(name);
    CHECK(report["checks"][name]["status"] == "ok");
  }
}

TEST_CASE("http: no service's name hides the check of the process") {
  std::string text = kTwoServices;
  for (const std::string from : {"service = \"plain\"", "[service.plain.blue]"}) {
    std::string to = from;
    text.replace(text.find(from), from.size(), to.replace(to.find("plain"), 5, "process"));
  }
  TestProxy proxy(text);
  proxy.ask("set endpoint process/blue/127.0.0.1:11 maint");
  const auto checks = nlohmann::json::parse(page_for(proxy.server.context(), "/health", "").body)["checks"];
  CHECK(checks["sluice/process"] == nlohmann::json({{"status", "ok"}, {"state", "running"}}));
  CHECK(checks["process"]["status"] == "failing");
  CHECK(checks["process/blue"]["usable"] == 0);
}

TEST_CASE("http: metrics come in the form that was asked for") {
  HttpFixture http;
  CHECK(http.get("/metrics").find("Content-Type: text/plain; version=0.0.4") != std::string::npos);
  const std::string open =
      http.get("/metrics", "Host: localhost\r\nAccept: application/openmetrics-text; version=1.0.0\r\n");
  CHECK(open.find("Content-Type: application/openmetrics-text") != std::string::npos);
  CHECK(open.ends_with("# EOF\n"));
  CHECK(http.get("/metrics.json").find("Content-Type: application/json") != std::string::npos);
}

TEST_CASE("http: HEAD has the fields of GET and no body") {
  HttpFixture http;
  const std::string reply =
      http.exchange("HEAD /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  CHECK(reply.find("Content-Length: 5\r\n") != std::string::npos);
  CHECK(reply.ends_with("\r\n\r\n"));
}

TEST_CASE("http: nothing but GET and HEAD is answered, and no name but localhost") {
  HttpFixture http;
  for (const char* const method : {"POST", "PUT", "DELETE", "PATCH", "OPTIONS"}) {
    const std::string reply = http.exchange(
        std::string(method) + " /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    CHECK(reply.starts_with("HTTP/1.1 405 "));
    CHECK(reply.find("Allow: GET, HEAD\r\n") != std::string::npos);
  }
  CHECK(http.get("/metrics", "Host: evil.example\r\n").starts_with("HTTP/1.1 421 "));
  CHECK(http.exchange("POST /live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")
            .starts_with("HTTP/1.1 413 "));
  CHECK(http.exchange("POST /live HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
            .starts_with("HTTP/1.1 413 "));
}

TEST_CASE("http: malformed requests are refused and the connection ends") {
  HttpFixture http;
  CHECK(http.exchange("GET /live HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 400 "));
  CHECK(http.exchange("nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
  CHECK(http.exchange("GET /live HTTP/1.1\nHost: localhost\n\n").starts_with("HTTP/1.1 400 "));
  CHECK(http.exchange("GET /" + std::string(2000, 'x') + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .starts_with("HTTP/1.1 414 "));
  CHECK(http.exchange("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(9000, 'x') + "\r\n\r\n")
            .starts_with("HTTP/1.1 431 "));
}

TEST_CASE("http: what refuses a HEAD has no body, however malformed the request is") {
  HttpFixture http;
  for (const auto& [request, status] : std::initializer_list<std::pair<std::string, const char*>>{
           {"HEAD /live HTTP/1.1\r\n\r\n", "400"},
           {"HEAD /live HTTP/1.1\nHost: localhost\n\n", "400"},
           {"HEAD /live HTTP/1.1\r\nHost: localhost\r\nbad field\r\n\r\n", "400"},
           {"HEAD /live HTTP/9.9\r\nHost: localhost\r\n\r\n", "505"},
           {"HEAD /" + std::string(2000, 'x') + " HTTP/1.1\r\nHost: localhost\r\n\r\n", "414"},
           {"HEAD /live HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(9000, 'x') + "\r\n\r\n", "431"},
           {"HEAD /live HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", "421"},
           {"HEAD /live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", "413"}}) {
    const std::string reply = http.exchange(request);
    INFO(request.substr(0, 80));
    INFO(reply);
    CHECK(reply.starts_with(std::string("HTTP/1.1 ") + status + " "));
    CHECK(reply.find("\r\nContent-Length: 0\r\n") == std::string::npos);
    CHECK(reply.ends_with("\r\n\r\n"));
  }
}

TEST_CASE("http: pipelined requests are answered in order") {
  HttpFixture http;
  const std::string reply = http.exchange(
      "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\nGET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
      "GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  const size_t live = reply.find("live\n");
  const size_t ready = reply.find("ready\n");
  const size_t missing = reply.find("404 ");
  REQUIRE(live != std::string::npos);
  REQUIRE(ready != std::string::npos);
  REQUIRE(missing != std::string::npos);
  CHECK(live < ready);
  CHECK(ready < reply.rfind("404 "));
}

// On a unix socket what a client has sent is there at once, and so is what it
// is answered: which of two is answered first is up to the server alone.
class TurnsFixture {
 public:
  TurnsFixture() : http_(proxy_.server.context(), proxy_.server.history()) {
    REQUIRE(mkdtemp(folder_.data()) != nullptr);
    const conf::Status started = http_.start({conf::Address::Kind::unix_socket, folder_ + "/http", 0});
    REQUIRE(started.ok());
  }
  ~TurnsFixture() {
    proxy_.end();
    std::filesystem::remove_all(folder_);
  }

  std::string path() const { return folder_ + "/http"; }
  void turn() { uv_run(proxy_.control.loop().uv(), UV_RUN_ONCE); }

 private:
  std::string folder_ = std::filesystem::temp_directory_path() / "http_test_XXXXXX";
  TestProxy proxy_;
  HttpServer http_;
};

std::string pipelined(size_t count, const std::string& target) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
  return text;
}

size_t answers(const HttpClient& client) {
  constexpr std::string_view kStatus = "HTTP/1.1 200 ";
  size_t count = 0;
  for (size_t at = 0; (at = client.received().find(kStatus, at)) != std::string::npos; at += kStatus.size())
    ++count;
  return count;
}

TEST_CASE("http: a client that asks ahead is answered one page in each turn of the loop") {
  constexpr size_t kPages = 100;
  TurnsFixture server;
  HttpClient greedy(server.path());
  greedy.send(pipelined(kPages, "/metrics"));
  for (size_t before = 0; before < kPages;) {
    server.turn();
    REQUIRE(greedy.read());
    const size_t now = answers(greedy);
    REQUIRE(now <= before + 1);
    before = now;
  }
}

TEST_CASE("http: clients that ask ahead take turns") {
  constexpr size_t kPages = 200;
  TurnsFixture server;
  HttpClient one(server.path());
  HttpClient other(server.path());
  one.send(pipelined(kPages, "/live"));
  other.send(pipelined(kPages, "/live"));
  while (answers(one) + answers(other) < 2 * kPages) {
    server.turn();
    REQUIRE(one.read());
    REQUIRE(other.read());
    REQUIRE(answers(one) <= answers(other) + 1);
    REQUIRE(answers(other) <= answers(one) + 1);
  }
}

TEST_CASE("http: a client that asks for one page is answered before those of one that asks ahead") {
  constexpr size_t kPages = 500;
  TurnsFixture server;
  HttpClient greedy(server.path());
  HttpClient modest(server.path());
  greedy.send(pipelined(kPages, "/live"));
  modest.send(pipelined(1, "/live"));
  while (answers(modest) == 0) {
    server.turn();
    REQUIRE(greedy.read());
    REQUIRE(modest.read());
  }
  CHECK(answers(greedy) <= 2);
  while (answers(greedy) < kPages) {
    server.turn();
    REQUIRE(greedy.read());
  }
}

TEST_CASE("http: a probe does not wait for the pages of all others, nor they for probes without end") {
  constexpr size_t kOthers = 50;
  TurnsFixture server;
  std::vector<std::unique_ptr<HttpClient>> others;
  for (size_t i = 0; i < kOthers; ++i) {
    others.push_back(std::make_unique<HttpClient>(server.path()));
    others.back()->send(pipelined(20, "/metrics.json"));
  }
  const auto pages = [&others] {
    size_t sum = 0;
    for (const auto& one : others) {
      REQUIRE(one->read());
      sum += answers(*one);
    }
    return sum;
  };
  while (pages() == 0) server.turn();

  constexpr size_t kProbes = 100;
  std::vector<std::unique_ptr<HttpClient>> probes;
  for (size_t i = 0; i < kOthers; ++i) {
    probes.push_back(std::make_unique<HttpClient>(server.path()));
    probes.back()->send(pipelined(kProbes, "/live"));
  }
  HttpClient& probe = *probes.back();
  const size_t before = pages();
  while (answers(probe) == 0) {
    server.turn();
    REQUIRE(probe.read());
  }
  CHECK(pages() <= before + 3);

  while (answers(probe) < kProbes) {
    server.turn();
    REQUIRE(probe.read());
  }
  const size_t meanwhile = pages() - before;
  CHECK(meanwhile >= kProbes - 2);
  CHECK(meanwhile <= kProbes + 3);
}

TEST_CASE("http: what a client sends while it waits for its turn is answered too") {
  TurnsFixture server;
  HttpClient client(server.path());
  client.send(pipelined(3, "/live") + "GET /live HTT");
  while (answers(client) < 2) {
    server.turn();
    REQUIRE(client.read());
  }
  client.send("P/1.1\r\nHost: localhost\r\n\r\n" + pipelined(2, "/live") +
              "GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  while (client.read()) server.turn();
  CHECK(answers(client) == 7);
}

TEST_CASE("http: a client that leaves while it waits for its turn is forgotten") {
  TurnsFixture server;
  {
    HttpClient greedy(server.path());
    greedy.send(pipelined(50, "/live"));
    while (answers(greedy) == 0) {
      server.turn();
      REQUIRE(greedy.read());
    }
  }
  HttpClient another(server.path());
  another.send(pipelined(1, "/live"));
  while (answers(another) == 0) {
    server.turn();
    REQUIRE(another.read());
  }
}

}  // namespace
}  // namespace sluice::admin::test
