#include "admin/top_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>

namespace sluice::admin {
namespace {

std::string window(const char* service, const char* upstream, double rate, double errors, double p99_s) {
  return fmt::format(
      R"({{"service":"{}","upstream":"{}","window":"10s","rate_per_s":{},"error_rate":{},"p50_s":0.001,"p90_s":0.002,"p99_s":{},"max_s":0.5}})",
      service, upstream, rate, errors, p99_s);
}

// Three services, each best in another order.
std::string answer() {
  const auto service = [](const char* name, const char* state, double green) {
    return fmt::format(R"({{"service":"{}","state":"{}","green":{}}})", name, state, green);
  };
  std::string text =
      R"({"ok":true,"info":[{"version":"1.2.3","state":"running","uptime_s":7500,"connections":48}]})"
      "\n\n";
  text += R"({"ok":true,"services":[)" + service("alpha", "serving", 25) + "," +
          service("beta", "tripped", 0) + "," + service("gamma", "serving", 0.5) + "]}\n\n";
  text += R"({"ok":true,"latency":[)" + window("alpha", "blue", 100, 0.001, 0.02) + "," +
          window("alpha", "green", 30, 0.2, 0.9) + "," + window("beta", "blue", 1000, 0, 0.01) + "," +
          window("gamma", "blue", 5, 0.5, 0.03) + "]}\n\n";
  text +=
      R"({"ok":true,"split":[{"service":"alpha","green":25.0,"generation":7,"source":"admin","state":"serving"}]})"
      "\n\n";
  text +=
      R"({"ok":true,"upstreams":[{"service":"alpha","upstream":"blue","endpoints_usable":2,"endpoints":3,"connections":12,"max_connections":40,"queue_depth":1},{"service":"alpha","upstream":"green","endpoints_usable":1,"endpoints":1,"connections":3,"max_connections":null,"queue_depth":0}]})"
      "\n\n";
  text +=
      R"({"ok":true,"trip":[{"service":"alpha","rise":9.0,"rise_threshold":18,"recent_log":2.0,"recent_log_threshold":5.9,"only_green_log":-3.5,"only_green_log_threshold":8.7,"comparison_log":1.0,"comparison_log_threshold":9.2,"verdict":"none","detector":"none","reason":""}]})"
      "\n\n";
  text +=
      R"({"ok":true,"caps":[{"cap":"database","connections":72,"max_connections":100,"utilization":0.72,"warn_at":0.7,"warning":true}]})"
      "\n\n";
  text += R"({"ok":false,"error":{"code":"usage","message":"no command is called 'show rollout'"}})"
          "\n\n";
  text += R"({"ok":true,"log":[{"at":"2026-05-01T12:34:56.000Z","type":"started","message":"hello"}]})"
          "\n\n";
  return text;
}

std::string text_of(const std::vector<TopLine>& lines) {
  std::string text;
  for (const TopLine& line : lines) {
    for (const TopSpan& span : line) text += span.text;
    text += '\n';
  }
  return text;
}

std::string picture(const TopChoice& choice, size_t width = 100, size_t height = 40) {
  return text_of(draw_top(answer(), "", choice, width, height));
}

// The services in the order shown.
std::string order(const TopChoice& choice) {
  const std::string text = picture(choice);
  std::vector<std::pair<size_t, char>> found;
  for (const char* const name : {"alpha ", "beta ", "gamma "}) found.emplace_back(text.find(name), name[0]);
  std::sort(found.begin(), found.end());
  return {found[0].second, found[1].second, found[2].second};
}

TEST_CASE("top: what matters of the selected service is shown") {
  const std::string text = picture({});
  for (const char* const wanted :
       {"sluice 1.2.3", "running", "up 2h05m", "48 clients", "green 25% [#####...............]",
        "generation 7 by admin", "judge    rise 9.0/18.0 [#####.....] comparison 1.0/9.2 [#.........]\n",
        "rise needs recent 2.0/5.9 [###.......] only green -3.5/8.7 [..........]\n", "2/3", "12/40", "3/-",
        "20.00%", "no rollout", "72/100, warns at 70%  WARNING", "12:34:56  started", "q quit"}) {
    INFO(wanted);
    CHECK(text.find(wanted) != std::string::npos);
  }
}

TEST_CASE("top: services are sorted by what was chosen, names rising and numbers falling") {
  TopChoice choice;
  CHECK(order(choice) == "abg");
  choice.sort = TopSort::rate;
  CHECK(order(choice) == "bag");
  choice.sort = TopSort::errors;
  CHECK(order(choice) == "gab");
  choice.sort = TopSort::p99;
  CHECK(order(choice) == "agb");
  choice.reversed = true;
  CHECK(order(choice) == "bga");
}

TEST_CASE("top: the selection moves in the order shown and stops at the ends") {
  TopChoice choice;
  CHECK(next_service(answer(), choice, 1) == "beta");
  CHECK(next_service(answer(), choice, -1) == "alpha");
  choice.service = "gamma";
  CHECK(next_service(answer(), choice, 1) == "gamma");
  choice.sort = TopSort::rate;
  CHECK(next_service(answer(), choice, -1) == "alpha");
  choice.service = "gone";
  CHECK(next_service(answer(), choice, 1) == "alpha");
  CHECK(next_service("", choice, 1) == "gone");
}

TEST_CASE("top: any size of terminal is filled and not left") {
  for (const bool help : {false, true}) {
    TopChoice choice;
    choice.help = help;
    for (size_t width = 0; width <= 120; width += 7) {
      for (size_t height = 1; height <= 40; ++height) {
        const auto lines = draw_top(answer(), "sluice is gone", choice, width, height);
        REQUIRE(lines.size() == height);
        for (const TopLine& line : lines) {
          size_t columns = 0;
          for (const TopSpan& span : line) columns += span.text.size();
          REQUIRE(columns <= width);
        }
      }
    }
  }
}

TEST_CASE("top: at 80 by 24 all parts of a service are in sight") {
  const std::string text = picture({}, 80, 24);
  for (const char* const wanted :
       {"alpha", "gamma", "green 25%", "judge", "only green", "blue ", "cap database", "started", "q quit"}) {
    INFO(wanted);
    CHECK(text.find(wanted) != std::string::npos);
  }
}

// A service `web`, judged.
std::vector<TopLine> judged(const char* verdict, const char* detector, double only_green, double comparison,
                            bool rise_alone = false) {
  return draw_top(
      fmt::format(
          R"({{"ok":true,"services":[{{"service":"web"}}],"trip":[{{"service":"web","rise_alone":{},"verdict":"{}","detector":"{}","rise":36.0,"rise_threshold":10,"recent_log":300.0,"recent_log_threshold":15.2,"only_green_log":{},"only_green_log_threshold":16.9,"comparison_log":{},"comparison_log_threshold":13.8}}]}})",
          rise_alone, verdict, detector, only_green, comparison),
      "", {}, 80, 24);
}

TEST_CASE(
    "top: of the judge's figures those are bad by which it tripped, whatever else is at its threshold") {
  using Styles = std::vector<TopStyle>;
  // Of rise, recent, only green and comparison.
  const auto styles = [](const std::vector<TopLine>& lines) {
    Styles found;
    for (const char* const name : {" rise 3", " recent ", " only green ", " comparison "}) {
      for (const TopLine& line : lines) {
        for (const TopSpan& span : line) {
          if (span.text.starts_with(name)) found.push_back(span.style);
        }
      }
    }
    return found;
  };
  constexpr auto kPlain = TopStyle::plain;
  constexpr auto kWarning = TopStyle::warning;
  constexpr auto kBad = TopStyle::bad;
  CHECK(styles(judged("none", "none", 8, 1)) == Styles{kWarning, kWarning, kPlain, kPlain});
  CHECK(styles(judged("hold", "rise", 17, 1)) == Styles{kWarning, kWarning, kWarning, kPlain});
  CHECK(styles(judged("trip", "rise", 17, 1)) == Styles{kBad, kBad, kBad, kPlain});
  CHECK(styles(judged("trip", "rise", 8, 14)) == Styles{kBad, kBad, kPlain, kWarning});
  CHECK(styles(judged("trip", "comparison", 17, 14)) == Styles{kWarning, kWarning, kWarning, kBad});
}

TEST_CASE(
    "top: the judge's figures fit into 80 columns, and what is not asked where the rise trips alone is left out") {
  const std::string text = text_of(judged("none", "none", -3700, 300));
  CHECK(text.find("rise 36.0/10.0 [##########] comparison 300.0/13.8 [##########]\n") != std::string::npos);
  CHECK(text.find("recent 300.0/15.2 [##########] only green -3700.0/16.9 [..........]\n") !=
        std::string::npos);
  const std::string alone = text_of(judged("trip", "rise", -3700, 300, true));
  CHECK(alone.find("rise 36.0/10.0") != std::string::npos);
  CHECK(alone.find("only green") == std::string::npos);
}

TEST_CASE("top: when sluice does not answer the last picture stays and says so") {
  const std::string text = text_of(draw_top(answer(), "cannot reach /run/s.sock", {}, 100, 40));
  CHECK(text.find("OLD") != std::string::npos);
  CHECK(text.find("cannot reach /run/s.sock") != std::string::npos);
  CHECK(text.find("green 25%") != std::string::npos);
}

TEST_CASE("top: odd answers do no harm") {
  for (const char* const odd :
       {"", "\n", "nonsense", "{}", "[]", R"({"ok":true,"services":7})",
        R"({"ok":true,"services":[1,null,"x"]})",
        R"({"ok":true,"services":[{}],"latency":[{}],"split":[{}],"trip":[{}],"caps":[{}],"upstreams":[{}]})",
        R"({"ok":true,"info":[]})",
        R"({"ok":true,"services":[{"service":"a\u001b[2J","state":null,"green":"x"}]})"}) {
    INFO(odd);
    const std::string text = text_of(draw_top(odd, "", {}, 80, 24));
    CHECK(std::count(text.begin(), text.end(), '\n') == 24);
    CHECK(text.find('\x1b') == std::string::npos);
  }
}

}  // namespace
}  // namespace sluice::admin
