// HttpClient: the few requests that the process makes on its own account:
// webhooks, gates, spans, smoke requests. HTTP/1.1 (RFC 9112), one connection
// each; under TLS its peer is verified as the caller's context says.
//
// It stands beside traffic, never in its way: at most kMostCalls run at once and
// further ones fail at once; an answer is read up to kMostBodyBytes; every call
// has a deadline that covers the name's resolution as well.
//
// Thread: the loop's. Owner: Control. Calls under way when it is closed end
// without a word.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "conf/config.h"
#include "conf/result.h"
#include "proxy/loop.h"

namespace sluice::proxy {

class TlsClientContext;

// "http://HOST[:PORT][/PATH]" or "https://…", the host a name, an IPv4 address
// or an IPv6 address in brackets (RFC 3986, 3.2.2).
struct HttpUrl {
  bool secure = false;
  std::string host;       // without brackets
  uint16_t port = 80;     // 443 where it is secure
  std::string authority;  // as it stands in the URL
  std::string target = "/";

  static conf::Result<HttpUrl> parse(std::string_view text);
};

struct HttpCall {
  std::string method = "POST";
  std::string authority;  // the Host field
  std::string target = "/";
  std::vector<std::pair<std::string, std::string>> fields;
  std::string body;
  std::string answer_field;  // a field of the answer that is of interest
  uint64_t timeout_ms = 10'000;
  std::shared_ptr<const TlsClientContext> tls;  // for an https URL; another does not look at it
};

struct HttpAnswer {
  uint16_t status = 0;  // 0: there was no answer, `problem` says why
  std::string body;
  std::string field;    // the value of HttpCall::answer_field, the last where there are several
  std::string problem;  // a sentence's end: "connection refused"

  bool success() const { return status >= 200 && status < 300; }
};

class HttpClient {
 public:
  static constexpr size_t kMostCalls = 64;
  static constexpr size_t kMostBodyBytes = 64 * 1024;
  // Called once, later, never from within send().
  using Done = std::function<void(HttpAnswer)>;

  explicit HttpClient(Loop& loop) : loop_(loop) {}
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient();

  void send(const HttpUrl& url, HttpCall call, Done done);
  // To an address that needs no resolution.
  void send(const conf::Address& address, HttpCall call, Done done);
  // Ends every call without telling; the loop must run on for them to go.
  void close();

 private:
  class Running;
  void begin(Running* call);
  void forget(Running* call);

  Loop& loop_;
  std::vector<Running*> running_;  // each deletes itself when its handles are gone
  bool closed_ = false;
};

}  // namespace sluice::proxy
