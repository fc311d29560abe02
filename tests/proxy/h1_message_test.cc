#include "proxy/h1_message.h"

#include <catch2/catch.hpp>
#include <string>

using namespace sluice::proxy;

namespace {

// A parsed request with the memory that it points into.
struct Request {
  std::string text;
  RequestHead head;
  H1Persistence persistence;
  const Problem* problem = nullptr;

  explicit Request(std::string the_text) : text(std::move(the_text)) {
    problem = parse_request({text.data(), text.size()}, text.find("\r\n"), head, persistence);
  }
  int status() const { return problem == nullptr ? 0 : problem->status; }
};

int refused(const std::string& line, const std::string& fields = "Host: a\r\n") {
  return Request(line + "\r\n" + fields + "\r\n").status();
}

struct Response {
  std::string text;
  ResponseHead head;
  H1Persistence persistence;
  const Problem* problem = nullptr;

  explicit Response(std::string the_text, ResponseContext context = {}) : text(std::move(the_text)) {
    problem = parse_response({text.data(), text.size()}, text.find("\r\n"), context, head, persistence);
  }
};

}  // namespace

TEST_CASE("h1_message: a request line is a token, a target and a version") {
  const Request request("GET /a?b=c HTTP/1.1\r\nHost: example.org:81\r\n\r\n");
  REQUIRE(request.problem == nullptr);
  CHECK(request.head.method == Method::get);
  CHECK(request.head.target == "/a?b=c");
  CHECK(request.head.path() == "/a");
  CHECK(request.head.authority == "example.org:81");
  CHECK(request.head.body == BodyKind::none);
  CHECK(request.persistence.keep_alive);

  CHECK(Request("BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n").head.method == Method::other);
  CHECK(Request("get / HTTP/1.1\r\nHost: a\r\n\r\n").head.method == Method::other);
  CHECK(refused("GET  / HTTP/1.1") == 400);
  CHECK(refused("GET /  HTTP/1.1") == 400);
  CHECK(refused("GET / HTTP/1.1 ") == 400);
  CHECK(refused(" GET / HTTP/1.1") == 400);
  CHECK(refused("GET /") == 400);
  CHECK(refused("GET") == 400);
  CHECK(refused("G(T / HTTP/1.1") == 400);
  CHECK(refused("GET / HTTP/1.1x") == 400);
  CHECK(refused("GET / http/1.1") == 400);
  CHECK(refused("GET / HTTP/2.0") == 505);
  CHECK(refused("GET / HTTP/0.9") == 505);
  CHECK(refused("GET /a#b HTTP/1.1") == 400);
  CHECK(refused("GET /\xc3\xa4 HTTP/1.1") == 400);
  CHECK(refused("GET a HTTP/1.1") == 400);
  CHECK(refused("GET * HTTP/1.1") == 400);
  CHECK(refused("OPTIONS * HTTP/1.1") == 0);
  CHECK(refused("CONNECT a:1 HTTP/1.1") == 405);
  CHECK(refused("TRACE / HTTP/1.1") == 405);
}

TEST_CASE("h1_message: an absolute target replaces Host") {
  const Request full("GET http://b.org:8080/x?y HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n");
  REQUIRE(full.problem == nullptr);
  CHECK(full.head.authority == "b.org:8080");
  CHECK(full.head.target == "/x?y");
  CHECK(full.head.fields.find(FieldId::host) == nullptr);
  CHECK(Request("GET http://b HTTP/1.1\r\nHost: a\r\n\r\n").head.target == "/");
  CHECK(Request("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n").head.target == "*");
  const Request query("GET HTTPS://b.org?y=1 HTTP/1.1\r\nHost: a\r\n\r\n");
  REQUIRE(query.problem == nullptr);
  CHECK(query.head.authority == "b.org");
  CHECK(query.head.target == "/?y=1");
  CHECK(refused("GET ftp://b/ HTTP/1.1") == 400);
  CHECK(refused("GET http:/// HTTP/1.1") == 400);
  CHECK(refused("GET http://user@b/ HTTP/1.1") == 400);
  CHECK(refused("GET http://b/ HTTP/1.1", "") == 400);  // Host is needed all the same
}

TEST_CASE("h1_message: exactly one well-formed Host") {
  CHECK(refused("GET / HTTP/1.1", "") == 400);
  CHECK(refused("GET / HTTP/1.0", "") == 0);
  CHECK(refused("GET / HTTP/1.1", "Host: a\r\nHost: a\r\n") == 400);
  CHECK(refused("GET / HTTP/1.1", "Host:\r\n") == 400);
  for (const char* good : {"a", "a.b-c_d~e", "a:80", "a:", "127.0.0.1", "[::1]", "[::1]:8080", "%41"}) {
    CAPTURE(good);
    CHECK(is_authority(good));
  }
  for (const char* bad : {"", ":80", "a:b", "a:65536", "a b", "a/b", "a,b", "u@a", "[::1", "[]", "[::1]x",
                          "[g::]", "%4", "%zz", "a:1:2", "a\"b", "[::1]:99999"}) {
    CAPTURE(bad);
    CHECK_FALSE(is_authority(bad));
  }
}

