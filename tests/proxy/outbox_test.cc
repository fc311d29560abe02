#include "proxy/outbox.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace sluice::proxy;

namespace {

// Keeps each write as it came.
class WriteLog final : public Stream {
 public:
  void start_reading() override {}
  void stop_reading() override {}
  void write(const iovec* slices, int count) override {
    std::vector<std::string> write;
    for (int i = 0; i < count; ++i) {
      write.emplace_back(static_cast<const char*>(slices[i].iov_base), slices[i].iov_len);
    }
    writes.push_back(std::move(write));
  }
  size_t pending() const override { return 0; }
  void shutdown_write() override {}
  void close() override {}
  void reset() override {}

  std::vector<std::vector<std::string>> writes;
};

struct Box {
  Loop loop{1};
  WriteLog stream;
  Outbox out{loop};
  Box() { out.set_stream(&stream); }
  ~Box() {
    loop.run_deferred();
    CHECK(loop.close() == 0);
  }
};

}  // namespace

TEST_CASE("outbox: slices of one callback go out in one write") {
  Box box;
  const std::string head = "head";
  const std::string body = "body";
  box.out.add(head);
  box.out.add(body);
  CHECK(box.stream.writes.empty());
  CHECK_FALSE(box.out.empty());
  box.loop.run_deferred();
  REQUIRE(box.stream.writes.size() == 1);
  CHECK(box.stream.writes[0] == std::vector<std::string>{"head", "body"});
  CHECK(box.out.empty());
  CHECK(box.out.bytes() == 8);
  box.loop.run_deferred();
  CHECK(box.stream.writes.size() == 1);
}

TEST_CASE("outbox: adjoining slices become one, empty ones none") {
  Box box;
  const std::string text = "one piece of text";
  for (size_t at = 0; at < text.size(); ++at) {
    box.out.add(text.data() + at, 1);
    box.out.add(text.data(), 0);
  }
  box.out.flush();
  REQUIRE(box.stream.writes.size() == 1);
  CHECK(box.stream.writes[0] == std::vector<std::string>{text});
}

TEST_CASE("outbox: a full vector is flushed early and nothing is lost or turned round") {
  Box box;
  std::vector<std::string> pieces;
  for (int i = 0; i < 30; ++i) pieces.push_back("<" + std::to_string(i) + ">");
  std::string expected;
  for (const std::string& piece : pieces) {
    box.out.add(piece);
    expected += piece;
  }
  CHECK(box.stream.writes.size() == 3);
  box.loop.run_deferred();
  CHECK(box.stream.writes.size() == 4);
  std::string written;
  for (const auto& write : box.stream.writes) {
    for (const std::string& slice : write) written += slice;
  }
  CHECK(written == expected);
}

TEST_CASE("outbox: without a stream what is added is dropped") {
  Box box;
  box.out.add("text");
  box.out.set_stream(nullptr);
  box.loop.run_deferred();
  CHECK(box.stream.writes.empty());
}
