#include "admin/http_pages.h"

#include "admin/json.h"
#include "admin/metrics.h"
#include "admin/totals.h"

namespace sluice::admin {
namespace {

using conf::Colour;
using proxy::RunState;

constexpr std::string_view kIndex =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>sluice</title></head>\n<body>\n"
    "<h1>sluice</h1>\n<p>Read-only. Changes are made on the admin socket, with <code>sluice "
    "ctl</code>.</p>\n<ul>\n"
    "<li><a href=\"/live\">/live</a>: the process answers</li>\n"
    "<li><a href=\"/ready\">/ready</a>: it takes traffic</li>\n"
    "<li><a href=\"/health\">/health</a>: each check by name, as JSON</li>\n"
    "<li><a href=\"/metrics\">/metrics</a>: for Prometheus</li>\n"
    "<li><a href=\"/metrics.json\">/metrics.json</a>: the same numbers as JSON</li>\n"
    "</ul>\n</body></html>\n";

HttpPage live(proxy::Control&, std::string_view) {
  return {200, "text/plain; charset=utf-8", "live\n"};
}

HttpPage ready(proxy::Control& control, std::string_view) {
  if (control.ready()) return {200, "text/plain; charset=utf-8", "ready\n"};
  const bool running = control.state() == RunState::running;
  return {503, "text/plain; charset=utf-8",
          std::string("not ready: ") + (running ? "a service has no endpoint" : to_string(control.state())) +
              "\n"};
}

// The states of a check, from best to worst.
enum class Verdict : uint8_t { ok, degraded, failing };
constexpr const char* to_string(Verdict verdict) {
  constexpr const char* names[] = {"ok", "degraded", "failing"};
  return names[static_cast<size_t>(verdict)];
}

Verdict judge(const EndpointCounts& count) {
  if (count.usable == 0) return Verdict::failing;
  return count.usable < count.total ? Verdict::degraded : Verdict::ok;
}

// Adds the checks of a service and its upstreams; returns the service's.
Verdict check_service(const proxy::Control& control, const std::string& name,
                      const proxy::ServiceEntry& entry, Json& checks) {
  const bool has_green = control.service_conf(name).has_green;
  Verdict worst = Verdict::ok;
  size_t usable = 0;
  Json upstreams = Json::object();
  for (const Colour colour : conf::kColours) {
    if (colour == Colour::green && !has_green) continue;
    const EndpointCounts count = count_endpoints(entry, colour);
    const Verdict verdict = judge(count);
    worst = std::max(worst, verdict);
    usable += count.usable;
    upstreams[name + "/" + conf::to_string(colour)] = {
        {"status", to_string(verdict)}, {"usable", count.usable}, {"endpoints", count.total}};
  }
  // One colour can carry a service; that it must is worth a look.
  Verdict verdict = std::min(worst, Verdict::degraded);
  if (entry.state->tripped() || entry.state->maintenance()) verdict = Verdict::degraded;
  if (usable == 0) verdict = Verdict::failing;
  checks[name] = {{"status", to_string(verdict)},
                  {"state", entry.state->tripped() ? "tripped" : "serving"},
                  {"maintenance", entry.state->maintenance()},
                  {"green", entry.state->split().get().green / 100.0}};
  checks.update(upstreams);
  return verdict;
}

HttpPage health(proxy::Control& control, std::string_view) {
  const bool running = control.state() == RunState::running;
  Json checks = Json::object();
  checks["process"] = {{"status", running ? "ok" : "failing"}, {"state", to_string(control.state())}};
  Verdict worst = Verdict::ok;
  for (const auto& [name, entry] : control.registry().services()) {
    worst = std::max(worst, check_service(control, name, entry, checks));
  }
  const uint64_t up_us = proxy::Loop::wall_clock_us() - control.started_wall_us();
  const Json object = {{"status", running ? to_string(worst) : to_string(control.state())},
                       {"ready", control.ready()},
                       {"version", control.version()},
                       {"uptime_s", static_cast<double>(up_us) / 1e6},
                       {"checks", std::move(checks)}};
  return {200, "application/json", dump(object) + "\n"};
}

HttpPage metrics(proxy::Control& control, std::string_view accept) {
  const std::vector<MetricFamily> families = collect(control);
  if (prefers_openmetrics(accept)) {
    return {200, "application/openmetrics-text; version=1.0.0; charset=utf-8", to_openmetrics(families)};
  }
  return {200, "text/plain; version=0.0.4; charset=utf-8", to_prometheus(families)};
}

HttpPage metrics_json(proxy::Control& control, std::string_view) {
  return {200, "application/json", to_json(collect(control))};
}

HttpPage index(proxy::Control&, std::string_view) {
  return {200, "text/html; charset=utf-8", std::string(kIndex)};
}

constexpr struct {
  std::string_view path;
  HttpPage (*make)(proxy::Control&, std::string_view accept);
} kPages[] = {{"/", index},        {"/live", live},       {"/ready", ready},
              {"/health", health}, {"/metrics", metrics}, {"/metrics.json", metrics_json}};

}  // namespace

HttpPage page_for(proxy::Control& control, std::string_view path, std::string_view accept) {
  for (const auto& page : kPages) {
    if (page.path == path) return page.make(control, accept);
  }
  return {404, "text/plain; charset=utf-8", "404 no such page; / lists what there is\n"};
}

}  // namespace sluice::admin
