#include "admin/demo_view.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>

namespace sluice::admin {
namespace {

constexpr int kBarWidth = 60;

uint64_t total(const DemoTraffic::Counts& counts) {
  return counts.answers[0] + counts.answers[1];
}

}  // namespace

std::string DemoView::bar(const DemoPicture& picture) const {
  const uint64_t all = total(picture.rates);
  if (all == 0) return std::string(kBarWidth, '.');
  const double share = static_cast<double>(picture.rates.answers[1]) / static_cast<double>(all);
  const int green = static_cast<int>(std::lround(share * kBarWidth));
  const std::string blue_part(static_cast<size_t>(kBarWidth - green), 'b');
  const std::string green_part(static_cast<size_t>(green), 'g');
  if (!colours_) return blue_part + green_part;
  return "\x1b[44;97m" + blue_part + "\x1b[42;97m" + green_part + "\x1b[0m";
}

void DemoView::draw(const DemoPicture& picture) {
  const DemoTraffic::Counts& rates = picture.rates;
  const auto rate = [&](uint64_t count) { return static_cast<double>(count) / picture.seconds; };
  const uint64_t errors = rates.errors[0] + rates.errors[1];
  if (!terminal_) {
    fmt::print("split {:>5.1f} %  blue {:>4.0f}/s  green {:>4.0f}/s  errors {:>3}  {}  {}\n", picture.split,
               rate(rates.answers[0]), rate(rates.answers[1]), errors + rates.failures,
               picture.tripped ? "TRIPPED" : "serving", picture.scene);
    std::fflush(stdout);
    return;
  }
  if (lines_ > 0) fmt::print("\x1b[{}A", lines_);
  const char* const clear = "\x1b[K\n";
  fmt::print("sluice demo: clients -> sluice -> blue or green{}", clear);
  fmt::print("{}", clear);
  fmt::print("  {}{}", bar(picture), clear);
  fmt::print("  blue {:>5.0f}/s   green {:>5.0f}/s   errors {:>4}   green's share is set to {:.1f} %   {}{}",
             rate(rates.answers[0]), rate(rates.answers[1]), errors + rates.failures, picture.split,
             picture.tripped ? "TRIPPED" : "serving", clear);
  fmt::print("{}", clear);
  fmt::print("  {}{}", picture.scene, clear);
  fmt::print("  {}{}", picture.news.substr(0, 150), clear);
  lines_ = 7;
  std::fflush(stdout);
}

void DemoView::finish(const std::string& closing) {
  fmt::print("{}{}\n", terminal_ ? "\n" : "", closing);
  std::fflush(stdout);
}

}  // namespace sluice::admin
