// The picture that `sluice top` shows, as lines of styled text: a pure function
// of what sluice told, of what the user chose and of the size of the terminal.
//
//   the process and, when sluice does not answer, since when
//   the services, sorted; one of them is selected
//   of the selected one: split, rollout, judge, both upstreams side by side,
//   caps, endpoints, the last of the log; what does not fit is left out,
//   the least important first
//   the keys
//
// Every line fits the width, whatever the names and numbers. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::admin {

enum class TopStyle : uint8_t { plain, dim, bold, selected, blue, green, bad, warning };

struct TopSpan {
  TopStyle style = TopStyle::plain;
  std::string text;  // ASCII
};
using TopLine = std::vector<TopSpan>;

enum class TopSort : uint8_t { name, rate, errors, p99 };
inline constexpr size_t kTopSorts = 4;
constexpr const char* to_string(TopSort sort) {
  constexpr const char* names[kTopSorts] = {"name", "rate", "errors", "p99"};
  return names[static_cast<size_t>(sort)];
}

// The windows of `show latency` that can be looked at.
inline constexpr const char* kTopWindows[] = {"1s", "10s", "1m", "5m"};

struct TopChoice {
  std::string service;  // selected; empty or gone: the first
  TopSort sort = TopSort::name;
  bool reversed = false;
  size_t window = 1;  // of kTopWindows
  bool paused = false;
  bool help = false;
};

// `answer`: one JSON object a line, as the admin socket gives them. `problem`:
// why there is no newer one; empty: all is well.
std::vector<TopLine> draw_top(std::string_view answer, const std::string& problem, const TopChoice& choice,
                              size_t width, size_t height);

// The service `move` places below the selected one, in the order shown.
std::string next_service(std::string_view answer, const TopChoice& choice, int move);

}  // namespace sluice::admin
