#include "proxy/tls_store.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "fixtures.h"
#include "proxy/tls_context.h"
#include "tls_fixtures.h"

using namespace sluice::proxy;
using namespace sluice::proxy::test;
namespace conf = sluice::conf;
namespace fs = std::filesystem;

namespace {

struct Store {
  Folder folder;
  Certificate root{{.common_name = "root"}};
  conf::Config config = one_service();
  TlsStore store;
  uint64_t now_ms = 1'000'000;

  Store() {
    conf::Listener listener;
    listener.bind = address("127.0.0.1", 443);
    listener.tls.emplace();
    config.listeners.push_back(listener);
  }
  conf::TlsServer& tls() { return *config.listeners.front().tls; }
  void put(const std::string& name) { write_pair(folder, "pair", Certificate({.common_name = name}, &root)); }
  void use_pair() {
    put("first");
    tls().pairs = {{folder.path("pair.crt"), folder.path("pair.key"), ""}};
  }
  void load() {
    auto loaded = store.load(config);
    INFO((loaded.ok() ? "" : loaded.error().detail));
    REQUIRE(loaded.ok());
    store.adopt(std::move(*loaded));
  }
  std::string refusal() {
    const auto loaded = store.load(config);
    return loaded.ok() ? "" : loaded.error().detail;
  }
  std::vector<TlsStore::Change> poll() { return store.poll(now_ms += TlsStore::kPollMs); }
  std::string subject() { return store.certificates().at(0).info->subject; }
};

}  // namespace

TEST_CASE("tls_store: files that change are read when they stand still") {
  Store world;
  world.use_pair();
  world.load();
  CHECK(world.poll().empty());
  world.put("second");
  CHECK(world.poll().empty());  // seen to have changed
  const auto changes = world.poll();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].error.empty());
  CHECK(changes[0].user == "127.0.0.1:443");
  CHECK(world.subject() == "CN=second");
  CHECK(world.poll().empty());
}

TEST_CASE("tls_store: a swapped symbolic link is a change") {
  Store world;
  for (const char* const version : {"v1", "v2"}) {
    fs::create_directory(world.folder.path(version));
    const Certificate one({.common_name = version}, &world.root);
    world.folder.write(std::string(version) + "/tls.crt", one.pem());
    world.folder.write(std::string(version) + "/tls.key", one.key_pem());
  }
  fs::create_symlink("v1", world.folder.path("data"));
  world.tls().pairs = {{world.folder.path("data/tls.crt"), world.folder.path("data/tls.key"), ""}};
  world.load();
  CHECK(world.subject() == "CN=v1");
  fs::create_symlink("v2", world.folder.path("data.new"));
  fs::rename(world.folder.path("data.new"), world.folder.path("data"));
  world.poll();
  CHECK(world.poll().size() == 1);
  CHECK(world.subject() == "CN=v2");
}

TEST_CASE("tls_store: a broken pair leaves the old one in force and says why, once") {
  Store world;
  world.use_pair();
  world.load();
  const auto before = world.store.server(world.config.listeners.front());
  SECTION("a key of another certificate") {
    world.folder.write("pair.key", Certificate({}, &world.root).key_pem());
  }
  SECTION("no PEM") {
    world.folder.write("pair.crt", "-----BEGIN CERTIFICATE-----\nnonsense\n");
  }
  SECTION("gone") {
    fs::remove(world.folder.path("pair.crt"));
  }
  world.poll();
  const auto changes = world.poll();
  REQUIRE(changes.size() == 1);
  CHECK(contains(changes[0].error, "pair."));
  CHECK(world.store.server(world.config.listeners.front()) == before);
  CHECK(world.subject() == "CN=first");
  CHECK(world.poll().empty());
  world.put("third");
  world.poll();
  CHECK(world.poll().size() == 1);
  CHECK(world.subject() == "CN=third");
}

TEST_CASE("tls_store: a reload takes over what has not changed") {
  Store world;
  world.use_pair();
  blue(world.config).tls.emplace().ca = world.folder.write("root.crt", world.root.pem());
  world.load();
  const auto server = world.store.server(world.config.listeners.front());
  const auto client = world.store.clients().at("web/blue");
  world.load();
  CHECK(world.store.server(world.config.listeners.front()) == server);
  CHECK(world.store.clients().at("web/blue") == client);
  world.tls().min_version = "1.3";
  blue(world.config).tls->sni = "other.test";
  world.load();
  CHECK(world.store.server(world.config.listeners.front()) != server);
  CHECK(world.store.clients().at("web/blue") != client);
}

TEST_CASE("tls_store: what cannot be used is named") {
  Store world;
  world.use_pair();
  const std::string good = world.tls().pairs[0].cert;
  world.tls().pairs[0].cert = world.folder.path("missing");
  CHECK(contains(world.refusal(), "missing cannot be read: No such file or directory"));
  world.tls().pairs[0].cert = world.folder.write("empty", "");
  CHECK(contains(world.refusal(), "empty has no certificate in PEM"));
  world.tls().pairs[0].cert = good;
  world.tls().pairs[0].key = good;
  CHECK(contains(world.refusal(), "has no private key"));
  world.use_pair();
  world.tls().pairs[0].ocsp = world.folder.write("ocsp", "nothing of the kind");
  CHECK(contains(world.refusal(), "ocsp is no OCSP response"));
  world.use_pair();
  world.tls().client_ca = world.folder.path("no-ca");
  CHECK(contains(world.refusal(), "no-ca cannot be read"));
  world.tls().client_ca.clear();
  world.use_pair();
  blue(world.config).tls.emplace().ca = world.folder.path("no-root");
  CHECK(contains(world.refusal(), "tls of web/blue"));
}

TEST_CASE("tls_store: what certificates say is shown") {
  Store world;
  const Certificate one({.common_name = "shop", .san = "DNS:shop.test,IP:10.0.0.1", .to_days = 10},
                        &world.root);
  world.tls().pairs = {write_pair(world.folder, "shop", one)};
  world.load();
  const CertificateInfo& info = *world.store.certificates().at(0).info;
  CHECK(info.subject == "CN=shop");
  CHECK(info.issuer == "CN=root");
  CHECK(info.names == std::vector<std::string>{"shop.test", "10.0.0.1"});
  CHECK(info.key == "ecdsa");
  CHECK(info.fingerprint.size() == 64);
  CHECK(info.not_after_s - info.not_before_s == 11 * 86400);
}
