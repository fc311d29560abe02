#include "proxy/h1_chunked.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "balancer/random.h"
#include "proxy/byte_queue.h"

using namespace sluice;
using namespace sluice::proxy;

namespace {

using Step = ChunkedDecoder::Step;

struct Decoded {
  Step last = Step::more;
  std::string body;
  std::string trailers;  // "name=value;" of those that are passed on
  size_t left_over = 0;
};

// Feeds `pieces` as a connection does: what was not used is kept in front of
// what comes next.
Decoded decode(const std::vector<std::string>& pieces, const conf::Limits& limits = {}) {
  const Fields head;
  ChunkedDecoder decoder(head);
  ByteQueue queue;
  Decoded result;
  for (const std::string& piece : pieces) {
    queue.append(piece.data(), piece.size());
    if (result.last == Step::end || result.last == Step::bad) continue;
    Input input = queue.view();
    do {
      result.last = decoder.next(input, limits);
      if (result.last == Step::data) result.body.append(decoder.piece().data, decoder.piece().size);
    } while (result.last == Step::data);
    if (result.last == Step::end) {
      const Fields& fields = decoder.trailers();
      for (const Field& field : fields.all()) {
        if (field.dropped) continue;
        result.trailers.append(fields.name(field)).append("=").append(fields.value(field)).append(";");
      }
    }
    queue.keep_last(input.size);
  }
  result.left_over = queue.size();
  return result;
}

const std::string kMessage =
    "5\r\nhello\r\n6;name=\"a;\\\"b\" ;x\r\n world\r\n000\r\nX-Sum: 1 2\r\nHost: evil\r\n\r\nNEXT";

}  // namespace

TEST_CASE("h1_chunked: chunks, extensions and trailers are told apart") {
  const Decoded whole = decode({kMessage});
  CHECK(whole.last == Step::end);
  CHECK(whole.body == "hello world");
  CHECK(whole.trailers == "X-Sum=1 2;");
  CHECK(whole.left_over == 4);
}

TEST_CASE("h1_chunked: a split at any octet changes nothing") {
  for (size_t at = 0; at <= kMessage.size(); ++at) {
    CAPTURE(at);
    const Decoded split = decode({kMessage.substr(0, at), kMessage.substr(at)});
    CHECK(split.last == Step::end);
    CHECK(split.body == "hello world");
    CHECK(split.trailers == "X-Sum=1 2;");
    CHECK(split.left_over == 4);
  }
  std::vector<std::string> octets;
  for (const char c : kMessage) octets.emplace_back(1, c);
  CHECK(decode(octets).body == "hello world");
}

TEST_CASE("h1_chunked: random chunkings in random reads give the source back") {
  constexpr uint64_t kSeed = 20260101;
  CAPTURE(kSeed);
  balancer::Random random(kSeed);
  for (int round = 0; round < 500; ++round) {
    CAPTURE(round);
    std::string source;
    std::string wire;
    for (uint64_t chunk = random.below(8); chunk > 0; --chunk) {
      std::string data(1 + random.below(random.below(4) == 0 ? 5000 : 20), '\0');
      for (char& c : data) c = static_cast<char>(random.below(256));
      char size[32];
      const int digits = snprintf(size, sizeof(size), random.below(2) == 0 ? "%zx" : "%06zX", data.size());
      wire.append(size, static_cast<size_t>(digits));
      if (random.below(3) == 0) wire += "; a=b";
      wire += "\r\n" + data + "\r\n";
      source += data;
    }
    wire += "0\r\n\r\n";
    std::vector<std::string> reads;
    for (size_t at = 0; at < wire.size();) {
      reads.push_back(wire.substr(at, 1 + random.below(random.below(2) == 0 ? 4 : 3000)));
      at += reads.back().size();
    }
    const Decoded decoded = decode(reads);
    REQUIRE(decoded.last == Step::end);
    REQUIRE(decoded.body == source);
    REQUIRE(decoded.left_over == 0);
  }
}

