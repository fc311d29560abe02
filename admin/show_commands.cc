// The commands that say what there is: configuration, states and counters.
#include <fmt/format.h>
#include <unistd.h>

#include <optional>

#include "admin/arguments.h"
#include "admin/command_table.h"
#include "admin/listing.h"
#include "admin/totals.h"
#include "conf/render.h"
#include "conf/units.h"

namespace sluice::admin {
namespace {

using balancer::Cap;
using conf::Colour;
using proxy::ServiceEntry;

double percent_of(conf::BasisPoints share) {
  return share / 100.0;
}

Json or_null(uint32_t max) {
  return max == Cap::kUnlimited ? Json() : Json(max);
}

// Visits the upstreams that exist of the services that were asked for.
template <typename Visit>
std::optional<Refusal> for_upstreams(const Call& call, Visit visit) {
  return for_services(call, [&](const std::string& name, const ServiceEntry& entry) {
    visit(name, entry, Colour::blue);
    if (call.control().service_conf(name).has_green) visit(name, entry, Colour::green);
  });
}

Outcome show_info(const Call& call) {
  const proxy::Control& control = call.control();
  const uint64_t now_us = proxy::Loop::wall_clock_us();
  const double uptime_s = static_cast<double>(now_us - control.started_wall_us()) / 1e6;
  Json info = {{"name", "sluice"},
               {"version", control.version()},
               {"pid", getpid()},
               {"state", to_string(control.state())},
               {"ready", control.ready()},
               {"started", rfc3339(control.started_wall_us())},
               {"uptime_s", uptime_s},
               {"workers", control.worker_count()},
               {"connections", control.client_connections()},
               {"max_connections", control.max_client_connections()},
               {"queued", control.queued()},
               {"shed_connections", control.shed().connections},
               {"shed_requests", control.shed().requests},
               {"services", control.registry().services().size()},
               {"frozen", control.freeze().on},
               {"freeze_reason", control.freeze().reason},
               {"state_dir", control.config().state_dir},
               {"state_saved", control.unsaved().empty()},
               {"unsaved", control.unsaved()},
               {"config", control.config().file},
               {"admin_socket", control.config().admin.socket},
               {"admin_http", call.context.http_address}};
  Json listeners = Json::array();
  for (const proxy::ListenerInfo& one : control.listeners()) {
    listeners.push_back({{"bind", one.bind}, {"address", one.address}});
  }
  std::string text;
  for (const auto& [key, value] : info.items()) {
    text += fmt::format("{:<16} {}\n", key, key == "uptime_s" ? as_duration(value) : plain(value));
  }
  for (const Json& one : listeners) {
    text += fmt::format("{:<16} {}\n", "listener", plain(one["address"]));
  }
  info["listeners"] = std::move(listeners);
  return either(call.format, {{"info", Json::array({info})}}, text);
}

const char* state_of(const ServiceEntry& entry) {
  return entry.state->tripped() ? "tripped" : "serving";
}

Outcome show_services(const Call& call) {
  std::vector<Json> rows;
  for (const auto& [name, entry] : call.control().registry().services()) {
    const conf::Service& conf = call.control().service_conf(name);
    Json row = {{"service", name},
                {"state", state_of(entry)},
                {"maintenance", entry.state->maintenance()},
                {"green", percent_of(entry.state->split().get().green)},
                {"has_green", conf.has_green}};
    for (const Colour colour : conf::kColours) {
      const EndpointCounts count = count_endpoints(entry, colour);
      const Totals totals = totals_of(*entry.upstreams[static_cast<size_t>(colour)]);
      const std::string prefix = conf::to_string(colour);
      row[prefix + "_usable"] = count.usable;
      row[prefix + "_endpoints"] = count.total;
      row[prefix + "_requests"] = totals.all_responses();
    }
    rows.push_back(std::move(row));
  }
  return listing(call.format, "services", rows,
                 {{"service", "SERVICE"},
                  {"state", "STATE"},
                  {"maintenance", "MAINT"},
                  {"green", "GREEN%"},
                  {"blue_usable", "BLUE-UP"},
                  {"blue_endpoints", "OF"},
                  {"green_usable", "GREEN-UP"},
                  {"green_endpoints", "OF"},
                  {"blue_requests", "BLUE-REQS"},
                  {"green_requests", "GREEN-REQS"}});
}

Outcome show_split(const Call& call) {
  std::vector<Json> rows;
  const auto refusal = for_services(call, [&](const std::string& name, const ServiceEntry& entry) {
    const balancer::Split::Value split = entry.state->split().get();
    rows.push_back({{"service", name},
                    {"green", percent_of(split.green)},
                    {"blue", percent_of(conf::kFullSplit - split.green)},
                    {"generation", split.generation},
                    {"state", state_of(entry)},
                    {"source", entry.split_source},
                    {"since", rfc3339(entry.split_since_us)}});
  });
  if (refusal.has_value()) return *refusal;
  return listing(call.format, "split", rows,
                 {{"service", "SERVICE"},
                  {"green", "GREEN%"},
                  {"blue", "BLUE%"},
                  {"generation", "GENERATION"},
                  {"state", "STATE"},
                  {"source", "SOURCE"},
                  {"since", "SINCE"}});
}

Json by_outcome(const Totals& totals) {
  Json object;
  for (size_t i = 0; i < balancer::kOutcomes; ++i) {
    object[to_string(static_cast<balancer::Outcome>(i))] = totals.attempts[i];
  }
  return object;
}

Json by_reason(const Totals& totals) {
  Json object;
  for (size_t i = 0; i < balancer::kRefusals; ++i) {
    object[to_string(static_cast<balancer::Refusal>(i))] = totals.refusals[i];
  }
  return object;
}

Json by_code(const Totals& totals) {
  Json object = Json::object();
  for (size_t code = 0; code < totals.responses.size(); ++code) {
    if (totals.responses[code] != 0) object[std::to_string(code)] = totals.responses[code];
  }
  return object;
}

Json upstream_row(const Call& call, const conf::Service& conf, const ServiceEntry& entry, Colour colour) {
  balancer::UpstreamState& state = *entry.upstreams[static_cast<size_t>(colour)];
  const Cap& cap = *state.connections();
  const EndpointCounts count = count_endpoints(entry, colour);
  const Totals totals = totals_of(state);
  return {{"service", conf.name},
          {"upstream", conf::to_string(colour)},
          {"endpoints_usable", count.usable},
          {"endpoints", count.total},
          {"panic", call.control().health().in_panic(conf.name, colour)},
          {"connections", cap.used()},
          {"max_connections", or_null(cap.max())},
          {"max_connections_by_hand", entry.by_hand.max_connections[static_cast<size_t>(colour)].has_value()},
          {"peak_connections", cap.peak()},
          {"queue_depth", state.queued().load(std::memory_order_relaxed)},
          {"max_queue", conf.upstream(colour).max_queue},
          {"requests", totals.all_responses()},
          {"requests_2xx", totals.responses_of_class(2)},
          {"requests_4xx", totals.responses_of_class(4)},
          {"requests_5xx", totals.responses_of_class(5)},
          {"responses", by_code(totals)},
          {"attempts_total", totals.all_attempts()},
          {"attempts_failed", totals.failed_attempts()},
          {"attempts", by_outcome(totals)},
          {"rejected_total", totals.all_refusals()},
          {"rejected", by_reason(totals)},
          {"retries", totals.retries},
          {"rescues", totals.rescues},
          {"aborted", totals.aborted},
          {"bytes_up", totals.bytes_up},
          {"bytes_down", totals.bytes_down}};
}

Outcome show_upstreams(const Call& call) {
  std::vector<Json> rows;
  const auto refusal =
      for_upstreams(call, [&](const std::string& name, const ServiceEntry& entry, Colour colour) {
        rows.push_back(upstream_row(call, call.control().service_conf(name), entry, colour));
      });
  if (refusal.has_value()) return *refusal;
  return listing(call.format, "upstreams", rows,
                 {{"service", "SERVICE"},
                  {"upstream", "UPSTREAM"},
                  {"endpoints_usable", "UP"},
                  {"endpoints", "OF"},
                  {"connections", "CONNS"},
                  {"max_connections", "MAX"},
                  {"peak_connections", "PEAK"},
                  {"queue_depth", "QUEUE"},
                  {"requests", "REQUESTS"},
                  {"requests_5xx", "5XX"},
                  {"attempts_total", "ATTEMPTS"},
                  {"attempts_failed", "FAILED"},
                  {"rejected_total", "REJECTED"},
                  {"retries", "RETRIES"},
                  {"rescues", "RESCUES"}});
}

Outcome show_endpoints(const Call& call) {
  std::vector<Json> rows;
  const auto refusal =
      for_upstreams(call, [&](const std::string& name, const ServiceEntry& entry, Colour colour) {
        for (const balancer::EndpointPlan& one : entry.endpoints[static_cast<size_t>(colour)]) {
          const balancer::EndpointCondition condition = one.state->condition();
          const balancer::EndpointState::Tally tally = one.state->tally();
          const proxy::HealthMonitor& checks = call.control().health();
          const std::string failure = checks.check_failure(one.state.get());
          // To whoever looks, one that never came up is down as well.
          const char* const health = checks.fails(one.state.get()) ? "down" : to_string(condition.health);
          rows.push_back({{"service", name},
                          {"upstream", conf::to_string(colour)},
                          {"endpoint", one.state->name()},
                          {"usable", condition.usable()},
                          {"health", health},
                          {"mode", to_string(condition.mode)},
                          {"ejected", condition.ejected},
                          {"weight", one.weight},
                          {"ramp_percent", condition.ramp_percent},
                          {"attempts_succeeded", tally.succeeded},
                          {"attempts_failed", tally.failed},
                          {"check_failure", failure.empty() ? Json() : Json(failure)}});
        }
        for (const std::string& endpoint : call.control().unresolved(name, colour)) {
          rows.push_back({{"service", name},
                          {"upstream", conf::to_string(colour)},
                          {"endpoint", endpoint},
                          {"usable", false},
                          {"health", "unresolved"},
                          {"mode", "ready"},
                          {"ejected", false},
                          {"attempts_succeeded", 0},
                          {"attempts_failed", 0},
                          {"check_failure", Json()}});
        }
      });
  if (refusal.has_value()) return *refusal;
  return listing(call.format, "endpoints", rows,
                 {{"service", "SERVICE"},
                  {"upstream", "UPSTREAM"},
                  {"endpoint", "ENDPOINT"},
                  {"usable", "USABLE"},
                  {"health", "HEALTH"},
                  {"mode", "MODE"},
                  {"ejected", "EJECTED"},
                  {"weight", "WEIGHT"},
                  {"attempts_succeeded", "SUCCEEDED"},
                  {"attempts_failed", "FAILED"},
                  {"check_failure", "WHY"}});
}

Outcome show_caps(const Call& call) {
  std::vector<Json> rows;
  for (const auto& [name, cap] : call.control().registry().caps()) {
    const conf::Cap& conf = call.control().config().caps.at(name);
    Json members = Json::array();
    for (const conf::Cap::Member& member : conf.members) {
      members.push_back(member.service + "/" + conf::to_string(member.colour));
    }
    const double utilization = cap->max() == 0 ? 0 : static_cast<double>(cap->used()) / cap->max();
    rows.push_back({{"cap", name},
                    {"connections", cap->used()},
                    {"max_connections", cap->max()},
                    {"peak_connections", cap->peak()},
                    {"utilization", utilization},
                    {"warn_at", conf.warn_at},
                    {"warning", utilization >= conf.warn_at},
                    {"waiting", cap->has_waiters()},
                    {"members", std::move(members)}});
  }
  return listing(call.format, "caps", rows,
                 {{"cap", "CAP"},
                  {"connections", "CONNS"},
                  {"max_connections", "MAX"},
                  {"peak_connections", "PEAK"},
                  {"utilization", "USED", as_percent},
                  {"warn_at", "WARN-AT", as_percent},
                  {"warning", "WARNING"},
                  {"waiting", "WAITING"},
                  {"members", "MEMBERS"}});
}

Outcome show_config(const Call& call) {
  const proxy::Control& control = call.control();
  conf::Config config = control.config();
  for (const auto& [name, entry] : control.registry().services()) {
    conf::Service& service = config.services.at(name);
    service.maintenance = entry.by_hand.maintenance.value_or(service.maintenance);
    for (const Colour colour : conf::kColours) {
      const auto i = static_cast<size_t>(colour);
      uint32_t& max = service.upstreams[i].max_connections;
      max = entry.by_hand.max_connections[i].value_or(max);
    }
  }
  const std::vector<std::string> by_hand = control.values_by_hand(control.config());
  const std::string toml = conf::render(config);
  if (call.format == Format::json) {
    return Output{dump_members(
        {{"config", Json::array({{{"file", config.file}, {"toml", toml}, {"set_at_run_time", by_hand}}})}})};
  }
  std::string text;
  for (const std::string& one : by_hand) text += "# " + one + "\n";
  return Output{text + toml};
}

constexpr Command kCommands[] = {
    {"show info", "", "The process: version, state, listeners with their real addresses, connections.", false,
     at_once<show_info>},
    {"show services", "", "Each service in a line: its state, its split, its endpoints, its requests.", false,
     at_once<show_services>},
    {"show split", "[SVC]",
     "Green's share in percent, the generation, and who set it when. The generation goes up by one at each "
     "change.",
     false, at_once<show_split>},
    {"show upstreams", "[SVC]",
     "Connections (now, limit, peak), queue, requests, attempts, refusals, retries and rescues of each "
     "upstream. "
     "JSON has the counters by status, outcome and reason.",
     false, at_once<show_upstreams>},
    {"show endpoints", "[SVC]",
     "Each address with its health, its mode, its weight and how attempts at it ended. USABLE says whether "
     "new "
     "requests may go there.",
     false, at_once<show_endpoints>},
    {"show caps", "", "The connection budgets that several upstreams share, and how far they are used.",
     false, at_once<show_caps>},
    {"show config", "",
     "The configuration in force, defaults included, as TOML, behind a comment for each value that was set at run "
     "time and that the file says differently. Secrets are masked.",
     false, at_once<show_config>},
};

}  // namespace

std::span<const Command> show_commands() {
  return kCommands;
}

}  // namespace sluice::admin
