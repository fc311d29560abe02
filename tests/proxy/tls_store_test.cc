#include "proxy/tls_store.h"

#include <openssl/asn1.h>
#include <openssl/bytestring.h>
#include <openssl/mem.h>
#include <unistd.h>

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
  int64_t now_s = 1'800'000'000;

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
    auto loaded = store.load(config, now_s);
    INFO((loaded.ok() ? "" : loaded.error().detail));
    REQUIRE(loaded.ok());
    store.adopt(std::move(*loaded));
  }
  std::string refusal() {
    const auto loaded = store.load(config, now_s);
    return loaded.ok() ? "" : loaded.error().detail;
  }
  std::vector<TlsStore::Change> poll() { return store.poll(now_ms += TlsStore::kPollMs, now_s); }
  // Until what has changed was read.
  std::vector<TlsStore::Change> settle() {
    REQUIRE(poll().empty());
    return poll();
  }
  std::vector<TlsStore::Change> settle_at_last() {
    std::vector<TlsStore::Change> changes = poll();
    return changes.empty() ? poll() : changes;
  }
  std::string subject() { return store.certificates().at(0).info->subject; }
};

void add_time(CBB* to, int64_t time_s) {
  const bssl::UniquePtr<ASN1_GENERALIZEDTIME> time(ASN1_GENERALIZEDTIME_set(nullptr, time_s));
  uint8_t* der = nullptr;
  const int size = i2d_ASN1_GENERALIZEDTIME(time.get(), &der);
  const bssl::UniquePtr<uint8_t> owned(der);
  REQUIRE(CBB_add_bytes(to, der, static_cast<size_t>(size)) == 1);
}

// A response (RFC 6960, 4.2.1) without a signature worth the name.
std::string ocsp_response(const Certificate& certificate, int64_t until_s) {
  uint8_t* serial = nullptr;
  const int serial_size = i2d_ASN1_INTEGER(X509_get0_serialNumber(certificate.x509()), &serial);
  const bssl::UniquePtr<uint8_t> owned_serial(serial);
  constexpr unsigned kZero = CBS_ASN1_CONTEXT_SPECIFIC | 0;
  constexpr unsigned kZeroOf = kZero | CBS_ASN1_CONSTRUCTED;
  constexpr uint8_t kBasic[] = {0x2b, 6, 1, 5, 5, 7, 48, 1, 1};
  bssl::ScopedCBB whole;
  CBB response, status, tagged, bytes, type, octets, basic, data, responder, list, one, id, part, next;
  bool made = CBB_init(whole.get(), 512) == 1 && CBB_add_asn1(whole.get(), &response, CBS_ASN1_SEQUENCE) == 1;
  made = made && CBB_add_asn1(&response, &status, CBS_ASN1_ENUMERATED) == 1 && CBB_add_u8(&status, 0) == 1;
  made = made && CBB_add_asn1(&response, &tagged, kZeroOf) == 1;
  made = made && CBB_add_asn1(&tagged, &bytes, CBS_ASN1_SEQUENCE) == 1;
  made = made && CBB_add_asn1(&bytes, &type, CBS_ASN1_OBJECT) == 1;
  made = made && CBB_add_bytes(&type, kBasic, sizeof(kBasic)) == 1;
  made = made && CBB_add_asn1(&bytes, &octets, CBS_ASN1_OCTETSTRING) == 1;
  made = made && CBB_add_asn1(&octets, &basic, CBS_ASN1_SEQUENCE) == 1;
  made = made && CBB_add_asn1(&basic, &data, CBS_ASN1_SEQUENCE) == 1;
  made = made && CBB_add_asn1(&data, &responder, kZeroOf | 1) == 1 && CBB_flush(&data) == 1;
  REQUIRE(made);
  add_time(&data, until_s - 86400);
  made =
      CBB_add_asn1(&data, &list, CBS_ASN1_SEQUENCE) == 1 && CBB_add_asn1(&list, &one, CBS_ASN1_SEQUENCE) == 1;
  made = made && CBB_add_asn1(&one, &id, CBS_ASN1_SEQUENCE) == 1;
  for (const unsigned tag : {CBS_ASN1_SEQUENCE, CBS_ASN1_OCTETSTRING, CBS_ASN1_OCTETSTRING}) {
    made = made && CBB_add_asn1(&id, &part, tag) == 1 && CBB_flush(&id) == 1;
  }
  made = made && CBB_add_bytes(&id, serial, static_cast<size_t>(serial_size)) == 1;
  made = made && CBB_add_asn1(&one, &part, kZero) == 1 && CBB_flush(&one) == 1;  // good
  REQUIRE(made);
  add_time(&one, until_s - 86400);
  REQUIRE(CBB_add_asn1(&one, &next, kZeroOf) == 1);
  add_time(&next, until_s);
  uint8_t* der = nullptr;
  size_t size = 0;
  REQUIRE(CBB_finish(whole.get(), &der, &size) == 1);
  const bssl::UniquePtr<uint8_t> owned(der);
  return {reinterpret_cast<const char*>(der), size};
}

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
  CHECK(changes[0].loaded);
  CHECK(changes[0].problems.empty());
  CHECK(changes[0].user == "127.0.0.1:443");
  CHECK(changes[0].renewed == std::vector{world.tls().pairs[0].cert, world.tls().pairs[0].key});
  CHECK(changes[0].loaded_text() == world.tls().pairs[0].cert + ", " + world.tls().pairs[0].key +
                                        " of tls of 127.0.0.1:443 were read again and are in force");
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
  const std::string before = world.store.certificates().at(0).info->fingerprint;
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
  CHECK_FALSE(changes[0].loaded);
  REQUIRE(changes[0].problems.size() == 1);
  CHECK(contains(changes[0].problems[0], "pair."));
  CHECK(contains(changes[0].problems[0], "what was loaded before stays in force"));
  CHECK(world.store.certificates().at(0).info->fingerprint == before);
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

