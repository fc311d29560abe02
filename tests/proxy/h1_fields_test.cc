#include "proxy/h1_fields.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace sluice;
using namespace sluice::proxy;

namespace {

using Verdict = HeadScanner::Verdict;
using For = HeadScanner::For;

struct Scanned {
  Verdict verdict = Verdict::more;
  size_t skipped = 0;
  size_t size = 0;
  uint16_t status = 0;  // when bad
};

// Scans as the octets arrive: first up to each of `ends`, then all.
Scanned scan(std::string text, For purpose, const conf::Limits& limits,
             const std::vector<size_t>& ends = {}) {
  HeadScanner scanner(purpose);
  Scanned result;
  const auto until = [&](size_t size) {
    if (result.verdict == Verdict::more) result.verdict = scanner.scan({text.data(), size}, limits);
  };
  for (const size_t end : ends) until(end);
  until(text.size());
  result.skipped = scanner.skipped();
  result.size = scanner.size();
  if (result.verdict == Verdict::bad) result.status = scanner.problem().status;
  return result;
}

void check_every_split(const std::string& text, For purpose, const conf::Limits& limits = {}) {
  CAPTURE(text);
  const Scanned whole = scan(text, purpose, limits);
  for (size_t at = 0; at <= text.size(); ++at) {
    CAPTURE(at);
    const Scanned split = scan(text, purpose, limits, {at});
    REQUIRE(split.verdict == whole.verdict);
    REQUIRE(split.status == whole.status);
    if (whole.verdict != Verdict::complete) continue;
    REQUIRE(split.skipped == whole.skipped);
    REQUIRE(split.size == whole.size);
  }
  std::vector<size_t> octets;
  for (size_t at = 0; at <= text.size(); ++at) octets.push_back(at);
  REQUIRE(scan(text, purpose, limits, octets).verdict == whole.verdict);
}

Verdict request(const std::string& text, const conf::Limits& limits = {}) {
  return scan(text, For::request, limits).verdict;
}

uint16_t refusal(const std::string& text, const conf::Limits& limits = {}) {
  return scan(text, For::request, limits).status;
}

}  // namespace

TEST_CASE("h1_fields: the end of a head is found wherever it is split") {
  check_every_split("GET / HTTP/1.1\r\nHost: a\r\nX: b c\td\r\n\r\nBODY", For::request);
  check_every_split("\r\n\r\nGET / HTTP/1.1\r\n\r\n", For::request);
  check_every_split("HTTP/1.1 200 OK\r\nServer: x\r\n\r\nbody\r\n\r\n", For::response);
  check_every_split("A: 1\r\nB: 2\r\n\r\nrest", For::trailers);
  check_every_split("\r\nrest", For::trailers);
  const Scanned scanned = scan("\r\nGET / HTTP/1.1\r\nA: b\r\n\r\nBODY", For::request, {});
  CHECK(scanned.skipped == 2);
  CHECK(scanned.size == 24);
}

TEST_CASE("h1_fields: a bad head is bad wherever it is split") {
  check_every_split("GET / HTTP/1.1\nHost: a\r\n\r\n", For::request);
  check_every_split("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", For::request);
  check_every_split("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", For::request);
  check_every_split("GET / HTTP/1.1\r\nHost: a\r\n\n", For::request);
  check_every_split("\r\nHTTP/1.1 200 OK\r\n\r\n", For::response);
}

TEST_CASE("h1_fields: limits are the same wherever the head is split") {
  conf::Limits limits;
  limits.header_bytes = 60;
  limits.headers = 2;
  check_every_split("GET / HTTP/1.1\r\nA: 1\r\nB: 1\r\nC: 1\r\n\r\n", For::request, limits);
  // Of sizes around the limit.
  for (size_t size = 20; size < 50; ++size) {
    check_every_split("GET / HTTP/1.1\r\nA: " + std::string(size, 'x') + "\r\n\r\n", For::request, limits);
  }
}

