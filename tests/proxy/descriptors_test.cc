#include "proxy/descriptors.h"

#include "fixtures.h"

namespace sluice::proxy::test {
namespace {

TEST_CASE("descriptors: clients and upstreams share what the process does not need") {
  conf::Config config = one_service();
  config.listeners.resize(1);
  const auto small = divide_descriptors(64, config, 2);
  REQUIRE(small.ok());
  CHECK(small->clients > 0);
  CHECK(small->upstream >= small->clients);
  CHECK(small->clients + small->upstream < 64);
  const auto large = divide_descriptors(1'000'064, config, 2);
  REQUIRE(large.ok());
  CHECK(large->clients == small->clients + 500'000);
}

TEST_CASE("descriptors: more workers, listeners and checks leave less for connections") {
  conf::Config config = one_service(4);
  const uint32_t plain = divide_descriptors(1000, config, 2)->clients;
  CHECK(divide_descriptors(1000, config, 8)->clients < plain);
  config.listeners.resize(20);
  const uint32_t listening = divide_descriptors(1000, config, 2)->clients;
  CHECK(listening < plain);
  web(config).health.enabled = true;
  CHECK(divide_descriptors(1000, config, 2)->clients < listening);
}

TEST_CASE("descriptors: too low a limit is an error that says how high it must be") {
  const auto budget = divide_descriptors(16, one_service(), 2);
  REQUIRE_FALSE(budget.ok());
  CHECK(contains(budget.error().detail, "is 16, at least "));
  CHECK(contains(budget.error().detail, "ulimit -n"));
}

TEST_CASE("descriptors: without a limit there is room for whatever may be configured") {
  const auto budget = divide_descriptors(~uint64_t{0}, one_service(), 2);
  REQUIRE(budget.ok());
  CHECK(budget->clients > 10'000'000);
}

}  // namespace
}  // namespace sluice::proxy::test