TEST_CASE("h1_chunked: what the grammar does not allow is refused, wherever it is split") {
  const std::string bad[] = {
      "\r\n",                                  // no digit
      "g\r\n",                                 // no hexadecimal digit
      " 5\r\nhello\r\n",                       // white space before the size
      "0x5\r\nhello\r\n",                      // a prefix
      "-1\r\n",                                // a sign
      "+5\r\nhello\r\n",                       //
      "5\nhello\r\n",                          // LF alone after the size
      "5\rhello\r\n",                          // CR alone after the size
      "5\r\r\nhello\r\n",                      //
      "5 6\r\nhello\r\n",                      // two sizes
      "5\r\nhello0\r\n\r\n",                   // no CRLF after the data
      "5\r\nhello\n0\r\n\r\n",                 // LF alone after the data
      "5\r\nhello\rX0\r\n\r\n",                // CR alone after the data
      "5;a=\"b\r\nhello\r\n",                  // an open quotation
      "5;a=\"b\\\r\nhello\r\n",                // an escaped line end
      std::string("5;a\0b\r\nhello\r\n", 15),  // NUL in an extension
      "5;a\x7f\r\nhello\r\n",                  // DEL
      "5;a\nb\r\nhello\r\n",                   // LF in an extension
      "1000000000000000\r\n",                  // 2^60
      "fffffffffffffffff\r\n",                 // more than 64 bits
      "0\r\nX: 1\n\r\n",                       // LF alone in trailers
      "0\r\n folded: 1\r\n\r\n",               // a folded first line
      "0\r\nX y: 1\r\n\r\n",                   // a name that is no token
      "0\r\nno colon\r\n\r\n",                 //
      "0\r\nX: a\rb\r\n\r\n",                  // CR in a value
  };
  for (const std::string& message : bad) {
    CAPTURE(message);
    CHECK(decode({message}).last == Step::bad);
    for (size_t at = 1; at < message.size(); ++at) {
      CHECK(decode({message.substr(0, at), message.substr(at)}).last == Step::bad);
    }
  }
}

TEST_CASE("h1_chunked: sizes up to 2^60 - 1 are understood") {
  const Decoded decoded = decode({"fffffffffffffff\r\nabc"});
  CHECK(decoded.last == Step::more);
  CHECK(decoded.body == "abc");
}

TEST_CASE("h1_chunked: a size line and trailers have limits") {
  CHECK(decode({"5;" + std::string(8000, 'a') + "\r\nhello\r\n"}).body == "hello");
  CHECK(decode({"5;" + std::string(9000, 'a') + "\r\nhello\r\n"}).last == Step::bad);
  CHECK(decode({std::string(9000, '0') + "5\r\nhello\r\n"}).last == Step::bad);
  conf::Limits limits;
  limits.header_bytes = 100;
  limits.headers = 3;
  CHECK(decode({"0\r\nX: " + std::string(50, 'a') + "\r\n\r\n"}, limits).last == Step::end);
  CHECK(decode({"0\r\nX: " + std::string(200, 'a') + "\r\n\r\n"}, limits).last == Step::bad);
  CHECK(decode({"0\r\nX: " + std::string(200, 'a')}, limits).last == Step::bad);
  CHECK(decode({"0\r\na: 1\r\nb: 1\r\nc: 1\r\n\r\n"}, limits).last == Step::end);
  CHECK(decode({"0\r\na: 1\r\nb: 1\r\nc: 1\r\nd: 1\r\n\r\n"}, limits).last == Step::bad);
}

TEST_CASE("h1_chunked: trailers that would frame or route are not passed on") {
  const Decoded decoded =
      decode({"0\r\nTransfer-Encoding: chunked\r\nX-Forwarded-For: 1\r\nConnection: x\r\n"
              "Cookie: a\r\nX-Request-Id: 7\r\nServer-Timing: 1\r\n\r\n"});
  CHECK(decoded.last == Step::end);
  CHECK(decoded.trailers == "Server-Timing=1;");
  CHECK(decode({"0\r\nContent-Length: 5\r\nServer-Timing: 1\r\n\r\n"}).trailers == "Server-Timing=1;");
  CHECK(
      decode(
          {"0\r\nX_Client_Cert_Subject: CN=a\r\nX-Client-Cert_San: a\r\nX_Forwarded-For: 6\r\nContent_Length: 5\r\n"
           "Server_Timing: 1\r\n\r\n"})
          .trailers == "Server_Timing=1;");
}
