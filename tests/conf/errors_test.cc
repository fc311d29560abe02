// Wrong configurations and the exact errors they give. In each text, `wrong` is
// added to a configuration that is otherwise valid.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "conf/parse.h"
#include "tests/conf/fixtures.h"

using namespace sluice::conf;

namespace {

struct Case {
  std::string wrong;
  std::string errors;  // without the file's name and ": error"
};

// The errors as "LINE:COL MESSAGE", each hint on a line of its own.
std::string errors_of(const std::string& text) {
  std::string out;
  for (const Diagnostic& error : parse(text, "f").errors) {
    out += (out.empty() ? "" : "\n") + std::to_string(error.position.line) + ":" +
           std::to_string(error.position.column) + " " + error.message;
    if (!error.hint.empty()) out += "\nhint: " + error.hint;
  }
  return out;
}

void check(const std::vector<Case>& cases, const std::string& before, const std::string& after) {
  for (const Case& item : cases) {
    INFO(item.wrong);
    CHECK(errors_of(before + item.wrong + after) == item.errors);
  }
}

const std::string kListener = "[[listener]]\nbind = \"127.0.0.1:1\"\n";
const std::string kBlue = "\n[service.web.blue]\nendpoints = [\"127.0.0.1:2\"]\n";
const std::string kGreen = "[service.web.green]\nendpoints = [\"127.0.0.1:3\"]\n";

}  // namespace

TEST_CASE("an error is FILE:LINE:COL: error: MESSAGE with the hint below") {
  CHECK(parse("wrokers = 1\n" + kListener + kBlue, "a.toml").to_string() ==
        "a.toml:1:1: error: unknown key \"wrokers\"\n  hint: did you mean \"workers\"?");
}

TEST_CASE("a syntax error has its line and column") {
  const ParseOutcome outcome = parse("workers = 1\n[log\nlevel = 1\n", "f");
  REQUIRE(outcome.errors.size() == 1);
  CHECK(outcome.errors[0].position.line == 2);
  CHECK(outcome.errors[0].position.column == 5);
  CHECK(parse("a = \n", "f").errors.at(0).position.line == 1);
  CHECK(parse("\n\nworkers = 1\nworkers = 2\n", "f").errors.at(0).position.line == 4);
  CHECK(parse("s = \"\xff\"\n", "f").errors.size() == 1);
}

TEST_CASE("behind a syntax error the other lines are looked at too") {
  const auto lines_of = [](const std::string& text) {
    std::vector<size_t> lines;
    for (const Diagnostic& error : parse(text, "f").errors) lines.push_back(error.position.line);
    return lines;
  };
  using Lines = std::vector<size_t>;
  CHECK(lines_of("workers = 2x\nwrokers = 1\n[log]\nlevel = \"loud\"\n") == Lines{1, 2, 4});
  CHECK(lines_of("wrokers = 1\n\nworkers = = 2\n\n[log]\nlevel = \"info\naccess = 7\n") == Lines{1, 3, 6, 7});
  // What is missing may be what was left out, and a heading rules those below.
  CHECK(lines_of("[service.web.blue]\nendpoints = [\"127.0.0.1:1\n") == Lines{2});
  CHECK(lines_of("[log\nlevel = 1\n[[listener]]\nbnd = 1\n") == Lines{1});
  // One mistake over several lines stays one.
  CHECK(lines_of("state_dir = \"\"\"never\nended\nwrokers = 1\n").size() == 1);
  std::string many;
  for (int i = 0; i < 200; ++i) many += "k" + std::to_string(i) + " = =\n\n";
  CHECK(lines_of(many).size() == 21);
}

