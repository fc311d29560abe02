#include "admin/demo_view.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string_view>

namespace sluice::admin {
namespace {

constexpr size_t kBarColumns = 60;
constexpr size_t kNewsLines = 2;
constexpr const char* kIndent = "  ";

double rate(const DemoPicture& picture, uint64_t count) {
  return static_cast<double>(count) / picture.seconds;
}

uint64_t errors(const DemoPicture& picture) {
  return picture.rates.errors[0] + picture.rates.errors[1] + picture.rates.failures;
}

const char* state(const DemoPicture& picture) {
  return picture.tripped ? "TRIPPED" : "serving";
}

std::string bar(const DemoPicture& picture, size_t columns, bool colours) {
  const auto& answers = picture.rates.answers;
  const uint64_t all = answers[0] + answers[1];
  if (all == 0) return std::string(columns, '.');
  const double share = static_cast<double>(answers[1]) / static_cast<double>(all);
  const auto green = static_cast<size_t>(std::lround(share * static_cast<double>(columns)));
  const std::string blue_part(columns - green, 'b');
  const std::string green_part(green, 'g');
  if (!colours) return blue_part + green_part;
  return "\x1b[44;97m" + blue_part + "\x1b[42;97m" + green_part + "\x1b[0m";
}

// The first of `text` that fits, broken at a blank where there is one.
std::string_view take_line(std::string_view& text, size_t columns) {
  size_t end = text.size();
  if (end > columns) {
    const size_t blank = text.rfind(' ', columns);
    end = blank == std::string_view::npos || blank == 0 ? columns : blank;
  }
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end);
  if (text.starts_with(' ')) text.remove_prefix(1);
  return line;
}

size_t terminal_columns() {
  constexpr size_t kUsual = 80;
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kUsual;
}

}  // namespace

std::vector<std::string> demo_lines(const DemoPicture& picture, size_t columns, bool colours) {
  // A full last column would make some terminals begin a new line.
  const size_t room = columns > 8 ? columns - 4 : 4;
  std::vector<std::string> lines;
  const auto add = [&](std::string_view text) {
    lines.push_back(kIndent + std::string(take_line(text, room)));
  };
  add("sluice demo: clients -> sluice -> blue or green");
  lines.emplace_back();
  lines.push_back(kIndent + bar(picture, std::min(kBarColumns, room), colours));
  add(fmt::format("blue {:>4.0f}/s   green {:>4.0f}/s   errors {:>3}",
                  rate(picture, picture.rates.answers[0]), rate(picture, picture.rates.answers[1]),
                  errors(picture)));
  add(fmt::format("green's share {:>5.1f} %   {}", picture.split, state(picture)));
  lines.emplace_back();
  add(picture.scene);
  std::string_view news = picture.news;
  for (size_t i = 0; i < kNewsLines; ++i) lines.push_back(kIndent + std::string(take_line(news, room)));
  return lines;
}

void DemoView::draw(const DemoPicture& picture) {
  if (terminal_) {
    if (lines_ > 0) fmt::print("\x1b[{}A", lines_);
    const std::vector<std::string> lines = demo_lines(picture, terminal_columns(), colours_);
    for (const std::string& line : lines) fmt::print("\r{}\x1b[K\n", line);
    lines_ = lines.size();
  } else {
    fmt::print("split {:>5.1f} %  blue {:>4.0f}/s  green {:>4.0f}/s  errors {:>3}  {}  {}\n", picture.split,
               rate(picture, picture.rates.answers[0]), rate(picture, picture.rates.answers[1]),
               errors(picture), state(picture), picture.scene);
  }
  std::fflush(stdout);
}

void DemoView::finish(const std::string& closing) {
  fmt::print("{}{}\n", terminal_ ? "\n" : "", closing);
  std::fflush(stdout);
}

}  // namespace sluice::admin