TEST_CASE("tls_store: a broken pair does not keep the others from being renewed") {
  Store world;
  for (const char* const name : {"a", "b"}) {
    world.tls().pairs.push_back(
        write_pair(world.folder, name, Certificate({.common_name = name, .san = "DNS:a.test"}, &world.root)));
  }
  world.load();
  world.folder.write("a.crt", "-----BEGIN CERTIFICATE-----\nnonsense\n");
  write_pair(world.folder, "b", Certificate({.common_name = "b2"}, &world.root));
  const auto changes = world.settle();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].loaded);
  REQUIRE(changes[0].problems.size() == 1);
  CHECK(contains(changes[0].problems[0], "a.crt"));
  CHECK(world.store.certificates().at(0).info->subject == "CN=a");
  CHECK(world.store.certificates().at(1).info->subject == "CN=b2");
  CHECK(changes[0].renewed == std::vector{world.tls().pairs[1].cert, world.tls().pairs[1].key});
  CHECK(contains(world.refusal(), "a.crt"));
  CHECK(world.poll().empty());
  SECTION("a pair that is read again beside a broken one is not renewed by that") {
    world.folder.write("a.crt", "other nonsense");
    const auto again = world.settle();
    REQUIRE(again.size() == 1);
    CHECK_FALSE(again[0].loaded);
    CHECK(again[0].renewed.empty());
    CHECK(again[0].problems.size() == 1);
  }
  SECTION("what was broken for a while is renewed") {
    write_pair(world.folder, "a", Certificate({.common_name = "a2"}, &world.root));
    const auto again = world.settle();
    REQUIRE(again.size() == 1);
    CHECK(again[0].renewed == std::vector{world.tls().pairs[0].cert, world.tls().pairs[0].key});
  }
}

TEST_CASE("tls_store: broken roots do not keep a pair from being renewed, and are told of when whole again") {
  Store world;
  world.use_pair();
  world.tls().client_ca = world.folder.write("clients.crt", world.root.pem());
  world.load();
  const auto context = [&] { return world.store.server(world.config.listeners.front()); };
  world.folder.write("clients.crt", "nonsense");
  world.put("second");
  auto changes = world.settle();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].renewed == std::vector{world.tls().pairs[0].cert, world.tls().pairs[0].key});
  REQUIRE(changes[0].problems.size() == 1);
  CHECK(contains(changes[0].problems[0], "clients.crt"));
  CHECK(contains(changes[0].problems[0], "what was loaded before stays in force"));
  CHECK(world.subject() == "CN=second");
  CHECK(context()->asks_for_certificates());
  CHECK(world.poll().empty());
  CHECK(contains(world.refusal(), "clients.crt"));
  world.folder.write("clients.crt", world.root.pem());
  changes = world.settle();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].renewed == std::vector{world.tls().client_ca});
  CHECK(changes[0].problems.empty());
}