TEST_CASE("unknown keys are errors with the nearest known key as hint") {
  check(
      {
          {"[sevice.x]\n", "1:2 unknown key \"sevice\"\nhint: did you mean \"service\"?"},
          {"[log]\nlvel = \"info\"\n", "2:1 log: unknown key \"lvel\"\nhint: did you mean \"level\"?"},
          {"[log]\n  zzzzzz = 1\n", "2:3 log: unknown key \"zzzzzz\""},
          {"timeouts = 1\n", "1:1 unknown key \"timeouts\"\nhint: write it as [service.NAME.timeouts]"},
          {"[admin]\nsteps = [1]\n",
           "2:1 admin: unknown key \"steps\"\nhint: \"steps\" is a key of [service.NAME.rollout]"},
          {"[admin]\nworkers = 1\n",
           "2:1 admin: unknown key \"workers\"\nhint: \"workers\" is a key of the top of the file"},
          {"listeners = 1\n", "1:1 unknown key \"listeners\"\nhint: did you mean \"listener\"?"},
          {"[service.web]\nmax_conns = 1\n",
           "2:1 service.web: unknown key \"max_conns\"\nhint: did you mean \"max_connections\", a key of "
           "[service.NAME.blue]?"},
          {"[service.web]\nmaxconn = 1\n",
           "2:1 service.web: unknown key \"maxconn\"\nhint: did you mean \"max_connections\", a key of "
           "[service.NAME.blue]?"},
          {"[service.web]\nmax_connections = 1\n",
           "2:1 service.web: unknown key \"max_connections\"\nhint: \"max_connections\" is a key of "
           "[service.NAME.blue]"},
          {"[service.web]\nretries = 1\n",
           "2:1 service.web: unknown key \"retries\"\nhint: did you mean \"retry\"?"},
          {"[service.web]\nqqqqqqqq = 1\n", "2:1 service.web: unknown key \"qqqqqqqq\""},
          {"[log]\nlevel = \"warn\"\n",
           "2:9 log.level: \"warn\" is none of \"debug\", \"info\", \"warning\", \"error\"\nhint: did you mean "
           "\"warning\"?"},
      },
      "", kListener + kBlue);
}

TEST_CASE("a value of the wrong kind says what was expected") {
  check(
      {
          {"workers = \"2\"\n", "1:11 workers: expected a whole number, found a string"},
          {"workers = 2.5\n", "1:11 workers: expected a whole number, found a floating-point number"},
          {"workers = 1979-05-27\n", "1:11 workers: expected a whole number, found a date or time"},
          {"state_dir = 3\n", "1:13 state_dir: expected a string, found an integer"},
          {"drain_timeout = 30\n",
           "1:17 drain_timeout: expected a duration such as \"5s\", found an integer"},
          {"admin = 3\n", "1:9 admin: expected a table, as in [admin]; found an integer"},
          {"log = { sample = \"x\" }\n", "1:18 log.sample: expected a number, found a string"},
          {"route = 3\n", "1:9 route: expected an array of tables: write [[route]]; found an integer"},
          {"[route]\nservice = \"web\"\n",
           "1:1 route: expected an array of tables: write [[route]]; found a table"},
          {"route = [1]\n", "1:10 route[0]: expected a table, as in [[route]]; found an integer"},
          {"route = []\n", "1:9 route: the array is empty"},
          {"cap = 3\n", "1:7 cap: expected tables, as in [cap.NAME]; found an integer"},
          {"[cap]\n", "1:1 cap: there is no name: write [cap.NAME]"},
          {"cap.x = 3\n", "1:9 cap.x: expected a table, as in [cap.NAME]; found an integer"},
      },
      "", kListener + kBlue);
}

