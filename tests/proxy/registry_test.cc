#include "proxy/registry.h"

#include "fixtures.h"

namespace sluice::proxy::test {
namespace {

uint64_t allowed(Registry& registry, const conf::Config& config) {
  registry.build(config, {}, 0);
  return registry.allowed_connections(config);
}

TEST_CASE("registry: what the caps of all upstreams allow") {
  Registry registry(2, [](uint32_t) {});
  registry.limit_upstream_connections(500);
  conf::Config config = one_service();
  CHECK(allowed(registry, config) >= balancer::Cap::kUnlimited);
  web(config).upstreams[0].max_connections = 40;
  CHECK(allowed(registry, config) >= balancer::Cap::kUnlimited);
  web(config).upstreams[1].max_connections = 30;
  CHECK(allowed(registry, config) == 70);

  conf::Cap database;
  database.name = "database";
  database.members = {{"web", conf::Colour::green}};
  database.max_connections = 25;
  config.caps.emplace("database", database);
  CHECK(allowed(registry, config) == 65);

  conf::Service second = web(config);
  second.name = "second";
  config.services.emplace("second", second);
  CHECK(allowed(registry, config) == 65 + 70);

  web(config).upstreams[1].endpoints.clear();  // nobody to connect to
  CHECK(allowed(registry, config) == 40 + 70);

  registry.find("second")->upstreams[0]->connections()->set_max(balancer::Cap::kUnlimited);
  CHECK(registry.allowed_connections(config) >= balancer::Cap::kUnlimited);
}

}  // namespace
}  // namespace sluice::proxy::test
