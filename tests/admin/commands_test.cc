#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "balancer/cusum.h"
#include "fixtures.h"

namespace sluice::admin::test {
namespace {

using Json = nlohmann::json;

TEST_CASE("set weight: the reply has the new value and generation") {
  TestProxy proxy;
  const uint64_t before = proxy.ask_json("show split web")["split"][0]["generation"];
  const Json reply = proxy.ask_json("set weight web green=12.34");
  CHECK(reply["ok"] == true);
  CHECK(reply["service"] == "web");
  CHECK(reply["green"] == 12.34);
  CHECK(reply["generation"] == before + 1);
  const Json split = proxy.ask_json("show split web")["split"][0];
  CHECK(split["green"] == 12.34);
  CHECK(split["generation"] == before + 1);
  CHECK(split["source"] == "admin");
  CHECK(std::string(split["since"]).ends_with("Z"));
}

TEST_CASE("set weight: every step of 0.01 is exact") {
  TestProxy proxy;
  for (const char* const share : {"0.01", "33.33", "99.99", "100", "0"}) {
    INFO(share);
    const Json reply = proxy.ask_json(std::string("set weight web green=") + share);
    CHECK(reply["green"].get<double>() == std::stod(share));
  }
  CHECK(proxy.ask("set weight web green=7.5").starts_with("web: green has 7.5 %, generation "));
}

TEST_CASE("set weight: wrong shares, services and generations are refused and change nothing") {
  TestProxy proxy;
  const Json before = proxy.ask_json("show split");
  const auto code = [&](const std::string& command) {
    const Json reply = proxy.ask_json(command);
    CHECK(reply["ok"] == false);
    CHECK(!std::string(reply["error"]["message"]).empty());
    return std::string(reply["error"]["code"]);
  };
  CHECK(code("set weight web green=100.01") == "invalid");
  CHECK(code("set weight web green=-1") == "invalid");
  CHECK(code("set weight web green=0.001") == "invalid");
  CHECK(code("set weight web green=nan") == "invalid");
  CHECK(code("set weight web green=") == "invalid");
  CHECK(code("set weight web 25") == "usage");
  CHECK(code("set weight web blue=25") == "usage");
  CHECK(code("set weight wbe green=25") == "not_found");
  CHECK(code("set weight web green=25 if-gen 99") == "conflict");
  CHECK(code("set weight web green=25 if-gen x") == "usage");
  CHECK(code("set weight web green=25 if-gen") == "usage");
  CHECK(code("set weight plain green=25") == "refused");
  CHECK(proxy.ask_json("show split") == before);
}

TEST_CASE("set weight: if-gen with the current generation is done") {
  TestProxy proxy;
  const uint64_t generation = proxy.ask_json("show split web")["split"][0]["generation"];
  CHECK(proxy.ask_json("set weight web green=25 if-gen " + std::to_string(generation))["ok"] == true);
  CHECK(proxy.ask_json("set weight web green=30 if-gen " + std::to_string(generation))["ok"] == false);
}

TEST_CASE("commands: an unknown service gets the nearest name as a hint") {
  TestProxy proxy;
  CHECK(proxy.ask("show split plian") ==
        "error: not_found: no service is called \"plian\"; did you mean 'plain'?");
}

TEST_CASE("set maxconn: the limit is shown, and 0 takes it away") {
  TestProxy proxy;
  const auto limit = [&] { return proxy.ask_json("show upstreams web")["upstreams"][0]["max_connections"]; };
  CHECK(limit() == 40);
  CHECK(proxy.ask_json("set maxconn web/blue 7")["max_connections"] == 7);
  CHECK(limit() == 7);
  const std::string most =
      std::to_string(proxy.ask_json("set maxconn web/blue 8")["possible"].get<uint32_t>());
  CHECK(proxy.ask("set maxconn web/blue 4294967294")
            .ends_with("the limit of open files leaves " + most + " to all upstreams together"));
  CHECK(proxy.ask_json("set maxconn web/blue 0")["ok"] == true);
  CHECK(limit().is_null());
  CHECK(proxy.ask_json("set maxconn web/blue 4294967295")["error"]["code"] == "invalid");
  CHECK(proxy.ask_json("set maxconn web 7")["error"]["code"] == "usage");
  CHECK(proxy.ask_json("set maxconn web/red 7")["error"]["code"] == "not_found");
  CHECK(proxy.ask_json("set maxconn plain/green 7")["error"]["code"] == "not_found");
}

TEST_CASE("set endpoint: addresses may have slashes themselves") {
  TestProxy proxy;
  CHECK(proxy.ask("set endpoint web/blue/unix:/nonexistent/app.sock maint") ==
        "web/blue/unix:/nonexistent/app.sock: maint");
  const Json endpoints = proxy.ask_json("show endpoints web")["endpoints"];
  REQUIRE(endpoints.size() == 3);
  CHECK(endpoints[0]["usable"] == true);
  CHECK(endpoints[1]["mode"] == "maint");
  CHECK(endpoints[1]["usable"] == false);
  CHECK(proxy.ask_json("show upstreams web")["upstreams"][0]["endpoints_usable"] == 1);
  CHECK(proxy.ask_json("set endpoint web/blue/10.9.9.9:1 maint")["error"]["code"] == "not_found");
  CHECK(proxy.ask_json("set endpoint web/blue/127.0.0.1:9 off")["error"]["code"] == "usage");
}

TEST_CASE("maintenance: it is switched by on and off and nothing else") {
  TestProxy proxy;
  CHECK(proxy.ask("maintenance web on") == "web: maintenance is on");
  CHECK(proxy.ask_json("show services")["services"][1]["maintenance"] == true);
  CHECK(proxy.ask_json("maintenance web maybe")["error"]["code"] == "usage");
  CHECK(proxy.ask_json("maintenance web off")["maintenance"] == false);
}

TEST_CASE("show info: it has the listeners with their real ports") {
  TestProxy proxy;
  const Json info = proxy.ask_json("show info")["info"][0];
  CHECK(info["version"] == "1.2.3");
  CHECK(info["state"] == "running");
  CHECK(info["workers"] == 1);
  CHECK(info["listeners"][0]["bind"] == "127.0.0.1:0");
  CHECK(info["listeners"][0]["address"] != "127.0.0.1:0");
}

TEST_CASE("show: every list answers its key with a list of objects") {
  TestProxy proxy;
  for (const std::string key : {"info", "services", "split", "upstreams", "endpoints", "caps", "latency",
                                "config", "sessions", "events"}) {
    INFO(key);
    const Json reply = proxy.ask_json("show " + key);
    CHECK(reply["ok"] == true);
    REQUIRE(reply[key].is_array());
    for (const Json& one : reply[key]) CHECK(one.is_object());
    CHECK(!proxy.ask("show " + key).empty());
  }
}

TEST_CASE("show trip: each figure of the judge stands beside its threshold") {
  using Words = std::vector<std::string>;
  TestProxy proxy;
  REQUIRE(proxy.ask_json("set weight web green=50")["ok"] == true);
  const Json trip = proxy.ask_json("show trip web")["trip"][0];
  CHECK(trip.at("blue_rise") == 0);
  CHECK(trip.at("blue_rise_threshold") == balancer::Cusum::kThreshold);
  Words figures;
  for (const char* const key : {"rise", "rise_threshold", "recent_log", "recent_log_threshold",
                                "only_green_log", "only_green_log_threshold", "comparison_log",
                                "comparison_log_threshold", "blue_rise", "blue_rise_threshold"}) {
    INFO(key);
    REQUIRE(trip.at(key).is_number());
    figures.push_back(fmt::format("{:g}", trip.at(key).get<double>()));
  }
  // What stands left of them has words with spaces.
  std::istringstream table(proxy.ask("show trip web"));
  const auto figures_of_next_line = [&] {
    std::string line;
    REQUIRE_FALSE(std::getline(table, line).fail());
    std::istringstream text(line);
    using Reader = std::istream_iterator<std::string>;
    Words words(Reader{text}, Reader{});
    REQUIRE(words.size() > figures.size());
    words.pop_back();  // the reason
    return Words(words.end() - static_cast<std::ptrdiff_t>(figures.size()), words.end());
  };
  CHECK(figures_of_next_line() ==
        Words{"RISE", "AT", "RECENT", "AT", "ONLY-GREEN", "AT", "COMPARISON", "AT", "BLUE-RISE", "AT"});
  CHECK(figures_of_next_line() == figures);
}

TEST_CASE("show config: the configuration in force can be read back") {
  TestProxy proxy;
  const std::string text = proxy.ask_json("show config")["config"][0]["toml"];
  CHECK(conf::parse(text, "again").ok());
}

TEST_CASE("show events: changes say who made them") {
  TestProxy proxy;
  proxy.ask("set weight web green=25");
  const Json events = proxy.ask_json("show events")["events"];
  const Json& last = events.back();
  CHECK(last["type"] == "split_changed");
  CHECK(last["service"] == "web");
  CHECK(last["fields"]["who"] == "uid 0 pid 1");
}

TEST_CASE("show events -w: further events come as they happen until the client leaves") {
  TestProxy proxy;
  Recorder recorder(Format::json);
  const AnswerPtr answer = proxy.begin("json show events -w", recorder);
  recorder.partials.clear();
  proxy.ask("set weight web green=25");
  CHECK(!recorder.answer.has_value());
  CHECK(Json::parse(recorder.partials)["event"]["type"] == "split_changed");
  answer->abandon();
  recorder.partials.clear();
  proxy.ask("set weight web green=26");
  CHECK(recorder.partials.empty());
}

TEST_CASE("wait: what holds already is answered at once") {
  TestProxy proxy;
  CHECK(proxy.ask("wait 60 ready") == "done");
  CHECK(proxy.ask("wait 60 split web green=0") == "done");
}

TEST_CASE("wait: a split is waited for and found the moment it is set") {
  TestProxy proxy;
  Recorder recorder(Format::text);
  proxy.begin("wait 60 split web green=25", recorder);
  proxy.ask("set weight web green=24");
  CHECK(!recorder.answer.has_value());
  proxy.ask("set weight web green=25");
  CHECK(recorder.answer == "done");
}

TEST_CASE("wait: it is refused when the time runs out, or when it can no longer happen") {
  TestProxy proxy;
  CHECK(proxy.ask("wait 0 split web green=25") == "error: timeout: the time ran out: green has 0 %");
  Recorder recorder(Format::json);
  proxy.ask("set endpoint plain/blue/127.0.0.1:11 maint");
  proxy.begin("json wait 60 ready", recorder);
  CHECK(!recorder.answer.has_value());
  proxy.control.drain({"test", ""});
  REQUIRE(recorder.answer.has_value());
  CHECK(Json::parse(*recorder.answer)["error"]["code"] == "refused");
}

TEST_CASE("wait: a condition that is none is a wrong usage") {
  TestProxy proxy;
  CHECK(proxy.ask_json("wait 5 redy")["error"]["code"] == "usage");
  CHECK(proxy.ask_json("wait x ready")["error"]["code"] == "usage");
  CHECK(proxy.ask_json("wait 5 split web")["error"]["code"] == "usage");
  CHECK(proxy.ask_json("wait 5 split wob green=1")["error"]["code"] == "not_found");
}

TEST_CASE("wait: the help names every condition") {
  TestProxy proxy;
  const std::string help = proxy.ask("help wait");
  for (const WaitCondition& condition : wait_conditions()) {
    INFO(condition.name);
    const std::string arguments = condition.arguments;
    const std::string syntax = condition.name + (arguments.empty() ? "" : " " + arguments);
    CHECK(help.find("`" + syntax + "`") != std::string::npos);
  }
}

TEST_CASE("wait: however many wait, their number is bounded and places come back") {
  // They outlive the proxy, whose end answers those that still wait.
  std::vector<std::unique_ptr<Recorder>> recorders;
  std::vector<AnswerPtr> answers;
  TestProxy proxy;
  for (size_t i = 0; i < Waits::kMost; ++i) {
    recorders.push_back(std::make_unique<Recorder>(Format::text));
    answers.push_back(proxy.begin("wait 600 split web green=25", *recorders.back()));
    CHECK(!recorders.back()->answer.has_value());
  }
  CHECK(proxy.ask_json("wait 600 split web green=25")["error"]["code"] == "unavailable");
  CHECK(proxy.ask_json("show events -w")["error"]["code"] == "unavailable");
  {
    const proxy::Loop::Scope scope(proxy.control.loop());
    answers.back()->abandon();
  }
  CHECK(proxy.ask_json("wait 0 split web green=25")["error"]["code"] == "timeout");
}

TEST_CASE("check: a file is read off the loop and its errors are told") {
  TestProxy proxy;
  const Json reply = proxy.ask_json("check /nonexistent/sluice.toml");
  CHECK(reply["error"]["code"] == "invalid");
  CHECK(std::string(reply["error"]["message"]).find("/nonexistent/sluice.toml:1:1: error: ") !=
        std::string::npos);
}

TEST_CASE("reload: a file that is gone is refused and the old configuration stays") {
  TestProxy proxy;
  CHECK(proxy.ask_json("reload")["ok"] == false);
  CHECK(proxy.ask_json("show services")["services"].size() == 2);
}

TEST_CASE("drain: a second one is refused, and so is ready") {
  TestProxy proxy;
  CHECK(proxy.ask_json("drain")["ok"] == true);
  CHECK(proxy.ask_json("drain")["error"]["code"] == "refused");
  CHECK(proxy.ask_json("show info")["info"][0]["ready"] == false);
}

TEST_CASE("help: it lists and explains, and prompt and quit are for the session") {
  TestProxy proxy;
  CHECK(proxy.ask("help").find("set weight") != std::string::npos);
  CHECK(proxy.ask("help set weight").starts_with("set weight SVC"));
  CHECK(proxy.ask_json("help set weight")["help"].is_string());
  CHECK(proxy.ask("prompt") == "(interactive)");
  CHECK(proxy.ask("quit") == "(quit)");
}

}  // namespace
}  // namespace sluice::admin::test