TEST_CASE("a value out of its range says what the range is") {
  check(
      {
          {"workers = -1\n", "1:11 workers: -1 is out of range: 0 to 64"},
          {"workers = 65\n", "1:11 workers: 65 is out of range: 0 to 64"},
          {"workers = 9223372036854775807\n", "1:11 workers: 9223372036854775807 is out of range: 0 to 64"},
          {"drain_timeout = \"25h\"\n", "1:17 drain_timeout: \"25h\" is out of range: 0s to 24h"},
          {"drain_timeout = \"5\"\n",
           "1:17 drain_timeout: \"5\" is not a duration: write a whole number and ms, s, m or h, as in "
           "\"250ms\""},
          {"[log]\nsample = 1.5\n", "2:10 log.sample: 1.5 is out of range: 0 to 1"},
          {"[log]\nsample = nan\n", "2:10 log.sample: nan is out of range: 0 to 1"},
          {"[log]\nsample = -inf\n", "2:10 log.sample: -inf is out of range: 0 to 1"},
          {"[service.web.limits]\nheader_bytes = 1\n",
           "2:16 service.web.limits.header_bytes: 1 is out of range: 1KiB to 1MiB"},
          {"[service.web.limits]\nheader_bytes = -1\n",
           "2:16 service.web.limits.header_bytes: -1 is out of range: 1KiB to 1MiB"},
          {"[service.web.limits]\nbody_bytes = \"1kb\"\n",
           "2:14 service.web.limits.body_bytes: \"1kb\" is not a size: write a whole number and B, KiB, MiB "
           "or GiB, "
           "as in \"64KiB\""},
          {"[service.web.trip]\nfalse_trip_rate = 0\n",
           "2:19 service.web.trip.false_trip_rate: 0 is out of range: above 0, up to 0.1"},
          {"[service.web.trip]\nfalse_trip_rate = 0.2\n",
           "2:19 service.web.trip.false_trip_rate: 0.2 is out of range: above 0, up to 0.1"},
      },
      "", kListener + kBlue);
}

TEST_CASE("text, words and paths are checked") {
  check(
      {
          {"group = \"web\"\n", "1:9 group: it is taken only with a user: add user, or remove group"},
          {"state_dir = \"\"\n", "1:13 state_dir: the text is empty: leave the key out instead"},
          {"state_dir = \"a\\u0000b\"\n", "1:13 state_dir: the text has a control character"},
          {"[log]\nlevel = \"wraning\"\n",
           "2:9 log.level: \"wraning\" is none of \"debug\", \"info\", \"warning\", \"error\"\nhint: did you "
           "mean "
           "\"warning\"?"},
          {"[admin]\nmode = \"0999\"\n",
           "2:8 admin.mode: \"0999\" is not a mode: write three octal digits, as in \"0660\""},
          {"[admin]\nmode = \"1777\"\n",
           "2:8 admin.mode: \"1777\" is not a mode: write three octal digits, as in \"0660\""},
          {"[admin]\nmode = \"\"\n",
           "2:8 admin.mode: \"\" is not a mode: write three octal digits, as in \"0660\""},
          {"[admin]\nmode = 0o660\n",
           "2:8 admin.mode: expected a mode in quotes such as \"0660\", found an integer"},
          {"[admin]\nsocket = \"run/x\"\n",
           "2:10 admin.socket: \"run/x\" is no absolute path of at most 107 bytes"},
          {"[admin]\nhttp = \"dns:x:1\"\n",
           "2:8 admin.http: a name cannot be listened on: write an IP address"},
          {"[admin]\nhttp_hosts = [\"a.example\", \"b:80\"]\n",
           "2:28 admin.http_hosts: \"b:80\" is not a host: write \"proxy.internal\", without a port"},
      },
      "", kListener + kBlue);
}