TEST_CASE("h1_message: who keeps the connection") {
  const auto keeps = [](const std::string& version, const std::string& fields) {
    return Request("GET / HTTP/" + version + "\r\nHost: a\r\n" + fields + "\r\n").persistence.keep_alive;
  };
  CHECK(keeps("1.1", ""));
  CHECK_FALSE(keeps("1.1", "Connection: Close\r\n"));
  CHECK_FALSE(keeps("1.1", "Connection: x, close\r\n"));
  CHECK_FALSE(keeps("1.0", ""));
  CHECK(keeps("1.0", "Connection: Keep-Alive\r\n"));
  CHECK_FALSE(keeps("1.0", "Connection: keep-alive, close\r\n"));
}

TEST_CASE("h1_message: expectations") {
  const auto expects = [](const std::string& version, const std::string& fields) {
    return Request("PUT / HTTP/" + version + "\r\nHost: a\r\n" + fields + "\r\n").head.expects_continue;
  };
  CHECK(expects("1.1", "Expect: 100-Continue\r\nContent-Length: 1\r\n"));
  CHECK(expects("1.1", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"));
  CHECK_FALSE(expects("1.1", "Expect: 100-continue\r\n"));
  CHECK_FALSE(expects("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n"));
  CHECK_FALSE(expects("1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n"));
  CHECK(refused("PUT / HTTP/1.1", "Host: a\r\nExpect: tea\r\n") == 417);
}

TEST_CASE("h1_message: a switch of protocols is offered only where a tunnel is harmless") {
  const auto offered = [](const std::string& fields) {
    return std::string(Request("GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n").head.upgrade);
  };
  CHECK(offered("Connection: Upgrade\r\nUpgrade: websocket\r\n") == "websocket");
  CHECK(offered("Upgrade: websocket\r\n").empty());
  CHECK(offered("Connection: Upgrade\r\nUpgrade: h2c\r\n").empty());
  CHECK(offered("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n").empty());
  CHECK(offered("Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n").empty());
  CHECK(offered("Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: x\r\n").empty());
  CHECK(offered("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n").empty());
}

TEST_CASE("h1_message: Max-Forwards is understood for OPTIONS") {
  CHECK(Request("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n").head.max_forwards == 3);
  CHECK(Request("GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n").head.max_forwards == ~0U);
  CHECK(refused("OPTIONS / HTTP/1.1", "Host: a\r\nMax-Forwards: x\r\n") == 400);
}

TEST_CASE("h1_message: a status line is strict but for its last space") {
  const Response response("HTTP/1.1 404 Not  Found\r\nContent-Length: 3\r\n\r\n");
  REQUIRE(response.problem == nullptr);
  CHECK(response.head.status == 404);
  CHECK(response.head.reason == "Not  Found");
  CHECK(response.head.content_length == 3);
  CHECK(Response("HTTP/1.0 200\r\n\r\n").problem == nullptr);
  CHECK(Response("HTTP/1.1 200 \r\n\r\n").problem == nullptr);
  for (const char* bad :
       {"HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1  200 OK", "HTTP/2.0 200 OK", "http/1.1 200 OK",
        "HTTP/1.1 099 OK", "HTTP/1.1 600 OK", "HTTP/1.1 2x0 OK", "ICY 200 OK", "HTTP/1.1 200OK"}) {
    CAPTURE(bad);
    const Response refused_response(std::string(bad) + "\r\n\r\n");
    REQUIRE(refused_response.problem != nullptr);
    CHECK(refused_response.problem->status == 502);
  }
}

TEST_CASE("h1_message: which responses have a body, and how it ends") {
  const auto body = [](const std::string& status, const std::string& fields, Method method = Method::get) {
    const Response response("HTTP/1.1 " + status + " X\r\n" + fields + "\r\n", {method, {}});
    REQUIRE(response.problem == nullptr);
    return response.head.body;
  };
  const std::string length = "Content-Length: 5\r\n";
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  CHECK(body("200", length) == BodyKind::length);
  CHECK(body("200", chunked) == BodyKind::open_ended);
  CHECK(body("200", "") == BodyKind::until_close);
  CHECK(body("200", length, Method::head) == BodyKind::none);
  CHECK(body("200", chunked, Method::head) == BodyKind::none);
  CHECK(body("304", length) == BodyKind::none);
  CHECK(body("204", "") == BodyKind::none);
  CHECK(body("100", "") == BodyKind::none);
  CHECK(Response("HTTP/1.1 200 X\r\n" + length + chunked + "\r\n").problem != nullptr);
  CHECK(Response("HTTP/1.1 200 X\r\n" + length + length + "\r\n").problem != nullptr);
}

TEST_CASE("h1_message: 101 must answer an offer") {
  const std::string text = "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
  CHECK(Response(text, {Method::get, "websocket"}).problem == nullptr);
  CHECK(Response(text, {Method::get, "other, WebSocket"}).problem == nullptr);
  CHECK(Response(text, {Method::get, "other"}).problem != nullptr);
  CHECK(Response(text).problem != nullptr);
  CHECK(Response("HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n", {Method::get, "websocket"}).problem !=
        nullptr);
}
