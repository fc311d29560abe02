#include "admin/listing.h"

#include <catch2/catch.hpp>

namespace sluice::admin {
namespace {

TEST_CASE("listing: columns line up, numbers to the right") {
  const std::vector<Json> rows{{{"name", "web"}, {"count", 7}, {"on", true}},
                               {{"name", "a-long-name"}, {"count", 1234567}, {"on", nullptr}}};
  CHECK(table(rows, {{"name", "NAME"}, {"count", "COUNT"}, {"on", "ON"}}) ==
        "NAME           COUNT  ON\n"
        "web                7  yes\n"
        "a-long-name  1234567  -");
}

TEST_CASE("listing: an empty list says so as text and is an empty list as JSON") {
  CHECK(listing(Format::text, "caps", {}, {{"cap", "CAP"}}).body == "(none)");
  CHECK(listing(Format::json, "caps", {}, {{"cap", "CAP"}}).body == R"("caps":[])");
}

TEST_CASE("listing: JSON has every member, whatever people see") {
  CHECK(render(listing(Format::json, "caps", {{{"cap", "db"}, {"used", 3}}}, {{"cap", "CAP"}}),
               Format::json) == R"({"ok":true,"caps":[{"cap":"db","used":3}]})");
}

TEST_CASE("listing: durations are short") {
  CHECK(as_duration(0.00085) == "850us");
  CHECK(as_duration(0.00125) == "1.25ms");
  CHECK(as_duration(3.4) == "3.4s");
  CHECK(as_duration(125) == "2m05s");
  CHECK(as_duration(7500) == "2h05m");
  CHECK(as_duration(90 * 3600) == "3d18h");
  CHECK(as_duration(nullptr) == "-");
}

TEST_CASE("reply: text never has an empty line, and a refusal says so at its begin") {
  CHECK(render(Output{"a\n\n\r\nb\n\n"}, Format::text) == "a\nb");
  CHECK(render(Output{}, Format::text) == "done");
  CHECK(render(Refusal{"conflict", "no\n\nnot so"}, Format::text) == "error: conflict: no\nnot so");
}

TEST_CASE("reply: JSON is one line, whatever octets a message has") {
  CHECK(render(Output{}, Format::json) == R"({"ok":true})");
  const std::string text = render(Refusal{"usage", "a\nb \xff \"c\""}, Format::json);
  CHECK(text == "{\"ok\":false,\"error\":{\"code\":\"usage\",\"message\":\"a\\nb \xef\xbf\xbd \\\"c\\\"\"}}");
}

TEST_CASE("answer: it is given once, and after the client has left to nobody") {
  struct Counter final : Answer::Sink {
    void reply(const Outcome&) override { ++replies; }
    void partial(const Output&) override { ++partials; }
    void to_interactive() override {}
    void quit() override {}
    int replies = 0;
    int partials = 0;
  } sink;
  int abandoned = 0;
  Answer finished(sink);
  finished.on_abandoned([&] { ++abandoned; });
  finished.stream({});
  finished.finish(Output{});
  finished.finish(Output{});
  finished.stream({});
  finished.abandon();
  CHECK(sink.replies == 1);
  CHECK(sink.partials == 1);
  CHECK(abandoned == 0);
  Answer left(sink);
  left.on_abandoned([&] { ++abandoned; });
  left.abandon();
  left.abandon();
  left.finish(Output{});
  CHECK(abandoned == 1);
  CHECK(sink.replies == 1);
}

}  // namespace
}  // namespace sluice::admin