TEST_CASE("listeners are checked") {
  const std::string bind = "[[listener]]\nbind = \"127.0.0.1:1\"\n";
  check(
      {
          {"", "1:1 there is no listener: add [[listener]] with the address to bind"},
          {"[[listener]]\n",
           "1:1 listener[0]: missing key \"bind\": Where to listen. Port 0 takes any free port."},
          {"[[listener]]\nbind = \"localhost:80\"\n",
           "2:8 listener[0].bind: \"localhost\" is not an IP address, and a name cannot be listened on: write "
           "\"127.0.0.1:80\", or \"0.0.0.0:80\" for any"},
          {bind + "[admin]\nhttp = \"localhost:90\"\n",
           "4:8 admin.http: \"localhost\" is not an IP address, and a name cannot be listened on: write "
           "\"127.0.0.1:90\", or \"0.0.0.0:90\" for any"},
          {"[[listener]]\nbind = \"*:80\"\n",
           "2:8 listener[0].bind: \"*:80\" is not an address: write \"0.0.0.0:80\" or \"[::]:80\" for any"},
          {bind + "tls = { cert = \"a\", key = \"b\", client_required = true }\n",
           "3:50 listener[0].tls.client_required: client_required wants client_ca: add client_ca with those who "
           "issue the clients' certificates, or remove client_required"},
          {bind + "tls = [{ cert = \"a\", key = \"b\", client_required = true }]\n",
           "3:51 listener[0].tls[0].client_required: client_required wants client_ca: add client_ca with those "
           "who issue the clients' certificates, or remove client_required"},
          {bind + "tls = { cert = \"a\", key = \"b\", client_ca = 3, client_required = true }\n",
           "3:44 listener[0].tls.client_ca: expected a string, found an integer"},
          {bind + bind,
           "4:8 listener[1].bind: \"127.0.0.1:1\" is bound already, in line 2: each address can be bound "
           "once"},
          {bind + "[admin]\nhttp = \"127.0.0.1:1\"\n",
           "2:8 listener[0].bind: \"127.0.0.1:1\" is bound already, in line 4: each address can be bound "
           "once"},
          {"[[listener]]\nbind = \"unix:/a\"\n[admin]\nsocket = \"/a\"\n",
           "2:8 listener[0].bind: \"unix:/a\" is bound already, in line 4: each address can be bound once"},
          {bind + "tls = { cert = \"a\" }\n",
           "3:7 listener[0].tls: missing key \"key\": The private key: path of a PEM file."},
          {bind + "tls = { cert = \"a\", key = \"b\", min_version = \"1.1\" }\n",
           "3:46 listener[0].tls.min_version: \"1.1\" is none of \"1.2\", \"1.3\"\nhint: did you mean "
           "\"1.2\"?"},
          {bind + "tls = [{ cert = \"a\", key = \"b\" }, { cert = \"c\", key = \"d\", client_ca = \"e\" }]\n",
           "3:72 listener[0].tls[1].client_ca: this holds for all key pairs: move it to the first"},
          {bind + "tls = { cert = \"a\", key = \"b\", crt = 1 }\n",
           "3:32 listener[0].tls: unknown key \"crt\"\nhint: did you mean \"cert\"?"},
          {bind + "tls = true\n",
           "3:7 listener[0].tls: expected a table, as in [listener.tls]; found a boolean"},
          {bind + "trusted = [\"10.0.0.1/8\"]\n",
           "3:12 listener[0].trusted: \"10.0.0.1/8\" has bits behind its prefix: write \"10.0.0.0/8\""},
          {bind + "proxy_protocol = true\n",
           "3:18 listener[0]: proxy_protocol is believed from trusted peers only, and there are none: add "
           "trusted "
           "with the networks of the load balancers in front"},
      },
      "", kBlue);
}