TEST_CASE("tls_store: a staple that ends goes, and is told of once, whatever else is broken then") {
  Store world;
  const Certificate one({.common_name = "one"}, &world.root);
  world.tls().pairs = {write_pair(world.folder, "pair", one)};
  world.tls().pairs[0].ocsp = world.folder.write("ocsp", ocsp_response(one, world.now_s + 10));
  world.tls().client_ca = world.folder.write("clients.crt", world.root.pem());
  world.load();
  fs::remove(world.tls().client_ca);
  REQUIRE(world.settle().size() == 1);
  world.now_s += 10;
  const auto changes = world.poll();
  REQUIRE(changes.size() == 1);
  CHECK_FALSE(changes[0].loaded);
  REQUIRE(changes[0].problems.size() == 2);
  CHECK(contains(changes[0].problems[0], "clients.crt"));
  CHECK(contains(changes[0].problems[1], "out of date; nothing is stapled"));
  CHECK(world.store.server(world.config.listeners.front())->staples_until_s() == Staple::kForever);
  CHECK(world.poll().empty());
}

TEST_CASE("tls_store: handshakes are counted at the listeners in force, through reloads") {
  Store world;
  world.use_pair();
  world.load();
  const auto at = [&](size_t listener) { return world.store.counters().at(listener); };
  const auto counted = at(0).counters;
  conf::Listener second = world.config.listeners.front();
  second.bind.port = 444;
  second.tls->pairs[0].cert = world.folder.path("missing");
  world.config.listeners.push_back(second);
  CHECK(contains(world.refusal(), "missing"));
  CHECK(world.store.counters().size() == 1);
  world.config.listeners.back().tls = world.tls();
  world.load();
  REQUIRE(world.store.counters().size() == 2);
  CHECK(at(0).counters == counted);
  CHECK(at(1).listener == "127.0.0.1:444");
  world.tls().min_version = "1.3";
  world.load();
  CHECK(at(0).counters == counted);
  CHECK(&world.store.server(world.config.listeners.front())->counters() == counted.get());
  world.config.listeners.pop_back();
  world.load();
  REQUIRE(world.store.counters().size() == 1);
  CHECK(at(0).counters == counted);
}

TEST_CASE("tls_store: listeners of one address are counted together") {
  Store world;
  world.use_pair();
  world.config.listeners.push_back(world.config.listeners.front());
  world.tls().min_version = "1.3";
  world.load();
  REQUIRE(world.store.counters().size() == 1);
  for (const conf::Listener& one : world.config.listeners)
    CHECK(&world.store.server(one)->counters() == world.store.counters()[0].counters.get());
}

TEST_CASE("tls_store: a staple whose file breaks stays while it is of use") {
  const bool reload_comes_first = GENERATE(false, true);
  Store world;
  const Certificate one({.common_name = "one"}, &world.root);
  world.tls().pairs = {write_pair(world.folder, "pair", one)};
  const std::string good = ocsp_response(one, world.now_s + 100);
  const std::string path = world.tls().pairs[0].ocsp = world.folder.write("ocsp", good);
  world.load();
  const auto until_s = [&] {
    return world.store.server(world.config.listeners.front())->staples_until_s() - world.now_s;
  };
  REQUIRE(until_s() == 100);
  bool is_refused = true;
  SECTION("garbage") {
    world.folder.write("ocsp", "nothing of the kind");
  }
  SECTION("cut") {
    world.folder.write("ocsp", good.substr(0, 60));
  }
  SECTION("empty") {
    world.folder.write("ocsp", "");
  }
  SECTION("gone") {
    fs::remove(path);
  }
  SECTION("out of date") {
    world.folder.write("ocsp", ocsp_response(one, world.now_s - 1));
    is_refused = false;
  }
  SECTION("of another certificate") {
    world.folder.write("ocsp", ocsp_response(Certificate({}, &world.root), world.now_s + 10));
    is_refused = false;
  }
  const auto read = [&] {
    if (is_refused) {
      CHECK(contains(world.refusal(), "ocsp"));
    } else {
      world.load();
    }
  };
  if (reload_comes_first) {
    read();
    CHECK(until_s() == 100);
  }
  const auto changes = world.settle_at_last();
  if (!changes.empty()) {
    CHECK_FALSE(changes[0].loaded);
    REQUIRE(changes[0].problems.size() == 1);
    CHECK(contains(changes[0].problems[0], "what was loaded before stays in force"));
  }
  CHECK(until_s() == 100);
  read();
  CHECK(until_s() == 100);
  world.now_s += 100;
  const auto ended = world.poll();
  REQUIRE(ended.size() == 1);
  CHECK_FALSE(ended[0].loaded);
  CHECK(contains(ended[0].problems.at(0), "nothing is stapled"));
  CHECK(until_s() > 1000);
  CHECK(world.poll().empty());
  world.folder.write("ocsp", ocsp_response(one, world.now_s + 7));
  CHECK(world.settle().at(0).renewed == std::vector{path});
  CHECK(until_s() == 7);
}

