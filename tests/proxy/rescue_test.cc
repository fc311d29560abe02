// How many of green's failures blue is asked to make good at once.
#include <uv.h>

#include <memory>
#include <string>
#include <vector>

#include "fixtures.h"

using namespace sluice;
using namespace sluice::proxy;
using namespace sluice::proxy::test;
using conf::Colour;

namespace {

// What fails on green goes to blue or is answered 502.
conf::Config rescuing() {
  conf::Config config = one_service();
  web(config).rescue = true;
  web(config).retry.max = 0;
  return config;
}

// A client whose request failed on green a moment ago.
std::shared_ptr<Peer> fail_on_green(DataPath& path) {
  auto client = path.connect();
  client->send(kGet);
  path.run();
  Peer& origin = path.origin(path.dials() - 1);
  REQUIRE(origin.name() == "10.0.0.2:80");
  origin.fail(UV_ECONNRESET);
  path.run();
  return client;
}

uint64_t rescues(DataPath& path) {
  return path.counters(Colour::green).rescues.get();
}

}  // namespace

TEST_CASE("rescue: a blue that does nothing else has its few at once, and another when one has ended") {
  DataPath path(rescuing());
  path.set_split(conf::kFullSplit);
  std::vector<std::shared_ptr<Peer>> clients;
  for (size_t i = 0; i < UpstreamPool::kLeastRescues; ++i) {
    clients.push_back(fail_on_green(path));
    REQUIRE(clients.back()->received().empty());
  }
  CHECK(rescues(path) == UpstreamPool::kLeastRescues);
  CHECK(status_of(fail_on_green(path)->received()) == 502);
  CHECK(rescues(path) == UpstreamPool::kLeastRescues);

  REQUIRE(path.origin(1).name() == "10.0.0.1:80");  // where the first of them is
  SECTION("it was answered") {
    path.origin(1).send(kOk);
    path.run();
    CHECK(clients[0]->received() == kOk);
  }
  SECTION("it failed on blue as well") {
    path.origin(1).fail(UV_ECONNRESET);
    path.run();
    CHECK(status_of(clients[0]->received()) == 502);
  }
  SECTION("its client has left") {
    clients[0]->fail(UV_ECONNRESET);
    path.run();
    CHECK(clients[0]->was_closed());
  }
  CHECK(path.reporter.finished.back().rescued);
  CHECK(fail_on_green(path)->received().empty());
  CHECK(rescues(path) == UpstreamPool::kLeastRescues + 1);
  CHECK(status_of(fail_on_green(path)->received()) == 502);
  CHECK(rescues(path) == UpstreamPool::kLeastRescues + 1);
}

TEST_CASE("rescue: a busy blue has more at once, but less than half of what it does") {
  constexpr size_t kOwn = 30;
  DataPath path(rescuing());
  std::vector<std::shared_ptr<Peer>> clients;
  for (size_t i = 0; i < kOwn; ++i) {
    clients.push_back(path.connect());
    clients.back()->send(kGet);
  }
  path.run();
  REQUIRE(path.dials() == kOwn);
  path.set_split(conf::kFullSplit);
  size_t rescued = 0;
  while (rescued < 2 * kOwn && fail_on_green(path)->received().empty()) ++rescued;
  CHECK(rescued == kOwn - 1);
  CHECK(rescues(path) == rescued);
}

TEST_CASE("rescue: where somebody waits for a place of blue nothing is added to the queue") {
  conf::Config config = rescuing();
  blue(config).max_connections = 1;
  DataPath path(config);
  auto first = path.connect();
  auto second = path.connect();
  first->send(get("/1"));
  path.run();
  second->send(get("/2"));
  path.run();
  REQUIRE(path.service().upstreams[0]->queued() == 1);
  path.set_split(conf::kFullSplit);
  CHECK(status_of(fail_on_green(path)->received()) == 502);
  CHECK(rescues(path) == 0);

  path.origin(0).send(kOk);
  path.run();
  CHECK(first->received() == kOk);
  REQUIRE(path.service().upstreams[0]->queued() == 0);
  auto rescued = fail_on_green(path);
  CHECK(rescues(path) == 1);
  CHECK(path.service().upstreams[0]->queued() == 1);
  // Now it is the one who waits.
  CHECK(status_of(fail_on_green(path)->received()) == 502);
  CHECK(rescues(path) == 1);

  for (const auto& client : {second, rescued}) {
    CHECK(client->received().empty());
    path.origin(0).send(kOk);
    path.run();
    CHECK(client->received() == kOk);
  }
  CHECK(path.reporter.finished.back().rescued);
}