TEST_CASE("routes are checked") {
  check(
      {
          {"[[route]]\n", "3:1 route[0]: missing key \"service\": The service that answers."},
          {"[[route]]\nservice = \"wev\"\n",
           "4:11 route[0].service: there is no service \"wev\": add [service.wev] or name another\nhint: did "
           "you mean "
           "\"web\"?"},
          {"[[route]]\nservice = \"web\"\nhost = \"a.b:80\"\n",
           "5:8 route[0].host: \"a.b:80\" is not a host: write \"shop.example.com\" or \"*.example.com\", "
           "without a "
           "port"},
          {"[[route]]\nservice = \"web\"\nhost = \"*\"\n",
           "5:8 route[0].host: \"*\" is not a host: leave the key out to match any"},
          {"[[route]]\nservice = \"web\"\npath = \"api\"\n",
           "5:8 route[0].path: \"api\" is not a path: begin it with \"/\", without spaces and \"#\""},
          {"[[route]]\nservice = \"web\"\nhost = \"A.b\"\npath = \"/x\"\n[[route]]\nservice = \"web\"\nhost "
           "= "
           "\"a.b\"\npath = \"/x/\"\n",
           "7:1 route[1]: matches the same requests as the route in line 3: change its host or path, or "
           "remove it"},
          {"[[route]]\nservice = \"web\"\n[[route]]\nservice = \"web\"\nhost = 3\n[[route]]\nservice = "
           "\"web\"\npath = \"/%zz\"\n",
           "7:8 route[1].host: expected a string, found an integer\n"
           "10:8 route[2].path: \"/%zz\" has a broken escape: write two hexadecimal digits behind \"%\"; paths "
           "are compared as clients send them, unchanged"},
          {"[[route]]\nservice = \"web\"\npath = \"x\"\n[[route]]\nservice = \"web\"\n",
           "5:8 route[0].path: \"x\" is not a path: begin it with \"/\", without spaces and \"#\""},
          {"[service.b.blue]\nendpoints = [\"127.0.0.1:9\"]\n",
           "6:1 there are 2 services and no route: add [[route]] to say which requests go where"},
      },
      kListener, kBlue);
}

TEST_CASE("a route's path that no request can have is refused") {
  const auto error_of = [](const std::string& path) {
    const std::string found =
        errors_of(kListener + kBlue + "[[route]]\nservice = \"web\"\npath = \"" + path + "\"\n");
    const std::string place = "8:8 route[0].path: \"" + path + "\" ";
    return found.starts_with(place) ? found.substr(place.size()) : found;
  };
  const std::string past_the_end =
      "can never match: a path ends before \"?\" and \"#\": leave out what begins there";
  const std::string dots =
      "has a dot segment, which clients resolve before they send: write the path that is left; paths are "
      "compared as clients send them, unchanged";
  const std::string escape =
      "has a broken escape: write two hexadecimal digits behind \"%\"; paths are compared as clients send "
      "them, unchanged";
  for (const char* path : {"/a?b", "/?", "/a#b", "/../x?y"}) CHECK(error_of(path) == past_the_end);
  for (const char* path : {"/../x", "/a/./b", "/a/..", "/.", "/./"}) CHECK(error_of(path) == dots);
  for (const char* path : {"/%zz", "/a%", "/a%2", "/%2g"}) CHECK(error_of(path) == escape);
  for (const char* path : {"/%20", "/.well-known", "/a..b/", "/...", "/a.", "//", "/a/%2F"}) {
    INFO(path);
    CHECK(error_of(path).empty());
  }
}

TEST_CASE("a rollout has at most as many steps as can be started") {
  const auto errors_with = [](size_t steps) {
    std::string list;
    for (size_t i = 1; i <= steps; ++i) list += (i == 1 ? "" : ", ") + std::to_string(i) + "e-2";
    return errors_of(kListener + "[service.web.rollout]\nsteps = [" + list + "]\n" + kBlue + kGreen);
  };
  CHECK(errors_with(kMaxRolloutSteps).empty());
  CHECK(errors_with(kMaxRolloutSteps + 1) ==
        "4:702 service.web.rollout.steps: there are 101 steps: a rollout has at most 100");
}

