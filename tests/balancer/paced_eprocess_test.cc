#include "balancer/paced_eprocess.h"

#include <catch2/catch.hpp>

namespace sluice::balancer {
namespace {

using conf::Colour;

PacedEProcess fresh(double head_start, double blue_rate = 0.01) {
  PacedEProcess paced({5}, 0.2, head_start);
  paced.expect(0.5, blue_rate);
  return paced;
}

EProcess told(uint64_t blue, uint64_t green, double blue_rate = 0.01) {
  EProcess process({5}, 0.2);
  process.expect(0.5, blue_rate);
  process.add_oks(blue, green);
  return process;
}

TEST_CASE("paced_eprocess: it is told of blue's oks as far as green has ended") {
  PacedEProcess paced = fresh(2);
  paced.add_oks(50, 0, 0.5);
  CHECK(paced.process().value() == told(2, 0).value());
  paced.add_oks(0, 10, 0.5);
  CHECK(paced.process().value() == Approx(told(12, 10).value()));
}

TEST_CASE("paced_eprocess: an error that is no evidence lets blue's oks pass all the same") {
  PacedEProcess paced = fresh(0);
  paced.add_oks(50, 0, 0.5);
  CHECK(paced.process().value() == 1);
  paced.note_error_ended(Colour::green, 0.5);
  CHECK(paced.process().value() == told(1, 0).value());
}

TEST_CASE("paced_eprocess: what waits when it is renewed is never counted") {
  // Where blue's errors are many its oks count for much.
  constexpr double kBlueRate = 0.5;
  PacedEProcess paced = fresh(0, kBlueRate);
  paced.add_oks(100, 0, 0.5);
  int errors = 0;
  while (!paced.add_error(Colour::blue)) REQUIRE(++errors < 1000);
  CHECK(paced.process().renewal() == 2);
  CHECK(paced.process().value() == 1);
  paced.add_oks(0, 100, 0.5);  // which end the wait of the hundred of before
  EProcess without_blue({5}, 0.2);
  without_blue.expect(0.5, kBlueRate);
  without_blue.add_oks(0, 100);
  CHECK(paced.process().value() == Approx(without_blue.value()));
}

TEST_CASE("paced_eprocess: passed over or cleared, nothing waits") {
  for (const bool clear : {false, true}) {
    PacedEProcess paced = fresh(0);
    paced.add_oks(20, 0, 0.5);
    if (clear) {
      paced.clear();
    } else {
      paced.pass_over_waiting();
    }
    paced.add_oks(0, 20, 0.5);
    CHECK(paced.process().value() == Approx(told(0, 20).value()));
  }
}

}  // namespace
}  // namespace sluice::balancer