TEST_CASE("h1_fields: a head over a limit is refused before it is complete") {
  conf::Limits limits;
  limits.uri_bytes = 100;
  limits.header_bytes = 1000;
  limits.headers = 3;
  CHECK(refusal("GET /" + std::string(500, 'a'), limits) == 414);
  CHECK(refusal("GET / HTTP/1.1\r\nA: " + std::string(2000, 'a'), limits) == 431);
  CHECK(refusal("GET / HTTP/1.1\r\nA: 1\r\nA: 1\r\nA: 1\r\nA: 1\r\n", limits) == 431);
  CHECK(request("GET / HTTP/1.1\r\nA: 1\r\nA: 1\r\nA: 1\r\n\r\n", limits) == Verdict::complete);
  // What lies behind the head does not count against it.
  CHECK(request("GET / HTTP/1.1\r\nA: 1\r\n\r\n" + std::string(5000, 'b'), limits) == Verdict::complete);
}

TEST_CASE("h1_fields: what is both too long and malformed is refused for one reason, however it is cut") {
  conf::Limits limits;
  limits.uri_bytes = 20;
  limits.header_bytes = 200;
  const std::string line = std::string(1, '\0') + std::string(150, 'a');
  check_every_split(line + "\r\n\r\n", For::request, limits);
  check_every_split(line + "\n", For::request, limits);
  check_every_split("GET / HTTP/1.1\r\n " + line + line + "\r\n\r\n", For::request, limits);
  check_every_split("HTTP/1.1 200 OK\r\nA: " + line + line + "\n", For::response, limits);
  check_every_split("A: " + line + line + "\r\n\r\n", For::trailers, limits);
  limits.header_bytes = 50;  // less than a request line may have
  check_every_split(line + "\r\n\r\n", For::request, limits);
  CHECK(refusal(std::string(60, 'a'), limits) == 414);
}

TEST_CASE("h1_fields: a few empty lines before a request are skipped, many are refused") {
  CHECK(request("\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n") == Verdict::complete);
  CHECK(refusal("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n") == 400);
  CHECK(refusal("\n") == 400);
}

TEST_CASE("h1_fields: no control octet passes but HTAB in a field") {
  for (int octet = 0; octet < 256; ++octet) {
    CAPTURE(octet);
    const auto c = static_cast<char>(octet);
    const bool control = octet < 0x20 || octet == 0x7f;
    // At each place within a word of eight, so that both ways of looking are taken.
    for (size_t at = 0; at < 20; ++at) {
      std::string value(20, 'v');
      value[at] = c;
      const std::string head = "GET / HTTP/1.1\r\nA: " + value + "\r\n\r\n";
      CHECK((request(head) == Verdict::bad) == (control && c != '\t'));
      std::string target(20, 't');
      target[at] = c;
      CHECK((request("GET /" + target + " HTTP/1.1\r\n\r\n") == Verdict::bad) == control);
    }
  }
}

TEST_CASE("h1_fields: lines are divided into names and trimmed values") {
  std::string section = "Host: a\r\nEmpty:\r\nX-Y_z!:  \t spaced out\t \r\nB:1\r\n\r\n";
  Fields fields;
  fields.set_block(section.data(), static_cast<uint32_t>(section.size()));
  REQUIRE(parse_fields(section.data(), section.size(), fields) == nullptr);
  REQUIRE(fields.all().size() == 4);
  CHECK(fields.all()[0].id == FieldId::host);
  CHECK(fields.value(fields.all()[1]).empty());
  CHECK(fields.name(fields.all()[2]) == "X-Y_z!");
  CHECK(fields.value(fields.all()[2]) == "spaced out");
  CHECK(fields.value(fields.all()[3]) == "1");
}

TEST_CASE("h1_fields: lines that are no fields are refused") {
  for (std::string section : {"A : 1\r\n\r\n", ": 1\r\n\r\n", "A\r\n\r\n", "A B: 1\r\n\r\n", "A(: 1\r\n\r\n",
                              "\xc3\xa4: 1\r\n\r\n", "A\t: 1\r\n\r\n", "\"A\": 1\r\n\r\n"}) {
    CAPTURE(section);
    Fields fields;
    fields.set_block(section.data(), static_cast<uint32_t>(section.size()));
    CHECK(parse_fields(section.data(), section.size(), fields) != nullptr);
  }
}