TEST_CASE("services are checked") {
  check(
      {
          {"", "1:1 there is no service: add [service.NAME] and the endpoints of its blue"},
          {"[service.\"a b\".blue]\n", "3:10 service: \"a b\" is not a name: use 1 to 64 of A-Z a-z 0-9 _ -"},
          {"[service.web]\nsplit = 0\n",
           "3:1 service.web: there is no blue: add [service.web.blue] with its endpoints"},
          {"[service.web.blue]\n", "3:1 service.web.blue: missing key \"endpoints\": Where requests go."},
          {"[service.web.blue]\nendpoints = []\n",
           "4:13 service.web.blue.endpoints: there is no endpoint: write at least one"},
          {"[service.web.blue]\nendpoints = \"127.0.0.1:1\"\n",
           "4:13 service.web.blue.endpoints: expected an array, found a string"},
          {"[service.web.blue]\nendpoints = [\"127.0.0.1:1\",\n  \"127.0.0.1:2\", \"127.0.0.1:1\"]\n",
           "5:18 service.web.blue.endpoints: \"127.0.0.1:1\" is there twice, first in line 4: give it a "
           "weight "
           "instead"},
          {"[service.web.blue]\nendpoints = [{ addres = \"127.0.0.1:1\" }]\n",
           "4:14 service.web.blue.endpoints: an endpoint has no \"address\"\n4:16 "
           "service.web.blue.endpoints: unknown "
           "key \"addres\"\nhint: did you mean \"address\"?"},
          {"[service.web.blue]\nendpoints = [{ address = \"127.0.0.1:1\", weight = 0 }]\n",
           "4:50 service.web.blue.endpoints: the weight 0 is out of range: 1 to 1000"},
          {"[service.web.blue]\nendpoints = [\"127.0.0.1:0\"]\n",
           "4:14 service.web.blue.endpoints: port 0 cannot be connected to"},
          {"[service.web.blue]\nendpoints = [\"127.0.0.1:1\"]\ntls = { cert = \"x\" }\n",
           "5:16 service.web.blue.tls: cert without key: a client certificate needs both"},
      },
      kListener, "");
}

TEST_CASE("a service's own keys are checked") {
  check(
      {
          {"split = 25.005\n",
           "4:9 service.web.split: 25.005 is not a percentage: write 0 to 100 in steps of 0.01"},
          {"split = 101\n",
           "4:9 service.web.split: 101 is not a percentage: write 0 to 100 in steps of 0.01"},
          {"split = \"5\"\n", "4:9 service.web.split: expected a number of percent, found a string"},
          {"split = 5\n",
           "4:9 service.web.split: there is no green to have 5 % of the requests: add [service.web.green] or "
           "set the "
           "split to 0"},
          {"sticky = \"ip\"\n",
           "4:10 service.web.sticky: \"ip\" is none of \"none\", \"client-ip\", \"header:NAME\", "
           "\"cookie:NAME\""},
          {"sticky = \"cookie:a b\"\n", "4:10 service.web.sticky: \"a b\" cannot be the name of a cookie"},
          {"sticky = \"header:\"\n",
           "4:10 service.web.sticky: it needs the name of the header\nhint: write \"header:NAME\""},
          {"override = \"header:a:b\"\n",
           "4:12 service.web.override: \"a:b\" cannot be the name of a header"},
          {"override = \"header:Host\"\n",
           "4:12 service.web.override: \"Host\" has a meaning in HTTP itself: choose another header"},
          {"override = \"X-Up\"\n",
           "4:12 service.web.override: \"X-Up\" is neither \"header:NAME\" nor \"off\""},
          {"rescue = \"yes\"\n", "4:10 service.web.rescue: expected true or false, found a string"},
          {"connect = \"1s\"\n",
           "4:1 service.web: unknown key \"connect\"\nhint: \"connect\" is a key of [service.NAME.timeouts]"},
          {"retry = { on = [\"conect\", \"303\", true] }\n",
           "4:17 service.web.retry.on: \"conect\" is none of \"connect\", \"reset\" and a status such as "
           "\"503\"\nhint: did you mean \"connect\"?\n"
           "4:27 service.web.retry.on: \"303\" is none of \"connect\", \"reset\" and a status such as "
           "\"503\"\n"
           "4:34 service.web.retry.on: a boolean is none of \"connect\", \"reset\" and a status such as "
           "\"503\""},
          {"trip = { on = [\"4xx\"] }\n",
           "4:16 service.web.trip.on: \"4xx\" is none of \"5xx\", \"connect\", \"reset\", \"timeout\"\nhint: "
           "did you "
           "mean \"5xx\"?"},
      },
      kListener + "[service.web]\n", kBlue);
}