TEST_CASE("tls_store: a staple of another certificate, or whose time has passed, is left out") {
  Store world;
  const Certificate one({.common_name = "one"}, &world.root);
  const Certificate other({.common_name = "other"}, &world.root);
  world.tls().pairs = {write_pair(world.folder, "pair", one)};
  world.tls().pairs[0].ocsp = world.folder.write("ocsp", ocsp_response(one, world.now_s + 10));
  world.load();
  const auto context = [&] { return world.store.server(world.config.listeners.front()); };
  CHECK(context()->staples_until_s() == world.now_s + 10);
  CHECK(context()->problems().empty());
  SECTION("its time passes") {
    world.now_s += 10;
    const auto changes = world.poll();
    REQUIRE(changes.size() == 1);
    CHECK_FALSE(changes[0].loaded);
    REQUIRE(changes[0].problems.size() == 1);
    CHECK(contains(changes[0].problems[0], "out of date; nothing is stapled"));
    CHECK(world.poll().empty());
    world.load();  // which is no reason to refuse one
  }
  SECTION("it is of another") {
    world.now_s += 10;
    world.folder.write("ocsp", ocsp_response(other, world.now_s + 10));
    const auto changes = world.poll();  // which finds that the old one has ended
    REQUIRE(changes.size() == 1);
    REQUIRE(changes[0].problems.size() == 1);
    CHECK(contains(changes[0].problems[0], "of another certificate"));
  }
  SECTION("it is none, and the certificate behind it is new") {
    write_pair(world.folder, "pair", Certificate({.common_name = "new"}, &world.root));
    world.folder.write("ocsp", "nothing of the kind");
    const auto changes = world.settle();
    REQUIRE(changes.size() == 1);
    CHECK(changes[0].loaded);
    CHECK(changes[0].problems.size() == 1);
    CHECK(world.subject() == "CN=new");
  }
  CHECK(context()->staples_until_s() == Staple::kForever);
}

TEST_CASE("tls_store: a file that keeps its size and its time of modification is a change") {
  Store world;
  world.use_pair();
  world.load();
  const auto before = fs::last_write_time(world.folder.path("pair.crt"));
  const auto size = fs::file_size(world.folder.path("pair.crt"));
  do {
    world.put("secnd");
  } while (fs::file_size(world.folder.path("pair.crt")) != size);
  fs::last_write_time(world.folder.path("pair.crt"), before);
  world.load();
  CHECK(world.subject() == "CN=secnd");
}

TEST_CASE("tls_store: the system's roots are watched as any others") {
  Store world;
  world.config.listeners.clear();
  const std::string roots = world.folder.write("roots.crt", world.root.pem());
  const char* const before = std::getenv("SSL_CERT_FILE");
  const std::string kept = before == nullptr ? "" : before;
  setenv("SSL_CERT_FILE", roots.c_str(), 1);
  blue(world.config).tls.emplace();
  world.load();
  const auto client = world.store.clients().at("web/blue");
  world.folder.write("roots.crt", Certificate({.common_name = "another root"}).pem());
  CHECK(world.settle().size() == 1);
  CHECK(world.store.clients().at("web/blue") != client);
  kept.empty() ? unsetenv("SSL_CERT_FILE") : setenv("SSL_CERT_FILE", kept.c_str(), 1);
}

TEST_CASE("tls_store: what cannot be used is named") {
  Store world;
  world.use_pair();
  const std::string good = world.tls().pairs[0].cert;
  world.tls().pairs[0].cert = world.folder.path("missing");
  CHECK(contains(world.refusal(), "missing cannot be read: No such file or directory"));
  world.tls().pairs[0].cert = world.folder.write("empty", "");
  CHECK(contains(world.refusal(), "empty has no certificate in PEM"));
  const std::string pem = Certificate({}, &world.root).pem();
  world.tls().pairs[0].cert = world.folder.write("cut", pem.substr(0, pem.size() / 2));
  CHECK(contains(world.refusal(), "cut cannot be read: the file is cut off or damaged (BAD_END_LINE)"));
  world.tls().pairs[0].cert =
      world.folder.write("odd", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  CHECK(contains(world.refusal(), "the certificate number 1 in "));
  CHECK(contains(world.refusal(), "odd cannot be read: the file is cut off or damaged ("));
  world.tls().pairs[0].cert = good;
  world.tls().pairs[0].key = good;
  CHECK(
      contains(world.refusal(), "has no private key that can be used: nothing of the kind in PEM is in it"));
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
