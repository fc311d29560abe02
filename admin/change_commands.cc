// The commands that change where traffic goes.
#include <fmt/format.h>

#include "admin/arguments.h"
#include "admin/command_table.h"
#include "admin/listing.h"
#include "conf/units.h"

namespace sluice::admin {
namespace {

Outcome set_weight(const Call& call) {
  const std::string& service = call.arguments[0];
  const auto found = service_argument(call, service);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  const auto green = green_argument(call.arguments[1]);
  if (const auto* refusal = std::get_if<Refusal>(&green)) return *refusal;
  std::optional<uint64_t> generation;
  if (call.arguments.size() > 2) {
    if (call.arguments.size() == 4 && call.arguments[2] == "if-gen") {
      generation = conf::parse_unsigned(call.arguments[3]);
    }
    if (!generation.has_value()) return Refusal{"usage", "write: set weight SVC green=PERCENT [if-gen N]"};
  }
  const conf::Result<balancer::Split::Value> result =
      call.control().set_weight(service, std::get<conf::BasisPoints>(green), generation, call.actor);
  if (!result.ok()) return Refusal{result.error()};
  Json row = {{"service", service}, {"green", result->green / 100.0}, {"generation", result->generation}};
  std::string text = fmt::format("{}: green has {} %, generation {}", service,
                                 conf::format_percent(result->green), result->generation);
  if (result->green > 0 && !call.control().registry().find(service)->has_usable(conf::Colour::green)) {
    row["warning"] = "green has no endpoint in service: its share goes to blue until one comes";
    text += "; " + row["warning"].get<std::string>();
  }
  return either(call.format, row, text);
}

Outcome set_max_connections(const Call& call) {
  const auto found = upstream_argument(call, call.arguments[0]);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  const auto& upstream = std::get<UpstreamName>(found);
  const std::optional<uint64_t> max = conf::parse_unsigned(call.arguments[1]);
  if (!max.has_value() || *max >= balancer::Cap::kUnlimited) {
    return Refusal{"invalid", "a number of connections is a whole number; 0 means no limit"};
  }
  const auto value = static_cast<uint32_t>(*max);
  const conf::Status set =
      call.control().set_max_connections(upstream.service, upstream.colour, value, call.actor);
  if (!set.ok()) return Refusal{set.error()};
  const uint32_t most = call.control().max_upstream_connections();
  std::string text = fmt::format("{}: max_connections is {}", call.arguments[0],
                                 value == 0 ? "unlimited" : std::to_string(value));
  if (value > most)
    text += fmt::format(", but the limit of open files leaves {} to all upstreams together", most);
  return either(call.format,
                {{"service", upstream.service},
                 {"upstream", conf::to_string(upstream.colour)},
                 {"max_connections", value == 0 ? Json() : Json(value)},
                 {"possible", most}},
                text);
}

std::optional<balancer::EndpointMode> mode_of(const std::string& word) {
  using balancer::EndpointMode;
  for (const EndpointMode mode : {EndpointMode::ready, EndpointMode::drain, EndpointMode::maint}) {
    if (word == to_string(mode)) return mode;
  }
  return std::nullopt;
}

// The address may itself have slashes: web/blue/unix:/run/app.sock.
Outcome set_endpoint(const Call& call) {
  const std::string& word = call.arguments[0];
  const auto found = endpoint_argument(call, word);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  const auto& [upstream, address] = std::get<EndpointName>(found);
  const std::optional<balancer::EndpointMode> mode = mode_of(call.arguments[1]);
  if (!mode.has_value()) return Refusal{"usage", "the mode is ready, drain or maint"};
  const conf::Status set =
      call.control().set_endpoint_mode(upstream.service, upstream.colour, address, *mode, call.actor);
  if (!set.ok()) return Refusal{set.error()};
  return either(call.format,
                {{"service", upstream.service},
                 {"upstream", conf::to_string(upstream.colour)},
                 {"endpoint", address},
                 {"mode", to_string(*mode)}},
                fmt::format("{}: {}", word, to_string(*mode)));
}

Outcome set_maintenance(const Call& call) {
  const std::string& service = call.arguments[0];
  const auto found = service_argument(call, service);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  const bool on = call.arguments[1] == "on";
  if (!on && call.arguments[1] != "off") return Refusal{"usage", "write: maintenance SVC on|off"};
  const conf::Status set = call.control().set_maintenance(service, on, call.actor);
  if (!set.ok()) return Refusal{set.error()};
  return either(call.format, {{"service", service}, {"maintenance", on}},
                fmt::format("{}: maintenance is {}", service, on ? "on" : "off"));
}

constexpr Command kCommands[] = {
    {"set weight", "SVC green=PERCENT [if-gen N]",
     "Sets green's share of a service's requests, 0 to 100 in steps of 0.01. When the reply arrives, every "
     "request "
     "that starts from then on follows it, on all workers. With if-gen, only if N is still the generation; "
     "else the "
     "answer is a conflict and nothing changes.",
     true, once_durable<set_weight>},
    {"set maxconn", "SVC/UPSTREAM N",
     "Sets the most connections an upstream may have, over all workers. 0 means no limit. When lowered, "
     "those above "
     "it go as they end.",
     true, once_durable<set_max_connections>},
    {"set endpoint", "SVC/UPSTREAM/ADDRESS ready|drain|maint",
     "Takes an endpoint out of service or puts it back. After drain and maint no new request goes there, those "
     "under way finish, and checks go on: both do the same, and the word only says why.",
     true, once_durable<set_endpoint>},
    {"maintenance", "SVC on|off",
     "Answers all requests of a service with 503 and its maintenance page, or stops doing so. No endpoint is "
     "asked "
     "while it is on.",
     true, once_durable<set_maintenance>},
};

}  // namespace

std::span<const Command> change_commands() {
  return kCommands;
}

}  // namespace sluice::admin