TEST_CASE("h1_fields: list elements are trimmed and empty ones left out") {
  std::vector<std::string> elements;
  for_each_element(" a,, b c\t,\t,d", [&](std::string_view one) { elements.emplace_back(one); });
  CHECK(elements == std::vector<std::string>{"a", "b c", "d"});
}

TEST_CASE("h1_fields: decimals are digits only and below 2^63") {
  uint64_t value = 0;
  CHECK((parse_decimal("0", value) && value == 0));
  CHECK((parse_decimal("007", value) && value == 7));
  CHECK((parse_decimal("9223372036854775807", value) && value == 9223372036854775807U));
  for (const char* bad :
       {"", "9223372036854775808", "99999999999999999999", "+1", "-1", "1 ", " 1", "0x1", "1,1"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_decimal(bad, value));
  }
}

namespace {

struct Section {
  std::string text;
  Fields fields;
  explicit Section(std::string lines) : text(std::move(lines) + "\r\n") {
    fields.set_block(text.data(), static_cast<uint32_t>(text.size()));
    REQUIRE(parse_fields(text.data(), text.size(), fields) == nullptr);
  }
  std::string kept() const {
    std::string names;
    for (const Field& field : fields.all()) {
      if (!field.dropped) names.append(fields.name(field)).append(" ");
    }
    return names;
  }
};

uint16_t framing_problem(const std::string& lines, uint8_t minor = 1) {
  const std::string text = lines + "\r\n";
  Fields fields;
  fields.set_block(text.data(), static_cast<uint32_t>(text.size()));
  // llhttp notices some of them itself.
  if (const Problem* problem = parse_fields(text.data(), text.size(), fields)) return problem->status;
  const Framing framing = read_framing(fields, minor);
  return framing.problem == nullptr ? 0 : framing.problem->status;
}

}  // namespace

TEST_CASE("h1_fields: hop-by-hop fields and what Connection names are dropped") {
  Section section(
      "Host: a\r\nKeep-Alive: 5\r\nX-One: 1\r\nTE: trailers\r\nConnection: close, x-one\r\nUpgrade: x\r\n"
      "Proxy-Connection: x\r\nHTTP2-Settings: x\r\nProxy-Authorization: x\r\nContent-Length: 3\r\n"
      "Connection: content-length, host\r\nX-Two: 2\r\n");
  const ConnectionOptions options = drop_hop_by_hop(section.fields);
  CHECK(options.close);
  CHECK_FALSE(options.upgrade);
  CHECK(section.kept() == "Host Content-Length X-Two ");
}

TEST_CASE("h1_fields: framing is one length or one chunked, and nothing else") {
  Section length("Content-Length: 12\r\n");
  CHECK(read_framing(length.fields, 1).length == 12);
  Section chunked("Transfer-Encoding: Chunked\r\n");
  CHECK(read_framing(chunked.fields, 1).chunked);
  CHECK(framing_problem("X: 1\r\n") == 0);
  CHECK(framing_problem("Content-Length: 1\r\nContent-Length: 1\r\n") == 400);
  CHECK(framing_problem("Content-Length: 1, 1\r\n") == 400);
  CHECK(framing_problem("Content-Length: -1\r\n") == 400);
  CHECK(framing_problem("Content-Length:\r\n") == 400);
  CHECK(framing_problem("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n") == 400);
  CHECK(framing_problem("Transfer-Encoding: chunked\r\n", 0) == 400);
  CHECK(framing_problem("Transfer-Encoding: chunked, chunked\r\n") == 400);
  CHECK(framing_problem("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") == 400);
  CHECK(framing_problem("Transfer-Encoding: gzip\r\n") == 501);
  CHECK(framing_problem("Transfer-Encoding: gzip, chunked\r\n") == 501);
  CHECK(framing_problem("Transfer-Encoding:\r\n") == 400);
  CHECK(framing_problem("Transfer-Encoding: \"chunked\"\r\n") == 400);
  CHECK(framing_problem("Transfer-Encoding: chunked;a=b\r\n") != 0);
  CHECK(framing_problem("Transfer-Encoding: chunked, gzip\r\n") != 0);
}
