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

struct Sides {
  balancer::Cap clients{"clients", 500, [](uint32_t) {}};
  balancer::Cap upstream{"all connections", 500, [](uint32_t) {}};
  const DescriptorBudget budget{1100, 500, 500};

  void share(uint64_t upstreams_need) {
    const DescriptorParts parts = parts_of(budget, upstreams_need, upstream.used());
    CHECK(parts.clients + parts.upstream == budget.connections());
    shrink_to(parts, clients, upstream);
    CHECK(clients.max() <= parts.clients);
    CHECK(upstream.max() <= parts.upstream);
    grow_to(parts, clients, upstream);
    CHECK(std::max(clients.max(), clients.used()) + std::max(upstream.max(), upstream.used()) <= 1000);
  }
};

void take(balancer::Cap& cap, int count) {
  for (int i = 0; i < count; ++i) REQUIRE(cap.try_acquire(balancer::Cap::kNobody - 1));
}

void give_back(balancer::Cap& cap, int count) {
  for (int i = 0; i < count; ++i) cap.release();
}

TEST_CASE("descriptors: clients have what the caps of upstreams can't need, and half otherwise") {
  Sides sides;
  sides.share(3 * uint64_t{balancer::Cap::kUnlimited});
  CHECK(sides.clients.max() == 500);
  CHECK(sides.upstream.max() == 500);
  sides.share(10);
  CHECK(sides.upstream.max() == 10 * kKeptForUpstreams + kKeptBesides);
  CHECK(sides.clients.max() == 1000 - sides.upstream.max());
  sides.share(300);
  CHECK(sides.clients.max() == 500);
  CHECK(sides.upstream.max() == 500);
}

TEST_CASE("descriptors: a side grows only into what the other has left") {
  Sides sides;
  sides.share(10);
  const uint32_t most = sides.clients.max();
  const uint32_t least = sides.upstream.max();
  take(sides.clients, 800);
  sides.share(1000);
  CHECK(sides.clients.max() == 500);
  CHECK(sides.upstream.max() == 200);
  give_back(sides.clients, 200);
  sides.share(1000);
  CHECK(sides.upstream.max() == 400);
  take(sides.upstream, 400);
  give_back(sides.clients, 600);
  sides.share(1000);
  CHECK(sides.upstream.max() == 500);
  give_back(sides.upstream, 400);
  sides.share(10);
  CHECK(sides.upstream.max() == least);
  CHECK(sides.clients.max() == most);
}

TEST_CASE("descriptors: connections whose caps have gone take no place from others") {
  Sides sides;
  take(sides.upstream, 300);
  sides.share(50);
  take(sides.upstream, 50);
  CHECK(sides.upstream.max() + sides.clients.max() == 1000);
  give_back(sides.upstream, 300);
  sides.share(50);
  CHECK(sides.upstream.max() == 50 * kKeptForUpstreams + kKeptBesides);
}

TEST_CASE("descriptors: without a limit there is room for whatever may be configured") {
  const auto budget = divide_descriptors(~uint64_t{0}, one_service(), 2);
  REQUIRE(budget.ok());
  CHECK(budget->clients > 10'000'000);
}

}  // namespace
}  // namespace sluice::proxy::test
