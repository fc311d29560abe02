#include "admin/http.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "admin/http_pages.h"
#include "fixtures.h"

namespace sluice::admin::test {
namespace {

// Sends `request` to the server and reads until it closes the connection.
class HttpFixture {
 public:
  HttpFixture() : http_(proxy.control) {
    const conf::Status started = http_.start({conf::Address::Kind::inet, "127.0.0.1", 0});
    REQUIRE(started.ok());
  }
  ~HttpFixture() { proxy.end(); }  // while the server is still there

  std::string exchange(const std::string& request) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(http_.address().port);
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    REQUIRE(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(send(fd, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size()));
    std::string reply;
    bool open = true;
    proxy.run_until([&] {
      char buffer[4096];
      ssize_t size = 0;
      while ((size = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
        reply.append(buffer, static_cast<size_t>(size));
      if (size == 0 || (errno != EAGAIN && errno != EINTR)) open = false;
      return !open;
    });
    close(fd);
    return reply;
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
    CHECK(is_safe_host(host));
  }
  for (const char* const host : {"evil.example", "evil.example:9901", "localhost.evil.example",
                                 "127.0.0.1.evil.example", "[::1", "[evil]", "127.0.0.1evil", "0x7f.1"}) {
    INFO(host);
    CHECK(!is_safe_host(host));
  }
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
  const HttpPage health = page_for(http.proxy.control, "/health", "");
  const auto report = nlohmann::json::parse(health.body);
  CHECK(report["status"] == "failing");
  CHECK(report["checks"]["plain"]["status"] == "failing");
  CHECK(report["checks"]["web/blue"]["status"] == "ok");
  http.proxy.control.drain({"test", ""});
  CHECK(page_for(http.proxy.control, "/ready", "").status == 503);
  CHECK(nlohmann::json::parse(page_for(http.proxy.control, "/health", "").body)["status"] == "draining");
}

TEST_CASE("http: health has status, version, uptime and every check by its name") {
  HttpFixture http;
  const auto report = nlohmann::json::parse(page_for(http.proxy.control, "/health", "").body);
  CHECK(report["status"] == "ok");
  CHECK(report["version"] == "1.2.3");
  CHECK(report["uptime_s"].is_number());
  for (const char* const name : {"process", "web", "web/blue", "web/green", "plain", "plain/blue"}) {
    INFO(name);
    CHECK(report["checks"][name]["status"] == "ok");
  }
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

}  // namespace
}  // namespace sluice::admin::test
