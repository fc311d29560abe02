#include "conf/diff.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "tests/conf/fixtures.h"

using namespace sluice::conf;

namespace {

const std::string kListener = "[[listener]]\nbind = \"127.0.0.1:8080\"\n";
const std::string kService = "[service.web.blue]\nendpoints = [\"127.0.0.1:9001\"]\n";

std::vector<Change> changes(const std::string& before, const std::string& after) {
  return diff(parse_valid(before), parse_valid(after));
}

}  // namespace

TEST_CASE("a configuration does not differ from itself, nor from one in another order") {
  CHECK(changes(kFullConfig, kFullConfig).empty());
  CHECK(changes(kListener + kService, kService + kListener).empty());
}

TEST_CASE("a changed key has its path, both texts, and whether it needs a restart") {
  const std::vector<Change> found =
      changes("workers = 2\n" + kListener + kService,
              "workers = 4\n" + kListener + kService + "[service.web.timeouts]\nconnect = \"2s\"\n");
  CHECK(found == std::vector<Change>{{"workers", "2", "4", Applies::restart},
                                     {"service.web.timeouts.connect", "1s", "2s", Applies::reload}});
  CHECK(found[0].needs_restart());
  CHECK(found[0].to_string() == "workers: 2 -> 4 (needs a restart)");
  CHECK(!found[1].needs_restart());
  CHECK(found[1].to_string() == "service.web.timeouts.connect: 1s -> 2s");
}

TEST_CASE("state_dir and the admin section need a restart, the log does not") {
  const std::vector<Change> found =
      changes(kListener + kService, "state_dir = \"/s\"\n" + kListener + kService +
                                        "[admin]\nsocket = \"/a\"\nmode = \"0600\"\nhttp = \"127.0.0.1:1\"\n"
                                        "[log]\nlevel = \"error\"\n");
  CHECK(found == std::vector<Change>{{"state_dir", "", "/s", Applies::restart},
                                     {"admin.socket", "", "/a", Applies::restart},
                                     {"admin.mode", "0660", "0600", Applies::restart},
                                     {"admin.http", "", "127.0.0.1:1", Applies::restart},
                                     {"log.level", "info", "error", Applies::reload}});
  CHECK(found[0].to_string() == "state_dir: absent -> /s (needs a restart)");
}

TEST_CASE("a split in the file counts at the first start only") {
  const std::string green = "[service.web.green]\nendpoints = [\"127.0.0.1:9002\"]\n";
  const std::vector<Change> found =
      changes(kListener + kService + green, "service.web.split = 12.5\n" + kListener + kService + green);
  REQUIRE(found.size() == 1);
  CHECK(found[0] == Change{"service.web.split", "0", "12.5", Applies::first_start});
  CHECK(found[0].to_string() == "service.web.split: 0 -> 12.5 (counts at the first start only)");
}

TEST_CASE("a section that is new or gone is one change") {
  const std::string more =
      kListener + kService +
      "[service.web.green]\nendpoints = [\"127.0.0.1:9002\"]\ntls = {}\n"
      "[service.web.health]\n[cap.db]\nmembers = [\"web/blue\"]\nmax_connections = 5\n"
      "[[listener]]\nbind = \"127.0.0.1:8081\"\n[[route]]\nhost = \"a.b\"\nservice = \"web\"\n";
  CHECK(changes(kListener + kService, more) ==
        std::vector<Change>{{"listener[127.0.0.1:8081]", "", "present", Applies::reload},
                            {"route[a.b/]", "", "present", Applies::reload},
                            {"service.web.green", "", "present", Applies::reload},
                            {"service.web.health", "", "present", Applies::reload},
                            {"cap.db", "", "present", Applies::reload}});
  const std::vector<Change> gone = changes(more, kListener + kService);
  REQUIRE(gone.size() == 5);
  CHECK(gone[0].to_string() == "listener[127.0.0.1:8081]: present -> absent");
}

TEST_CASE("certificates of a listener and TLS itself change by a reload") {
  const auto tls = [](const std::string& pairs) { return kListener + "tls = " + pairs + "\n" + kService; };
  CHECK(changes(tls("{ cert = \"a\", key = \"b\" }"), tls("[{ cert = \"c\", key = \"b\" }]")) ==
        std::vector<Change>{{"listener[127.0.0.1:8080].tls[0].cert", "a", "c", Applies::reload}});
  CHECK(changes(kListener + kService, tls("{ cert = \"a\", key = \"b\" }")) ==
        std::vector<Change>{{"listener[127.0.0.1:8080].tls[0]", "", "present", Applies::reload}});
}

TEST_CASE("secrets show that they changed, not what they are") {
  const auto secret = [](const std::string& line) {
    return kListener + kService +
           "[service.web.green]\nendpoints = [\"127.0.0.1:9002\"]\n[service.web.rollout]\nsteps = [5]\n" +
           line;
  };
  const std::string one = secret("webhook_secret = \"one\"\n");
  const std::string two = secret("webhook_secret = \"two\"\n");
  const std::string path = "service.web.rollout.webhook_secret";
  CHECK(changes(one, two) == std::vector<Change>{{path, "(secret)", "(another secret)", Applies::reload}});
  CHECK(changes(secret(""), two) == std::vector<Change>{{path, "", "(secret)", Applies::reload}});
  CHECK(changes(one, secret("")) == std::vector<Change>{{path, "(secret)", "", Applies::reload}});
}
