// What operators change at run time: splits, caps, endpoint modes, latches.
#include <utility>

#include "conf/units.h"
#include "proxy/control.h"
#include "proxy/control_text.h"

namespace sluice::proxy {

using balancer::Split;
using conf::Error;

conf::Result<ServiceEntry*> Control::find_service(const std::string& service) {
  if (ServiceEntry* const entry = registry_.find(service); entry != nullptr) return entry;
  return refusal(Error::Kind::not_found, "no service is called '" + service + "'; see 'show services'");
}

conf::Result<Split::Value> Control::set_weight(const std::string& service, conf::BasisPoints green,
                                               std::optional<uint64_t> if_generation, const Actor& actor) {
  const conf::Result<ServiceEntry*> found = find_service(service);
  if (!found.ok()) return found.error();
  ServiceEntry& entry = **found;
  const Split::Value now = entry.state->split().get();
  if (green > conf::kFullSplit) {
    return refusal(Error::Kind::invalid, "a split is between 0 and 100 percent");
  }
  if (!service_conf(service).has_green && green > 0) {
    return refusal(Error::Kind::refused,
                   "service '" + service + "' has no green upstream to send requests to");
  }
  if (if_generation.has_value() && *if_generation != now.generation) {
    return refusal(Error::Kind::conflict,
                   "the split of '" + service + "' is at generation " + std::to_string(now.generation) +
                       ", not " + std::to_string(*if_generation) + "; look again with 'show split'");
  }
  if (entry.state->tripped() && green > 0) {
    return refusal(Error::Kind::refused,
                   "service '" + service + "' is tripped; 'reset " + service + "' first");
  }
  if (freeze_.on && green > now.green) {
    return refusal(Error::Kind::refused,
                   "a freeze is on, no split may rise: " + freeze_.reason + "; 'freeze off' ends it");
  }
  // Said again it is no change: the generation and the judge's evidence stay. But
  // it is by hand from now on, to the file and to a rollout.
  if (green == now.green) {
    entry.split_source = actor.source;
  } else {
    put_split(service, green, actor.source);
  }
  rollouts_.split_changed(service, green);
  save_service(service);
  const Split::Value next = entry.state->split().get();
  if (green == now.green) {
    changed();
    return next;
  }
  if (green > 0 && !entry.has_usable(conf::Colour::green)) {
    add_event("green_missing", service,
              "green has no endpoint in service: its share of " + conf::format_percent(green) +
                  " % goes to blue until one comes");
  }
  add_event("split_changed", service,
            "green's share of " + service + " went from " + conf::format_percent(now.green) + " to " +
                conf::format_percent(green) + " %",
            {{"from", conf::format_percent(now.green)},
             {"to", conf::format_percent(green)},
             {"generation", std::to_string(next.generation)},
             {"source", actor.source},
             {"who", actor.who}});
  changed();
  return next;
}

void Control::put_split(const std::string& service, conf::BasisPoints green, const std::string& source) {
  ServiceEntry& entry = *registry_.find(service);
  judge_.split_changes(service);
  entry.state->split().set({green, entry.state->split().get().generation + 1});
  entry.split_source = source;
  entry.split_since_us = Loop::wall_clock_us();
  judge_.split_changed(service);
}

conf::Status Control::trip(const std::string& service, const std::string& reason, const Actor& actor) {
  const conf::Result<ServiceEntry*> found = find_service(service);
  if (!found.ok()) return found.error();
  (*found)->tripped_by = actor.who;
  return judge_.trip_by_hand(service, reason.empty() ? "by hand" : reason);
}

conf::Status Control::reset(const std::string& service, const Actor& actor) {
  const conf::Result<ServiceEntry*> found = find_service(service);
  if (!found.ok()) return found.error();
  if (conf::Status status = judge_.reset(service); !status.ok()) return status;
  (*found)->trip_reason.clear();
  (*found)->tripped_at_us = 0;
  if ((*found)->split_source == kRecovery) (*found)->split_source = actor.source;  // somebody has looked
  rollouts_.reset(service);
  save_service(service);
  add_event("trip_reset", service,
            "the latch of " + service + " is cleared; green's share stays 0 until it is set",
            {{"source", actor.source}, {"who", actor.who}});
  changed();
  return conf::Done{};
}

conf::Status Control::set_max_connections(const std::string& service, conf::Colour colour, uint32_t max,
                                          const Actor& actor) {
  const conf::Result<ServiceEntry*> found = find_service(service);
  if (!found.ok()) return found.error();
  balancer::Cap& cap = *(*found)->upstreams[static_cast<size_t>(colour)]->connections();
  const uint32_t before = cap.max();
  cap.set_max(max == 0 ? balancer::Cap::kUnlimited : max);
  (*found)->by_hand.max_connections[static_cast<size_t>(colour)] = max;
  share_connections();
  save_service(service);
  const auto text = [](uint32_t value) {
    return value == 0 || value == balancer::Cap::kUnlimited ? std::string("unlimited")
                                                            : std::to_string(value);
  };
  add_event(
      "max_connections_changed", service,
      "max_connections of " + cap.name() + " went from " + text(before) + " to " + text(max),
      {{"upstream", conf::to_string(colour)}, {"from", text(before)}, {"to", text(max)}, {"who", actor.who}});
  changed();
  return conf::Done{};
}

conf::Status Control::set_endpoint_mode(const std::string& service, conf::Colour colour,
                                        const std::string& endpoint, balancer::EndpointMode mode,
                                        const Actor& actor) {
  const conf::Result<ServiceEntry*> found = find_service(service);
  if (!found.ok()) return found.error();
  balancer::EndpointState* const state = (*found)->find_endpoint(colour, endpoint);
  if (state == nullptr) {
    return refusal(Error::Kind::not_found,
                   "no endpoint of " + service + "/" + conf::to_string(colour) + " is called '" + endpoint +
                       "'" +
                       (endpoint.starts_with("dns:") ? ": name one of the addresses of that name" : "") +
                       "; see 'show endpoints " + service + "'");
  }
  const balancer::EndpointMode before = state->condition().mode;
  health_.set_mode(service, colour, state, mode);
  auto& modes = (*found)->by_hand.modes[static_cast<size_t>(colour)];
  if (mode == balancer::EndpointMode::ready) {
    modes.erase(endpoint);
  } else {
    modes[endpoint] = mode;
  }
  save_service(service);
  add_event("endpoint_mode_changed", service,
            "endpoint " + endpoint + " of " + service + "/" + conf::to_string(colour) + " went from " +
                to_string(before) + " to " + to_string(mode),
            {{"upstream", conf::to_string(colour)},
             {"endpoint", endpoint},
             {"mode", to_string(mode)},
             {"who", actor.who}});
  changed();
  return conf::Done{};
}

void Control::endpoints_changed(const std::string& service, conf::Colour colour) {
  ServiceEntry* const entry = registry_.find(service);
  if (entry == nullptr) return;
  entry->upstreams[static_cast<size_t>(colour)]->bump_epoch();
  // Requests that wait may have somewhere to go now, or nowhere.
  for (const auto& worker : workers_) worker->wake_for_caps();
  if (judges()) judge_.look_at_endpoints(service);
  accept_when_ready();
  changed();
}

conf::Status Control::set_maintenance(const std::string& service, bool on, const Actor& actor) {
  const conf::Result<ServiceEntry*> found = find_service(service);
  if (!found.ok()) return found.error();
  (*found)->state->set_maintenance(on);
  (*found)->by_hand.maintenance = on;
  save_service(service);
  add_event("maintenance_changed", service, "maintenance of " + service + " is " + (on ? "on" : "off"),
            {{"on", on ? "true" : "false"}, {"who", actor.who}});
  changed();
  return conf::Done{};
}

}  // namespace sluice::proxy
