#include "admin/http_pages.h"

#include "admin/dashboard.h"
#include "admin/json.h"
#include "admin/metrics.h"
#include "admin/telling.h"
#include "admin/totals.h"

namespace sluice::admin {
namespace {

using conf::Colour;
using proxy::RunState;

constexpr const char* kPlain = "text/plain; charset=utf-8";

HttpPage live(Context&, std::string_view) {
  return {200, kPlain, "live\n", {}};
}

HttpPage ready(Context& context, std::string_view) {
  const std::string why_not = context.control.why_not_ready();
  if (why_not.empty()) return {200, kPlain, "ready\n", {}};
  return {503, kPlain, "not ready: " + why_not + "\n", {}};
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

HttpPage health(Context& context, std::string_view) {
  const proxy::Control& control = context.control;
  const bool running = control.state() == RunState::running;
  Json checks = Json::object();
  // With a slash, and neither "/blue" nor "/green" behind it: no service's name.
  checks["sluice/process"] = {{"status", running ? "ok" : "failing"}, {"state", to_string(control.state())}};
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
  return {200, "application/json", "{" + dump_members(object) + "," + told(context, "show slo") + "}\n", {}};
}

HttpPage metrics(Context& context, std::string_view accept) {
  const std::vector<MetricFamily> families = collect(context.control);
  if (prefers_openmetrics(accept)) {
    return {200, "application/openmetrics-text; version=1.0.0; charset=utf-8", to_openmetrics(families), {}};
  }
  return {200, "text/plain; version=0.0.4; charset=utf-8", to_prometheus(families), {}};
}

HttpPage metrics_json(Context& context, std::string_view) {
  return {200,
          "application/json",
          "{" + json_members(collect(context.control)) + "," + told(context, "show latency") + "," +
              told(context, "show slo") + "}\n",
          {}};
}

constexpr struct {
  std::string_view path;
  HttpPage (*make)(Context&, std::string_view accept);
} kPages[] = {{"/live", live},
              {"/ready", ready},
              {"/health", health},
              {"/metrics", metrics},
              {"/metrics.json", metrics_json}};

// "/stream", of the first service, or "/stream?service=NAME".
HttpPage stream(const Context& context, std::string_view query) {
  const auto& services = context.control.registry().services();
  constexpr std::string_view kKey = "service=";
  std::string name(query.starts_with(kKey) ? query.substr(kKey.size()) : query);
  if (name.empty()) name = services.begin()->first;
  if (services.find(name) == services.end()) return {404, kPlain, "404 no such service\n", {}};
  return {200, "text/event-stream", {}, std::move(name)};
}

}  // namespace

bool begins_probe(std::string_view input) {
  for (const std::string_view method : {"GET ", "HEAD "}) {
    if (!input.starts_with(method)) continue;
    const std::string_view target = input.substr(method.size());
    return target.starts_with("/live") || target.starts_with("/ready");
  }
  return false;
}

HttpPage page_for(Context& context, std::string_view target, std::string_view accept) {
  const size_t mark = target.find('?');
  const std::string_view path = target.substr(0, mark);
  for (const auto& page : kPages) {
    if (page.path == path) return page.make(context, accept);
  }
  if (path == "/stream")
    return stream(context, mark == target.npos ? std::string_view{} : target.substr(mark + 1));
  for (const DashboardFile& file : dashboard_files()) {
    if (file.path == path) return {200, std::string(file.content_type), std::string(file.content), {}};
  }
  return {404, kPlain, "404 no such page; there are / /live /ready /health /metrics /metrics.json\n", {}};
}

}  // namespace sluice::admin
