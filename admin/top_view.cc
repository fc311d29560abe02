#include "admin/top_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "admin/listing.h"

namespace sluice::admin {
namespace {

bool flag_of(const Json& row, const char* key) {
  const auto found = row.is_object() ? row.find(key) : row.end();
  return row.is_object() && found != row.end() && *found == true;
}

// What all commands of an answer told, by key. A line that is no object, or a
// refusal, adds nothing.
Json merge(std::string_view answer) {
  Json all = Json::object();
  while (!answer.empty()) {
    const size_t feed = answer.find('\n');
    const Json object = Json::parse(answer.substr(0, feed), nullptr, false);
    if (flag_of(object, "ok")) all.update(object);
    answer.remove_prefix(feed == std::string_view::npos ? answer.size() : feed + 1);
  }
  return all;
}

Json rows_of(const Json& all, const char* key) {
  const auto found = all.find(key);
  return found != all.end() && found->is_array() ? *found : Json::array();
}

// The first row where the keys have the values; null: there is none.
Json row_where(const Json& rows, std::initializer_list<std::pair<const char*, std::string>> wanted) {
  for (const Json& row : rows) {
    const bool fits = row.is_object() && std::all_of(wanted.begin(), wanted.end(), [&](const auto& one) {
                        return row.value(one.first, Json()) == one.second;
                      });
    if (fits) return row;
  }
  return nullptr;
}

std::string text_of(const Json& row, const char* key) {
  const auto found = row.is_object() ? row.find(key) : row.end();
  if (!row.is_object() || found == row.end()) return "-";
  std::string text = plain(*found);
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

double number_of(const Json& row, const char* key) {
  const auto found = row.is_object() ? row.find(key) : row.end();
  return row.is_object() && found != row.end() && found->is_number() ? found->get<double>() : NAN;
}

std::string rate_text(double value) {
  if (std::isnan(value)) return "-";
  return value < 1000 ? fmt::format("{:.1f}", value) : fmt::format("{:.0f}", value);
}
std::string percent_text(double share) {
  return std::isnan(share) ? "-" : fmt::format("{:.2f}%", share * 100);
}
std::string duration_text(double seconds) {
  return std::isnan(seconds) ? "-" : as_duration(seconds);
}

// "[######....]"
std::string gauge(double share, size_t cells) {
  const double clamped = std::isnan(share) ? 0 : std::clamp(share, 0.0, 1.0);
  const auto full = static_cast<size_t>(std::lround(clamped * static_cast<double>(cells)));
  return "[" + std::string(full, '#') + std::string(cells - full, '.') + "]";
}

// Most figures do not trip by themselves, so that being at its threshold is not
// yet bad.
TopStyle urgency(double share, bool tripped) {
  return share >= 1 && tripped ? TopStyle::bad : share >= 0.5 ? TopStyle::warning : TopStyle::plain;
}

// A service, with the numbers of both upstreams together.
struct ServiceLine {
  std::string name;
  std::string state;
  double green = NAN;
  double rate = 0;
  double failed = 0;  // attempts a second
  double p99_s = 0;   // the worse upstream's
  double error_rate() const { return rate > 0 ? std::min(1.0, failed / rate) : 0; }
};

std::vector<ServiceLine> service_lines(const Json& all, const TopChoice& choice) {
  std::vector<ServiceLine> lines;
  const Json latency = rows_of(all, "latency");
  for (const Json& row : rows_of(all, "services")) {
    ServiceLine line{text_of(row, "service"), text_of(row, "state"), number_of(row, "green")};
    for (const char* const upstream : {"blue", "green"}) {
      const Json window = row_where(
          latency, {{"service", line.name}, {"upstream", upstream}, {"window", kTopWindows[choice.window]}});
      const double rate = number_of(window, "rate_per_s");
      const double errors = number_of(window, "error_rate");
      const double p99_s = number_of(window, "p99_s");
      if (!std::isnan(rate)) line.rate += rate;
      if (!std::isnan(rate) && !std::isnan(errors)) line.failed += rate * errors;
      if (!std::isnan(p99_s)) line.p99_s = std::max(line.p99_s, p99_s);
    }
    lines.push_back(std::move(line));
  }
  // Names rise, numbers fall: what one looks for is on top.
  std::stable_sort(lines.begin(), lines.end(), [&](const ServiceLine& a, const ServiceLine& b) {
    switch (choice.sort) {
      case TopSort::name:
        return a.name < b.name;
      case TopSort::rate:
        return a.rate > b.rate;
      case TopSort::errors:
        return a.error_rate() > b.error_rate();
      case TopSort::p99:
        return a.p99_s > b.p99_s;
    }
    return false;
  });
  if (choice.reversed) std::reverse(lines.begin(), lines.end());
  return lines;
}

size_t selected_index(const std::vector<ServiceLine>& lines, const TopChoice& choice) {
  for (size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].name == choice.service) return i;
  }
  return 0;
}

TopLine head_line(const Json& all, const std::string& problem, const TopChoice& choice) {
  const Json rows = rows_of(all, "info");
  const Json info = rows.empty() ? Json() : rows.front();
  TopLine line{{TopStyle::bold, "sluice " + text_of(info, "version")}};
  const std::string state = text_of(info, "state");
  line.push_back({state == "running" ? TopStyle::green : TopStyle::warning, "  " + state});
  line.push_back(
      {TopStyle::plain,
       fmt::format("  up {}  {} clients  {} queued  {} workers", duration_text(number_of(info, "uptime_s")),
                   text_of(info, "connections"), text_of(info, "queued"), text_of(info, "workers"))});
  if (choice.paused) line.push_back({TopStyle::warning, "  PAUSED"});
  if (!problem.empty()) line.push_back({TopStyle::bad, "  OLD"});
  return line;
}

void add_services(const std::vector<ServiceLine>& lines, size_t selected, const TopChoice& choice,
                  size_t most, size_t width, std::vector<TopLine>& out) {
  // The other columns and how it is sorted take 64 at most.
  const size_t name_width = width < 100 ? 14 : 32;
  out.push_back(
      {{TopStyle::dim, fmt::format("{:<{}} {:<8} {:>8} {:>9} {:>8} {:>8}  by {}{}, {}", "SERVICE", name_width,
                                   "STATE", "GREEN", "RATE/S", "ERRORS", "P99", to_string(choice.sort),
                                   choice.reversed ? " up" : "", kTopWindows[choice.window])}});
  // The selected one stays in sight.
  const size_t first = selected < most ? 0 : selected - most + 1;
  for (size_t i = first; i < lines.size() && i < first + most; ++i) {
    const ServiceLine& one = lines[i];
    const TopStyle style = i == selected            ? TopStyle::selected
                           : one.state == "tripped" ? TopStyle::bad
                                                    : TopStyle::plain;
    out.push_back(
        {{style, fmt::format("{:<{}.{}} {:<8.8} {:>7}% {:>9} {:>8} {:>8}", one.name, name_width, name_width,
                             one.state, std::isnan(one.green) ? "-" : fmt::format("{:g}", one.green),
                             rate_text(one.rate), percent_text(one.error_rate()),
                             duration_text(one.p99_s > 0 ? one.p99_s : NAN))}});
  }
  if (lines.empty()) out.push_back({{TopStyle::dim, "(nothing was told yet)"}});
}

void add_split(const Json& all, const std::string& service, std::vector<TopLine>& out) {
  const Json split = row_where(rows_of(all, "split"), {{"service", service}});
  const double green = number_of(split, "green");
  const bool tripped = text_of(split, "state") == "tripped";
  out.push_back(
      {{TopStyle::bold, service},
       {TopStyle::green, fmt::format("  green {}% {}", text_of(split, "green"), gauge(green / 100, 20))},
       {tripped ? TopStyle::bad : TopStyle::plain, "  " + text_of(split, "state")},
       {TopStyle::dim,
        fmt::format("  generation {} by {}", text_of(split, "generation"), text_of(split, "source"))}});
}

void add_rollout(const Json& all, const std::string& service, std::vector<TopLine>& out) {
  const Json row = row_where(rows_of(all, "rollout"), {{"service", service}});
  if (row.is_null() || text_of(row, "state") == "idle") {
    out.push_back({{TopStyle::dim, "rollout  no rollout"}});
    return;
  }
  TopLine line{{TopStyle::plain, fmt::format("rollout  {}, step {} of [{}]", text_of(row, "state"),
                                             text_of(row, "step"), text_of(row, "steps"))}};
  std::string waits;
  for (const Json& one : rows_of(row, "waiting_for"))
    waits += (waits.empty() ? "" : "; ") + text_of(one, "why");
  if (!waits.empty()) line.push_back({TopStyle::dim, "  waits: " + waits});
  out.push_back(std::move(line));
}

void add_judge(const Json& all, const std::string& service, std::vector<TopLine>& out) {
  const Json row = row_where(rows_of(all, "trip"), {{"service", service}});
  if (row.is_null()) return;
  const bool tripped = text_of(row, "verdict") == "trip";
  const auto figure = [&](const char* detector, const char* name, const char* value, const char* threshold) {
    const double now = number_of(row, value);
    const double at = number_of(row, threshold);
    return TopSpan{urgency(now / at, tripped && text_of(row, "detector") == detector),
                   fmt::format(" {} {:.1f}/{:.1f} {}", name, now, at, gauge(now / at, 10))};
  };
  out.push_back({{TopStyle::plain, "judge   "},
                 figure("rise", "rise", "rise", "rise_threshold"),
                 figure("comparison", "comparison", "comparison_log", "comparison_log_threshold")});
  if (!row.value("rise_alone", false)) {
    out.push_back({{TopStyle::dim, "rise needs"},
                   figure("rise", "recent", "recent_log", "recent_log_threshold"),
                   figure("rise", "only green", "only_green_log", "only_green_log_threshold")});
  }
  if (const std::string reason = text_of(row, "reason"); reason != "-") {
    out.push_back({{TopStyle::bad, "         " + text_of(row, "verdict") + ": " + reason}});
  }
}

void add_upstreams(const Json& all, const std::string& service, const TopChoice& choice,
                   std::vector<TopLine>& out) {
  out.push_back(
      {{TopStyle::dim, fmt::format("{:<8} {:>5} {:>8} {:>8} {:>7} {:>7} {:>7} {:>7} {:>9} {:>5}", "UPSTREAM",
                                   "UP", "RATE/S", "ERRORS", "P50", "P90", "P99", "MAX", "CONNS", "QUEUE")}});
  for (const char* const colour : {"blue", "green"}) {
    const Json upstream = row_where(rows_of(all, "upstreams"), {{"service", service}, {"upstream", colour}});
    if (upstream.is_null()) continue;
    const Json window =
        row_where(rows_of(all, "latency"),
                  {{"service", service}, {"upstream", colour}, {"window", kTopWindows[choice.window]}});
    const double errors = number_of(window, "error_rate");
    const std::string numbers =
        fmt::format(" {:>5} {:>8} {:>8} {:>7} {:>7} {:>7} {:>7} {:>9} {:>5}",
                    text_of(upstream, "endpoints_usable") + "/" + text_of(upstream, "endpoints"),
                    rate_text(number_of(window, "rate_per_s")), percent_text(errors),
                    duration_text(number_of(window, "p50_s")), duration_text(number_of(window, "p90_s")),
                    duration_text(number_of(window, "p99_s")), duration_text(number_of(window, "max_s")),
                    text_of(upstream, "connections") + "/" + text_of(upstream, "max_connections"),
                    text_of(upstream, "queue_depth"));
    out.push_back({{colour[0] == 'b' ? TopStyle::blue : TopStyle::green, fmt::format("{:<8}", colour)},
                   {errors > 0.05 ? TopStyle::bad : TopStyle::plain, numbers}});
  }
}

std::vector<TopLine> cap_lines(const Json& all) {
  std::vector<TopLine> lines;
  for (const Json& row : rows_of(all, "caps")) {
    const bool warning = flag_of(row, "warning");
    lines.push_back({{warning ? TopStyle::warning : TopStyle::plain,
                      fmt::format("cap {:<20.20} {} {}/{}, warns at {:.0f}%{}", text_of(row, "cap"),
                                  gauge(number_of(row, "utilization"), 20), text_of(row, "connections"),
                                  text_of(row, "max_connections"), number_of(row, "warn_at") * 100,
                                  warning ? "  WARNING" : "")}});
  }
  return lines;
}

std::vector<TopLine> endpoint_lines(const Json& all, const std::string& service) {
  std::vector<TopLine> lines;
  for (const Json& row : rows_of(all, "endpoints")) {
    if (text_of(row, "service") != service) continue;
    const bool usable = flag_of(row, "usable");
    const std::string state = usable                            ? "up"
                              : flag_of(row, "ejected")         ? "ejected"
                              : text_of(row, "mode") != "ready" ? text_of(row, "mode")
                                                                : text_of(row, "health");
    lines.push_back({{text_of(row, "upstream") == "blue" ? TopStyle::blue : TopStyle::green,
                      fmt::format("{:<8}", text_of(row, "upstream"))},
                     {TopStyle::plain, fmt::format(" {:<40.40} ", text_of(row, "endpoint"))},
                     {usable ? TopStyle::plain : TopStyle::bad, fmt::format("{:<8}", state)},
                     {TopStyle::dim, fmt::format(" {} ok, {} failed", text_of(row, "attempts_succeeded"),
                                                 text_of(row, "attempts_failed"))}});
  }
  return lines;
}

std::vector<TopLine> log_lines(const Json& all) {
  std::vector<TopLine> lines;
  for (const Json& row : rows_of(all, "log")) {
    const std::string at = text_of(row, "at");
    lines.push_back(
        {{TopStyle::dim, at.size() > 19 ? at.substr(11, 8) : at},
         {TopStyle::plain, fmt::format("  {:<18} {}", text_of(row, "type"), text_of(row, "message"))}});
  }
  return lines;
}

constexpr const char* kHelp[] = {
    "up, down, k, j   select a service",
    "s, r             sort by the next column; reverse",
    "w                next window: 1 s, 10 s, 1 min, 5 min",
    "space            pause, so that it can be read",
    "q                quit",
    "",
    "Errors are failed attempts; a rate is of answered requests. OLD: sluice does not answer,",
    "and what is shown is from before. Changes are made with 'sluice ctl'.",
};

// Cuts what is over the width; columns of the terminal are octets, as all is ASCII.
void fit(TopLine& line, size_t width) {
  for (TopSpan& span : line) {
    span.text.resize(std::min(span.text.size(), width));
    width -= span.text.size();
  }
}

// As many of `lines` as there is room for: the last ones with `newest`, else the
// first and how many more there are.
void add_some(std::vector<TopLine> lines, size_t room, bool newest, std::vector<TopLine>& out) {
  if (lines.size() > room) {
    if (newest) {
      lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(room));
    } else if (room > 0) {
      const size_t left_out = lines.size() - room + 1;
      lines.resize(room - 1);
      lines.push_back({{TopStyle::dim, fmt::format("... and {} more", left_out)}});
    } else {
      return;
    }
  }
  std::move(lines.begin(), lines.end(), std::back_inserter(out));
}

