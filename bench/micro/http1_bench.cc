// What HTTP/1 costs a request and a response: finding the end of a head and
// checking it, parsing it, and writing it anew with the fields that are added.
#include <benchmark/benchmark.h>

#include <string>
#include <string_view>
#include <vector>

#include "conf/config.h"
#include "proxy/codec.h"
#include "proxy/h1_fields.h"
#include "proxy/h1_message.h"
#include "proxy/h1_writer.h"
#include "proxy/head.h"

namespace sluice::proxy {
namespace {

// wrk's request, and a browser's.
constexpr std::string_view kSmallRequest = "GET /1k HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
constexpr std::string_view kBrowserRequest =
    "GET /catalogue/items?page=2&sort=price HTTP/1.1\r\n"
    "Host: shop.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: en-GB,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Referer: http://shop.example.com/catalogue\r\n"
    "Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=light\r\n"
    "Connection: keep-alive\r\n"
    "Upgrade-Insecure-Requests: 1\r\n\r\n";
constexpr std::string_view kResponse =
    "HTTP/1.1 200 OK\r\n"
    "Server: origin\r\n"
    "Date: Tue, 24 Nov 2026 10:00:00 GMT\r\n"
    "Content-Type: text/plain\r\n"
    "Content-Length: 1024\r\n"
    "Connection: keep-alive\r\n\r\n";

// The parser may change a head in place, so each round works on a fresh copy.
class Head {
 public:
  explicit Head(std::string_view text) : text_(text), buffer_(text) {}
  Input fresh() {
    buffer_.assign(text_);
    return {buffer_.data(), buffer_.size()};
  }
  size_t first_line_size() const { return text_.find('\r'); }

 private:
  std::string_view text_;
  std::string buffer_;
};

void scan_request(benchmark::State& state, std::string_view text) {
  const conf::Limits limits;
  Head head(text);
  for (auto _ : state) {
    HeadScanner scanner(HeadScanner::For::request);
    benchmark::DoNotOptimize(scanner.scan(head.fresh(), limits));
  }
}
BENCHMARK_CAPTURE(scan_request, small, kSmallRequest);
BENCHMARK_CAPTURE(scan_request, browser, kBrowserRequest);

void parse_request_head(benchmark::State& state, std::string_view text) {
  Head head(text);
  RequestHead request;
  H1Persistence persistence;
  for (auto _ : state) {
    request.fields.clear();
    if (parse_request(head.fresh(), head.first_line_size(), request, persistence) != nullptr) {
      state.SkipWithError("refused");
    }
  }
}
BENCHMARK_CAPTURE(parse_request_head, small, kSmallRequest);
BENCHMARK_CAPTURE(parse_request_head, browser, kBrowserRequest);

void parse_response_head(benchmark::State& state) {
  Head head(kResponse);
  ResponseHead response;
  H1Persistence persistence;
  for (auto _ : state) {
    response.fields.clear();
    if (parse_response(head.fresh(), head.first_line_size(), {}, response, persistence) != nullptr) {
      state.SkipWithError("refused");
    }
  }
}
BENCHMARK(parse_response_head);

// The field section as it goes upstream, with two fields added.
void rewrite_request_head(benchmark::State& state, std::string_view text) {
  Head head(text);
  RequestHead request;
  H1Persistence persistence;
  parse_request(head.fresh(), head.first_line_size(), request, persistence);
  AddedFields added;
  added.add("X-Forwarded-For", "127.0.0.1");
  added.add("X-Forwarded-Proto", "http");
  std::vector<char> out(size_of_fields(request.fields, added));
  for (auto _ : state) {
    Appender appender(out.data());
    append_fields(appender, request.fields, added, head.first_line_size());
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
}
BENCHMARK_CAPTURE(rewrite_request_head, small, kSmallRequest);
BENCHMARK_CAPTURE(rewrite_request_head, browser, kBrowserRequest);

}  // namespace
}  // namespace sluice::proxy
