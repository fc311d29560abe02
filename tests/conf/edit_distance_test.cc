#include "conf/edit_distance.h"

#include <catch2/catch.hpp>
#include <string>

using namespace sluice::conf;

TEST_CASE("edit_distance counts insertions, deletions, substitutions and swaps") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("abc", "") == 3);
  CHECK(edit_distance("split", "split") == 0);
  CHECK(edit_distance("splt", "split") == 1);
  CHECK(edit_distance("spllit", "split") == 1);
  CHECK(edit_distance("splat", "split") == 1);
  CHECK(edit_distance("slpit", "split") == 1);
  CHECK(edit_distance("kitten", "sitting") == 3);
}

TEST_CASE("edit_distance edits no letter twice, so a swap with an insertion between costs three") {
  CHECK(edit_distance("ca", "abc") == 3);
}

TEST_CASE("nearest takes the closest word, and the earlier of two as close") {
  constexpr std::string_view kWords[] = {"connect", "first_byte", "request", "idle"};
  CHECK(nearest("conect", kWords) == "connect");
  CHECK(nearest("fristbyte", kWords) == "first_byte");
  CHECK(nearest("idel", kWords) == "idle");
  constexpr std::string_view kTie[] = {"fall", "fell"};
  CHECK(nearest("fill", kTie) == "fall");
}

TEST_CASE("nearest takes a word that begins alike when none is close") {
  constexpr std::string_view kWords[] = {"max_queue", "max_connections", "retry",
                                         "warning",   "client_header",   "client_body"};
  CHECK(nearest("max_conns", kWords) == "max_connections");
  CHECK(nearest("maxconn", kWords) == "max_connections");
  CHECK(nearest("max-connections-per-host", kWords) == "max_connections");
  CHECK(nearest("retries", kWords) == "retry");
  CHECK(nearest("warn", kWords) == "warning");
  CHECK(nearest("client_headroom", kWords) == "client_header");
  CHECK(nearest("war", kWords).empty());
  CHECK(nearest("max_", kWords).empty());
  CHECK(nearest("retroactively", kWords).empty());
  CHECK(nearest("qqqqqqqq", kWords).empty());
}

TEST_CASE("nearest says nothing where no word is near enough to be meant") {
  constexpr std::string_view kWords[] = {"rise", "fall"};
  CHECK(nearest("interval", kWords).empty());
  CHECK(nearest("", kWords).empty());
  CHECK(nearest("xyz", kWords).empty());
  const std::string long_word(kMaxHintedWord + 1, 'a');
  const std::string_view same[] = {long_word};
  CHECK(nearest(long_word, same).empty());
}
