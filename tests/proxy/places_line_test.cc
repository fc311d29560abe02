#include "proxy/places_line.h"

#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <vector>

#include "balancer/fields.h"

using namespace sluice;
using namespace sluice::proxy;

namespace {

std::string frame(char letter, const std::string& octets) {
  std::string text(1, letter);
  balancer::append_u32(text, static_cast<uint32_t>(octets.size()));
  return text + octets;
}

}  // namespace

TEST_CASE("places line: what is encoded is decoded, and what makes no sense is left out") {
  const Places places = {{"web/blue", 40}, {"cap a b", 4294967295}, {"web/green", 0}};
  CHECK(decode_places(encode(places)) == places);
  CHECK(decode_places("x web/blue\n4\n5000000000 web/green\n\n7 web/red").size() == 1);
}

TEST_CASE("places line: tells each time, however the octets come, and once that it is over") {
  Loop loop(1);
  std::vector<Places> told;
  int over = 0;
  PlacesLine line(
      loop, [&](const Places& places) { told.push_back(places); }, [&] { ++over; });
  int ends[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  line.open(ends[0]);
  const std::string text = frame(PlacesLine::kLetter, encode({{"web/blue", 3}})) +
                           frame('?', "of a later release") + frame(PlacesLine::kLetter, "");
  for (const char octet : text) {
    REQUIRE(write(ends[1], &octet, 1) == 1);
    uv_run(loop.uv(), UV_RUN_NOWAIT);
  }
  CHECK(told == std::vector<Places>{{{"web/blue", 3}}, {}});
  CHECK(over == 0);
  close(ends[1]);
  while (over == 0) uv_run(loop.uv(), UV_RUN_ONCE);
  line.close();
  CHECK(over == 1);
  CHECK(told.size() == 2);
  CHECK(loop.close() == 0);
}

TEST_CASE("places line: without a predecessor it is over at once") {
  Loop loop(1);
  int over = 0;
  PlacesLine line(
      loop, [](const Places&) {}, [&] { ++over; });
  line.open(-1);
  CHECK(over == 1);
  CHECK(loop.close() == 0);
}
