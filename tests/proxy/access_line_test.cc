#include "proxy/access_line.h"

#include <algorithm>

#include "access_log_fixtures.h"
#include "balancer/random.h"

namespace sluice::proxy {
namespace {

using namespace access_log_test;

TEST_CASE("access log: a line has every field, named with its unit") {
  const TemporaryFolder folder;
  AccessLog log(1, kSeed);
  CHECK_FALSE(log.enabled());
  REQUIRE(log.configure(to(folder.file("log"))).ok());
  CHECK(log.enabled());
  log.writer(0).record(example(), kWallUs);
  CHECK(log.close());
  CHECK(
      contents(folder.file("log")) ==
      R"({"time":"2026-03-01T12:00:00.123Z","request_id":"4bf92f3577b34da6","client":"192.0.2.7",)"
      R"("method":"POST","host":"shop.example.com","path":"/api/cart?id=7","protocol":"HTTP/1.1",)"
      R"("status":502,"service":"web","upstream":"green","endpoint":"10.0.0.5:8080",)"
      R"("attempts":["reset","5xx"],"error":"http_response_incomplete","error_detail":"closed early","split_generation":12,)"
      R"("bytes_up":345,"bytes_down":18446744073709551615,"duration_s":61.000007,"queue_s":0.000001,)"
      R"("connect_s":0.999999,"first_byte_s":1.000000,"retried":true,"rescued":false,"aborted":true})"
      "\n");
  CHECK(log.stats().lines == 1);
}

TEST_CASE("access log: an empty record is a whole line as well") {
  const TemporaryFolder folder;
  AccessLog log(1, kSeed);
  REQUIRE(log.configure(to(folder.file("log"))).ok());
  AccessRecord record;
  record.minor_version = 0;
  log.writer(0).record(record, 951'827'696'000'000);
  log.close();
  const auto lines = read_lines(folder.file("log"));
  REQUIRE(lines.size() == 1);
  CHECK(lines[0]["time"] == "2000-02-29T12:34:56.000Z");
  CHECK(lines[0]["attempts"] == Json::array());
  CHECK(lines[0]["protocol"] == "HTTP/1.0");
  CHECK(lines[0]["status"] == 0);
}

TEST_CASE("access log: any octets come out as JSON") {
  const TemporaryFolder folder;
  const auto [octets, text] = GENERATE(table<std::string, std::string>({
      {"a\"b\\c/d", "a\"b\\c/d"},
      {std::string("\0\x01\x1f\x7f\n\r\t\b\f", 9), std::string("\0\x01\x1f\x7f\n\r\t\b\f", 9)},
      {"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
      {"\xc2\x9b", "\xc2\x9b"},                                                  // C1, escaped
      {"a\xff\xfe", "a\xef\xbf\xbd\xef\xbf\xbd"},                                // never in UTF-8
      {"\xc3", "\xef\xbf\xbd"},                                                  // cut off
      {"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"},                                  // cut off
      {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                                  // overlong
      {"\xe0\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                  // overlong
      {"\xf0\x80\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},  // overlong
      {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                  // surrogate
      {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},  // past U+10FFFF
  }));
  AccessLog log(1, kSeed);
  REQUIRE(log.configure(to(folder.file("log"))).ok());
  AccessRecord record = example();
  record.target = octets;
  record.attempts = octets;
  log.writer(0).record(record, kWallUs);
  log.close();
  const std::string line = contents(folder.file("log"));
  CHECK(Json::parse(line)["path"] == text);
  CHECK(Json::parse(line)["attempts"] == Json::array({text}));
  // Nothing that a terminal acts on, but for the line's end.
  for (size_t i = 0; i + 1 < line.size(); ++i) {
    const auto octet = static_cast<uint8_t>(line[i]);
    CHECK(octet >= 0x20);
    CHECK(octet != 0x7f);
    CHECK_FALSE((octet == 0xc2 && static_cast<uint8_t>(line[i + 1]) < 0xa0));
  }
}

TEST_CASE("access log: random octets always parse, and valid UTF-8 survives") {
  const TemporaryFolder folder;
  constexpr uint64_t kOctetSeed = 20260301;
  INFO("seed " << kOctetSeed);
  balancer::Random random(kOctetSeed);
  AccessLog log(1, kSeed);
  REQUIRE(log.configure(to(folder.file("log"))).ok());
  constexpr int kLines = 500;
  for (int i = 0; i < kLines; ++i) {
    std::string octets(random.below(300), '\0');
    for (char& c : octets) c = static_cast<char>(random.below(256));
    AccessRecord record = example();
    record.target = octets;
    record.request_id = octets;
    record.method = octets;
    log.writer(0).record(record, kWallUs);
  }
  CHECK(log.close());
  CHECK(read_lines(folder.file("log")).size() == kLines);
}

TEST_CASE("access log: long texts are cut between characters, and the worst line fits") {
  const TemporaryFolder folder;
  AccessLog log(1, kSeed);
  REQUIRE(log.configure(to(folder.file("log"))).ok());
  const std::string controls(20'000, '\x01');
  std::string euros;
  while (euros.size() < 10'000) euros += "\xe2\x82\xac";
  AccessRecord record = example();
  record.target = euros;
  log.writer(0).record(record, kWallUs);
  for (std::string_view* text : {&record.request_id, &record.client, &record.method, &record.authority,
                                 &record.target, &record.service, &record.upstream, &record.endpoint,
                                 &record.attempts, &record.error, &record.error_detail}) {
    *text = controls;
  }
  log.writer(0).record(record, kWallUs);
  log.close();
  const auto lines = read_lines(folder.file("log"));
  REQUIRE(lines.size() == 2);
  const std::string cut = lines[0]["path"];
  CHECK(cut == euros.substr(0, kMostLineTargetBytes / 3 * 3) + "\xe2\x80\xa6");
  CHECK(lines[1]["client"].get<std::string>().size() == kMostLineTextBytes + 3);
  CHECK(log.stats().dropped == 0);
}

TEST_CASE("access log: no line needs more room than it is said to") {
  constexpr uint64_t kMost = ~uint64_t{0};
  constexpr char kCanary = '\x5a';
  const TraceContext trace;
  AccessRecord record = example();
  record.trace = &trace;
  record.generation = record.bytes_up = record.bytes_down = kMost;
  record.duration_us = record.queue_us = record.connect_us = record.first_byte_us = kMost;
  const std::string controls(20'000, '\x01');
  const std::string commas(20'000, ',');
  for (const std::string_view attempts : {std::string_view(controls), std::string_view(commas)}) {
    for (std::string_view* text :
         {&record.request_id, &record.client, &record.method, &record.authority, &record.target,
          &record.service, &record.upstream, &record.endpoint, &record.error, &record.error_detail}) {
      *text = controls;
    }
    record.attempts = attempts;
    std::vector<char> room(kMostLineBytes + 64, kCanary);
    const auto used = static_cast<size_t>(write_access_line(room.data(), record, kWallUs) - room.data());
    CHECK(used <= kMostLineBytes);
    CHECK(std::all_of(room.begin() + static_cast<std::ptrdiff_t>(used), room.end(),
                      [](char c) { return c == kCanary; }));
    CHECK(nlohmann::json::parse(std::string(room.data(), used))["bytes_up"] == kMost);
  }
}

TEST_CASE("access log: a traced request has its trace in its line") {
  const TemporaryFolder folder;
  AccessLog log(1, kSeed);
  REQUIRE(log.configure(to(folder.file("log"))).ok());
  const auto trace = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
  AccessRecord record = example();
  log.writer(0).record(record, kWallUs);
  record.trace = &*trace;
  log.writer(0).record(record, kWallUs);
  CHECK(log.close());
  const std::vector<Json> lines = read_lines(folder.file("log"));
  REQUIRE(lines.size() == 2);
  CHECK(!lines[0].contains("trace_id"));
  CHECK(lines[1]["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736");
  CHECK(lines[1]["trace_sampled"] == true);
}

}  // namespace
}  // namespace sluice::proxy