TEST_CASE("health checks, outliers, rollouts and trips are checked") {
  check(
      {
          {"health.status = [99]\n",
           "4:18 service.web.health.status: expected a status from 100 to 599 or a class such as \"2xx\""},
          {"health.status = [99, 200, \"2x\"]\n",
           "4:18 service.web.health.status: expected a status from 100 to 599 or a class such as \"2xx\"\n"
           "4:27 service.web.health.status: expected a status from 100 to 599 or a class such as \"2xx\""},
          {"health.status = \"6xx\"\n",
           "4:17 service.web.health.status: expected a status from 100 to 599 or a class such as \"2xx\""},
          {"health.status = []\n",
           "4:17 service.web.health.status: there is no status code: write at least one, as in [200]"},
          {"outlier = { eject = \"10m\" }\n",
           "4:21 service.web.outlier.max_eject: 5m is less than eject, 10m: raise max_eject or lower eject"},
          {"rollout = {}\n",
           "4:11 service.web.rollout: missing key \"steps\": The splits, one after the other."},
          {"rollout.steps = []\n",
           "4:17 service.web.rollout.steps: there is no step: write at least one, as in [100]"},
          {"rollout.steps = [0, 5]\n", "4:18 service.web.rollout.steps: 0 is not above 0: steps ascend"},
          {"rollout.steps = [10, 10]\n",
           "4:22 service.web.rollout.steps: 10 is not above the step before it, 10: steps ascend"},
          {"rollout.steps = [10, 200, 5, \"a\"]\n",
           "4:22 service.web.rollout.steps: 200 is not a percentage: write 0 to 100 in steps of 0.01\n"
           "4:27 service.web.rollout.steps: 5 is not above the step before it, 10: steps ascend\n"
           "4:30 service.web.rollout.steps: expected a number of percent, found a string"},
          {"rollout.steps = [10, 101]\n",
           "4:22 service.web.rollout.steps: 101 is not a percentage: write 0 to 100 in steps of 0.01"},
          {"rollout = { steps = [5], deadline = \"5m\" }\n",
           "4:37 service.web.rollout.deadline: 5m is not above hold, 5m: every step would abort"},
          {"rollout = { steps = [5], webhook = \"ftp://x\" }\n",
           "4:36 service.web.rollout.webhook: \"ftp://x\" is not a URL: write \"http://HOST:PORT/PATH\""},
          {"rollout = { steps = [5], webhook = \"https:///x\" }\n",
           "4:36 service.web.rollout.webhook: \"https:///x\" is not a URL: write \"http://HOST:PORT/PATH\""},
          {"rollout = { steps = [5], gate = \"http://h:99999/\" }\n",
           "4:33 service.web.rollout.gate: \"http://h:99999/\" has no valid port: write a number from 1 to 65535 "
           "behind the host, or leave the colon out"},
          {"rollout = { steps = [5], margin = 1 }\n",
           "4:35 service.web.rollout.margin: 1 is out of range: at least 0, below 1"},
          {"trip.on = []\n",
           "4:11 service.web.trip.on: nothing counts as an error, so nothing can trip: name one, or set "
           "enabled = "
           "false"},
      },
      kListener + "[service.web]\n", kBlue + kGreen);
}

TEST_CASE("a rollout needs a green") {
  check({{"rollout.steps = [5]\n",
          "4:1 service.web.rollout: there is no green to roll out: add [service.web.green] or remove the "
          "rollout"}},
        kListener + "[service.web]\n", kBlue);
}

