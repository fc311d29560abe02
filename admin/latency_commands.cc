// The commands that say how long requests take.
#include <fmt/format.h>

#include <algorithm>

#include "admin/arguments.h"
#include "admin/command_table.h"
#include "admin/history.h"
#include "admin/listing.h"

namespace sluice::admin {
namespace {

using balancer::Histogram;
using balancer::HistogramBuckets;
using balancer::HistogramSnapshot;
using balancer::UpstreamStats;
using conf::Colour;
using proxy::ServiceEntry;

constexpr struct {
  double fraction;
  const char* key;
  const char* title;
} kQuantiles[] = {{0.5, "p50_s", "P50"},  {0.9, "p90_s", "P90"},       {0.95, "p95_s", "P95"},
                  {0.99, "p99_s", "P99"}, {0.999, "p99_9_s", "P99.9"}, {1.0, "max_s", "MAX"}};

const char* name_of(Span span) {
  constexpr const char* names[] = {"1s", "10s", "1m", "5m"};
  return names[static_cast<size_t>(span)];
}

Json row_of(const std::string& service, Colour colour, const char* name, const LatencyWindow& window) {
  const double seconds = static_cast<double>(window.duration_us) / 1e6;
  Json row = {{"service", service},
              {"upstream", conf::to_string(colour)},
              {"window", name},
              {"window_s", seconds},
              {"requests", window.requests.count()},
              {"rate_per_s", seconds > 0 ? static_cast<double>(window.requests.count()) / seconds : 0.0},
              {"error_rate", window.attempts == 0 ? Json()
                                                  : Json(static_cast<double>(window.failed) /
                                                         static_cast<double>(window.attempts))}};
  for (const auto& quantile : kQuantiles) {
    row[quantile.key] = window.requests.count() == 0
                            ? Json()
                            : Json(static_cast<double>(window.requests.quantile_ns(quantile.fraction)) / 1e9);
  }
  row["p99_to_blue"] = nullptr;
  return row;
}

std::unique_ptr<LatencyWindow> look(const Latencies& latencies, const balancer::UpstreamState& state,
                                    size_t window) {
  return window < std::size(kSpans) ? latencies.window(state, kSpans[window]) : latencies.since_start(state);
}

// The rows of a service: blue and green beside each other in each window.
void add_rows(const Call& call, const std::string& name, const ServiceEntry& entry,
              std::optional<Colour> only, std::vector<Json>& rows) {
  for (size_t i = 0; i <= std::size(kSpans); ++i) {
    const char* const title = i < std::size(kSpans) ? name_of(kSpans[i]) : "start";
    Json blue_p99;
    for (const Colour colour : conf::kColours) {
      if (colour == Colour::green && !call.control().service_conf(name).has_green) continue;
      const auto window =
          look(call.context.history.latencies(), *entry.upstreams[static_cast<size_t>(colour)], i);
      Json row = row_of(name, colour, title, *window);
      const Json& p99 = row["p99_s"];
      if (colour == Colour::blue) {
        blue_p99 = p99;
      } else if (p99.is_number() && blue_p99.is_number() && blue_p99.get<double>() > 0) {
        row["p99_to_blue"] = p99.get<double>() / blue_p99.get<double>();
      }
      if (!only.has_value() || *only == colour) rows.push_back(std::move(row));
    }
  }
}

constexpr const char* kAllEndpoints = "*";

Refusal not_measured(const std::string& upstream) {
  return Refusal{"not_measured", fmt::format("the endpoints of {} are not measured: 'measure {} on' begins",
                                             upstream, upstream)};
}

// Those of an upstream that were asked for: one, or all that are measured.
std::variant<std::vector<const balancer::EndpointState*>, Refusal> measured(const EndpointName& name) {
  const UpstreamName& upstream = name.upstream;
  std::vector<const balancer::EndpointState*> found;
  for (const balancer::EndpointPlan& one : upstream.entry->endpoints[upstream.index()]) {
    if (name.address == kAllEndpoints || one.state->name() == name.address) found.push_back(one.state.get());
  }
  const std::string text = upstream.service + "/" + conf::to_string(upstream.colour);
  if (found.empty())
    return Refusal{"not_found", fmt::format("{} has no such endpoint; see 'show endpoints'", text)};
  std::erase_if(found, [](const balancer::EndpointState* one) { return !one->measured(); });
  if (found.empty()) return not_measured(text);
  return found;
}

std::optional<Refusal> add_endpoint_rows(const Call& call, const EndpointName& name,
                                         std::vector<Json>& rows) {
  const auto found = measured(name);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  for (const Span span : kSpans) {
    for (const balancer::EndpointState* const one :
         std::get<std::vector<const balancer::EndpointState*>>(found)) {
      const auto window = call.context.history.latencies().window(*one, span);
      if (window == nullptr) continue;
      Json row = row_of(name.upstream.service, name.upstream.colour, name_of(span), *window);
      row["endpoint"] = one->name();
      rows.push_back(std::move(row));
    }
  }
  return std::nullopt;
}

std::string as_rate(const Json& value) {
  return fmt::format("{:.1f}", value.get<double>());
}
// Of availabilities, where the decimals are what matters.
std::string as_exact_percent(const Json& value) {
  return fmt::format("{:.3f}%", value.get<double>() * 100);
}
std::string as_ratio(const Json& value) {
  return value.is_number() ? fmt::format("{:.2f}x", value.get<double>()) : "-";
}

Outcome show_latency(const Call& call) {
  std::vector<Json> rows;
  bool of_endpoints = false;
  if (const std::string* const word = call.argument(0); word == nullptr) {
    for (const auto& [name, entry] : call.control().registry().services()) {
      add_rows(call, name, entry, std::nullopt, rows);
    }
  } else if (word->find('/') == std::string::npos) {
    const auto found = service_argument(call, *word);
    if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
    add_rows(call, *word, *std::get<ServiceEntry*>(found), std::nullopt, rows);
  } else if (names_endpoint(*word)) {
    const auto found = endpoint_argument(call, *word);
    if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
    const auto refusal = add_endpoint_rows(call, std::get<EndpointName>(found), rows);
    if (refusal.has_value()) return *refusal;
    of_endpoints = true;
  } else {
    const auto found = upstream_argument(call, *word);
    if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
    const auto& upstream = std::get<UpstreamName>(found);
    add_rows(call, upstream.service, *upstream.entry, upstream.colour, rows);
  }
  std::vector<Column> columns{{"service", "SERVICE"},
                              {"window", "WINDOW"},
                              {"upstream", "UPSTREAM"},
                              {"requests", "REQUESTS"},
                              {"rate_per_s", "RATE/S", as_rate},
                              {"error_rate", "ERRORS", as_percent}};
  for (const auto& quantile : kQuantiles) columns.push_back({quantile.key, quantile.title, as_duration});
  if (of_endpoints) {
    columns.insert(columns.begin() + 3, {"endpoint", "ENDPOINT"});
  } else {
    columns.push_back({"p99_to_blue", "P99/BLUE", as_ratio});
  }
  return listing(call.format, "latency", rows, columns);
}

// Those that are asked for, also by a command just before.
size_t measured_endpoints(const proxy::Registry& registry) {
  size_t count = 0;
  for (const auto& [name, entry] : registry.services()) {
    for (size_t i = 0; i < 2; ++i) count += entry.measures_endpoints[i] ? entry.endpoints[i].size() : 0;
  }
  return count;
}

Outcome measure(const Call& call) {
  const auto found = upstream_argument(call, call.arguments[0]);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  const auto& upstream = std::get<UpstreamName>(found);
  const bool on = call.arguments[1] == "on";
  if (!on && call.arguments[1] != "off") return Refusal{"usage", "write: measure SVC/UPSTREAM on|off"};
  const auto& endpoints = upstream.entry->endpoints[upstream.index()];
  bool& measured = upstream.entry->measures_endpoints[upstream.index()];
  const size_t others = measured_endpoints(call.control().registry());
  if (on && !measured && others + endpoints.size() > Latencies::kMostEndpoints) {
    return Refusal{
        "limit", fmt::format("{} has {} endpoints and {} are measured; at most {} can be", call.arguments[0],
                             endpoints.size(), others, Latencies::kMostEndpoints)};
  }
  measured = on;
  // At once, so that what comes from now on is in; who comes later is seen by the next tick.
  for (const balancer::EndpointPlan& one : endpoints) one.state->measure(on);
  return either(call.format,
                {{"service", upstream.service},
                 {"upstream", conf::to_string(upstream.colour)},
                 {"endpoints_measured", on}},
                fmt::format("{}: endpoints are {}measured", call.arguments[0], on ? "" : "not "));
}

constexpr struct {
  const char* name;
  Histogram UpstreamStats::*member;
} kMeasures[] = {{"request", &UpstreamStats::request_duration},
                 {"upstream", &UpstreamStats::upstream_duration},
                 {"connect", &UpstreamStats::connect_duration},
                 {"first-byte", &UpstreamStats::first_byte_duration},
                 {"queue", &UpstreamStats::queue_duration}};

// The bars of the picture: bounds of 1, 2 and 5 times the powers of ten.
struct Bar {
  uint64_t from_ns;
  uint64_t to_ns;
  uint64_t count;
};

std::vector<Bar> bars_of(const HistogramSnapshot& snapshot) {
  std::vector<Bar> bars;
  uint64_t from = 0;
  uint64_t decade = 1'000;
  size_t step = 0;
  for (size_t index = 0; index < HistogramBuckets::kCount;) {
    constexpr uint64_t kSteps[] = {1, 2, 5};
    const uint64_t to = decade * kSteps[step];
    uint64_t count = 0;
    while (index < HistogramBuckets::kCount && HistogramBuckets::middle_ns(index) < to) {
      count += snapshot.bucket(index++);
    }
    bars.push_back({from, to, count});
    from = to;
    step = (step + 1) % 3;
    if (step == 0) decade *= 10;
  }
  const auto used = [](const Bar& bar) { return bar.count != 0; };
  bars.erase(std::find_if(bars.rbegin(), bars.rend(), used).base(), bars.end());
  bars.erase(bars.begin(), std::find_if(bars.begin(), bars.end(), used));
  return bars;
}

std::string picture(const std::vector<Bar>& bars, uint64_t total) {
  constexpr uint64_t kWidth = 50;
  uint64_t most = 1;
  for (const Bar& bar : bars) most = std::max(most, bar.count);
  std::string text;
  uint64_t so_far = 0;
  for (const Bar& bar : bars) {
    so_far += bar.count;
    const uint64_t width = (bar.count * kWidth + most - 1) / most;
    text += fmt::format(
        "{:>7} - {:<7} {:>10} {:>7.2f}%  {}\n", as_duration(static_cast<double>(bar.from_ns) / 1e9),
        as_duration(static_cast<double>(bar.to_ns) / 1e9), bar.count,
        100.0 * static_cast<double>(so_far) / static_cast<double>(total), std::string(width, '#'));
  }
  return text;
}

Json rows_of(const std::vector<Bar>& bars) {
  Json rows = Json::array();
  for (const Bar& bar : bars) {
    rows.push_back({{"from_s", static_cast<double>(bar.from_ns) / 1e9},
                    {"to_s", static_cast<double>(bar.to_ns) / 1e9},
                    {"count", bar.count}});
  }
  return rows;
}

// Of the attempts at one endpoint, or at all that are measured, while they were.
Outcome show_endpoint_histogram(const Call& call) {
  const auto named = endpoint_argument(call, call.arguments[0]);
  if (const auto* refusal = std::get_if<Refusal>(&named)) return *refusal;
  const auto& [upstream, address] = std::get<EndpointName>(named);
  if (call.argument(1) != nullptr) return Refusal{"usage", "of endpoints only attempts are measured"};
  const auto found = measured({upstream, address});
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  const auto sum = std::make_unique<HistogramSnapshot>();
  for (const auto* const one : std::get<std::vector<const balancer::EndpointState*>>(found)) {
    one->add_durations_to(*sum);
  }
  const std::vector<Bar> bars = bars_of(*sum);
  return either(call.format,
                {{"service", upstream.service},
                 {"upstream", conf::to_string(upstream.colour)},
                 {"endpoint", address},
                 {"measure", "upstream"},
                 {"count", sum->count()},
                 {"histogram", rows_of(bars)}},
                fmt::format("{} attempts, while measured: {} values\n{}", call.arguments[0], sum->count(),
                            picture(bars, sum->count())));
}

Outcome show_histogram(const Call& call) {
  if (names_endpoint(call.arguments[0])) return show_endpoint_histogram(call);
  const auto found = upstream_argument(call, call.arguments[0]);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  const auto& upstream = std::get<UpstreamName>(found);
  const std::string measure = call.argument(1) != nullptr ? *call.argument(1) : "request";
  const auto* const known = std::find_if(std::begin(kMeasures), std::end(kMeasures),
                                         [&](const auto& one) { return measure == one.name; });
  if (known == std::end(kMeasures)) {
    return Refusal{"usage", "the measure is request, upstream, connect, first-byte or queue"};
  }
  const balancer::UpstreamState& state = *upstream.entry->upstreams[upstream.index()];
  const auto sum = std::make_unique<HistogramSnapshot>();
  for (uint32_t worker = 0; worker < state.workers(); ++worker)
    (state.stats(worker).*(known->member)).add_to(*sum);
  const std::vector<Bar> bars = bars_of(*sum);
  if (call.format == Format::text) {
    return Output{fmt::format("{} {}, since the start: {} values\n{}", call.arguments[0], measure,
                              sum->count(), picture(bars, sum->count()))};
  }
  return either(call.format,
                {{"service", upstream.service},
                 {"upstream", conf::to_string(upstream.colour)},
                 {"measure", measure},
                 {"count", sum->count()},
                 {"histogram", rows_of(bars)}},
                {});
}

constexpr struct {
  const char* name;
  size_t minutes;
} kSloWindows[] = {{"5m", 5}, {"1h", 60}, {"24h", SloHistory::kKeptMinutes}};

Outcome show_slo(const Call& call) {
  std::vector<Json> rows;
  const auto refusal = for_services(call, [&](const std::string& name, const ServiceEntry&) {
    const conf::Slo& promised = call.control().service_conf(name).slo;
    const SloHistory* const history = call.context.history.slo(name);
    for (const auto& window : kSloWindows) {
      const SloCounts counts = history == nullptr ? SloCounts{} : history->window(window.minutes);
      rows.push_back({{"service", name},
                      {"window", window.name},
                      {"window_s", static_cast<double>(counts.duration_us) / 1e6},
                      {"requests", counts.requests},
                      {"errors", counts.errors},
                      {"availability", counts.availability()},
                      {"promised_availability", promised.availability},
                      {"burn_rate", counts.burn_rate(promised.availability)},
                      {"in_time", counts.in_time_share()},
                      {"promised_latency_s", promised.latency_ms / 1e3}});
    }
  });
  if (refusal.has_value()) return *refusal;
  return listing(call.format, "slo", rows,
                 {{"service", "SERVICE"},
                  {"window", "WINDOW"},
                  {"requests", "REQUESTS"},
                  {"errors", "ERRORS"},
                  {"availability", "AVAILABLE", as_exact_percent},
                  {"promised_availability", "PROMISED", as_exact_percent},
                  {"burn_rate", "BURN", as_ratio},
                  {"in_time", "IN-TIME", as_exact_percent},
                  {"promised_latency_s", "WITHIN", as_duration}});
}

constexpr Command kCommands[] = {
    {"show latency", "[SVC[/UPSTREAM[/ADDRESS]]]",
     "Quantiles of what requests took, with rate and error rate, blue beside green. Over the last second, 10 "
     "seconds, "
     "minute, 5 minutes and since the start; P99/BLUE is green's p99 against blue's. Of endpoints that are "
     "measured, one by its address or all by SVC/UPSTREAM/*, it is what attempts took.",
     false, at_once<show_latency>},
    {"measure", "SVC/UPSTREAM on|off",
     "Begins or stops to keep the latency of each endpoint of an upstream, for 'show latency' and 'show "
     "histogram'. It costs 16 KiB for each worker and endpoint, and one more addition for each attempt; "
     "without it nothing is paid. It lasts until the process ends.",
     true, at_once<measure>},
    {"show histogram", "SVC/UPSTREAM[/ADDRESS] [MEASURE]",
     "A picture of the distribution since the start. MEASURE is request (the default), upstream, connect, "
     "first-byte "
     "or queue.",
     false, at_once<show_histogram>},
    {"show slo", "[SVC]",
     "How well each service kept what its [slo] section promises, over the last 5 minutes, hour and day: the "
     "share of requests without a 5xx, how fast the error budget was spent (1 is exactly all of it), and the "
     "share in time.",
     false, at_once<show_slo>},
};

}  // namespace

std::span<const Command> latency_commands() {
  return kCommands;
}

}  // namespace sluice::admin