void add_detail(const Json& all, const std::string& service, const TopChoice& choice, size_t height,
                std::vector<TopLine>& out) {
  out.emplace_back();
  add_split(all, service, out);
  add_rollout(all, service, out);
  add_judge(all, service, out);
  add_upstreams(all, service, choice, out);
  const auto room = [&] { return height > out.size() ? height - out.size() : 0; };
  constexpr size_t kLogWanted = 4;
  const size_t for_log = std::min(kLogWanted, room());
  add_some(cap_lines(all), std::min<size_t>(4, room() - for_log), false, out);
  add_some(endpoint_lines(all, service), room() - std::min(for_log, room()), false, out);
  add_some(log_lines(all), room(), true, out);
}

}  // namespace

std::vector<TopLine> draw_top(std::string_view answer, const std::string& problem, const TopChoice& choice,
                              size_t width, size_t height) {
  const Json all = merge(answer);
  std::vector<TopLine> out{head_line(all, problem, choice)};
  if (!problem.empty()) out.push_back({{TopStyle::bad, problem}});
  const size_t body = height > 1 ? height - 1 : 0;
  if (choice.help) {
    for (const char* const line : kHelp) out.push_back({{TopStyle::plain, line}});
  } else {
    const std::vector<ServiceLine> services = service_lines(all, choice);
    const size_t selected = selected_index(services, choice);
    // A third of the height is the services', the rest the selected one's.
    add_services(services, selected, choice, std::max<size_t>(1, height / 3 - 1), width, out);
    if (!services.empty()) add_detail(all, services[selected].name, choice, body, out);
  }
  out.resize(body);
  out.push_back(
      {{TopStyle::dim, "q quit  up/down service  s sort  r reverse  w window  space pause  ? help"}});
  for (TopLine& line : out) fit(line, width);
  return out;
}

std::string next_service(std::string_view answer, const TopChoice& choice, int move) {
  const std::vector<ServiceLine> lines = service_lines(merge(answer), choice);
  if (lines.empty()) return choice.service;
  const auto last = static_cast<std::ptrdiff_t>(lines.size()) - 1;
  const auto at = static_cast<std::ptrdiff_t>(selected_index(lines, choice)) + move;
  return lines[static_cast<size_t>(std::clamp<std::ptrdiff_t>(at, 0, last))].name;
}

}  // namespace sluice::admin