TEST_CASE("caps are checked") {
  check(
      {
          {"[cap.db]\n",
           "6:1 cap.db: missing key \"members\": The upstreams that share it.\n"
           "6:1 cap.db: missing key \"max_connections\": Connections of the whole process to all members "
           "together."},
          {"[cap.db]\nmax_connections = 1\nmembers = []\n",
           "8:11 cap.db.members: there is no member: write at least one, as in [\"web/blue\"]"},
          {"[cap.db]\nmax_connections = 0\nmembers = [\"web/blue\"]\n",
           "7:19 cap.db.max_connections: 0 is out of range: 1 to 10000000"},
          {"[cap.db]\nmax_connections = 1\nmembers = [\"web/blue\"]\nwarn_at = 0\n",
           "9:11 cap.db.warn_at: 0 is out of range: above 0, up to 1"},
          {"[cap.db]\nmax_connections = 1\nmembers = [\"web/blue\", \"web/blue\"]\n",
           "8:24 cap.db.members: \"web/blue\" is there twice: remove one"},
          {"[cap.db]\nmax_connections = 1\nmembers = [\"web/green\", \"webb/blue\"]\n",
           "8:12 cap.db.members: the service \"web\" has no green: add it or remove the member\n"
           "8:25 cap.db.members: there is no service \"webb\": name one that is there\nhint: did you mean "
           "\"web\"?"},
          {"[cap.db]\nmax_connections = 1\nmembers = [\"web\", \"web/red\", 3]\n",
           "8:12 cap.db.members: \"web\" is not an upstream: write \"SERVICE/blue\" or \"SERVICE/green\"\n"
           "8:19 cap.db.members: \"web/red\" is not an upstream: write \"SERVICE/blue\" or "
           "\"SERVICE/green\"\n"
           "8:30 cap.db.members: expected a string, found an integer"},
      },
      kListener + kBlue, "");
}

TEST_CASE("all errors of a file show at once, in the order of the file") {
  CHECK(errors_of("wokers = 1\n[log]\nlevel = 3\n[service.web]\nsplit = 200\n[service.web.blue]\nbalance = "
                  "\"p3c\"\n") ==
        "1:1 unknown key \"wokers\"\nhint: did you mean \"workers\"?\n"
        "1:1 there is no listener: add [[listener]] with the address to bind\n"
        "3:9 log.level: expected a string, found an integer\n"
        "5:9 service.web.split: 200 is not a percentage: write 0 to 100 in steps of 0.01\n"
        "6:1 service.web.blue: missing key \"endpoints\": Where requests go.\n"
        "7:11 service.web.blue.balance: \"p3c\" is none of \"p2c\", \"round-robin\", \"random\"\nhint: did "
        "you mean "
        "\"p2c\"?");
}

TEST_CASE("an empty file lacks a listener and a service") {
  CHECK(errors_of("") ==
        "1:1 there is no listener: add [[listener]] with the address to bind\n"
        "1:1 there is no service: add [service.NAME] and the endpoints of its blue");
}

TEST_CASE("the number of errors is bounded, and the last says so") {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += "key" + std::to_string(i) + " = 1\n";
  const std::vector<Diagnostic> errors = parse(text, "f").errors;
  REQUIRE(errors.size() == Diagnostics::kMaxErrors + 1);
  CHECK(errors.back().message == "there are more errors than are shown: mend these first");
}

TEST_CASE("columns count characters, not bytes") {
  CHECK(errors_of("state_dir = \"größe\"  \n[log]\naccess = \"ü\"\nsample = 2\n" + kListener + kBlue) ==
        "4:10 log.sample: 2 is out of range: 0 to 1");
  CHECK(errors_of("log = { access = \"üü\", sample = 2 }\n" + kListener + kBlue) ==
        "1:33 log.sample: 2 is out of range: 0 to 1");
}
