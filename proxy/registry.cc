#include "proxy/registry.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

namespace sluice::proxy {

using balancer::EndpointHealth;
using balancer::EndpointPlan;
using balancer::EndpointState;
using conf::Colour;

balancer::EndpointState* ServiceEntry::find_endpoint(Colour colour, const std::string& name) const {
  for (const EndpointPlan& one : endpoints[static_cast<size_t>(colour)]) {
    if (one.state->name() == name) return one.state.get();
  }
  return nullptr;
}

bool ServiceEntry::has_usable(Colour colour) const {
  const std::vector<EndpointPlan>& all = endpoints[static_cast<size_t>(colour)];
  return std::any_of(all.begin(), all.end(),
                     [](const EndpointPlan& one) { return one.state->condition().usable(); });
}

bool ServiceEntry::served() const {
  return has_usable(Colour::blue) || (state->split().get().green > 0 && has_usable(Colour::green));
}

void ServiceEntry::take_latch(const balancer::SavedService& saved) {
  state->set_tripped(saved.tripped);
  trip_reason = saved.trip_reason;
  tripped_at_us = static_cast<uint64_t>(saved.tripped_unix_ms) * 1000;
}

ServiceEntry* Registry::find(const std::string& service) {
  const auto found = services_.find(service);
  return found == services_.end() ? nullptr : &found->second;
}

void Registry::update_caps(const conf::Config& config) {
  std::map<std::string, std::shared_ptr<balancer::Cap>> kept;
  for (const auto& [name, cap] : config.caps) {
    const auto found = caps_.find(name);
    auto state = found != caps_.end() ? found->second
                                      : std::make_shared<balancer::Cap>(name, cap.max_connections, wake_);
    state->set_max(cap.max_connections);
    kept.emplace(name, std::move(state));
  }
  caps_ = std::move(kept);
}

// Its generation and latch are kept for when it comes back: a file that lacked it
// for a while is no `reset`.
void Registry::drop(std::map<std::string, ServiceEntry>::iterator which) {
  auto node = services_.extract(which);
  ServiceEntry& entry = node.mapped();
  for (size_t i = 0; i < 2; ++i) {
    entry.upstreams[i].reset();
    entry.endpoints[i].clear();
    entry.tls[i].reset();
  }
  dropped_.insert(std::move(node));
}

void Registry::update_service(const conf::Service& service, uint64_t wall_us) {
  if (auto before = dropped_.extract(service.name); !before.empty()) {
    const auto back = services_.insert(std::move(before)).position;
    balancer::Split& split = back->second.state->split();
    const balancer::Split::Value now = split.get();
    // Nobody would expect what was set by hand before it left, nor green where a
    // trip may be missing.
    const bool in_doubt = back->second.split_source == kRecovery;
    const bool no_green = !service.has_green || in_doubt || back->second.state->tripped();
    const conf::BasisPoints green = no_green ? 0 : service.split;
    if (green != now.green) split.set({green, now.generation + 1});
    changed_.insert(service.name);
    if (!in_doubt) {
      back->second.split_source = "config";
      back->second.split_since_us = wall_us;
    }
    back->second.by_hand = {};
  }
  ServiceEntry& entry = services_[service.name];
  if (entry.state == nullptr) {
    entry.state =
        std::make_shared<balancer::ServiceState>(service.name, balancer::Split::Value{service.split, 1});
    entry.split_source = "config";
    entry.split_since_us = wall_us;
  }
  if (entry.upstreams[0] == nullptr) {
    for (const Colour colour : conf::kColours) {
      entry.upstreams[static_cast<size_t>(colour)] =
          std::make_shared<balancer::UpstreamState>(service.name, colour, workers_, wake_);
    }
  }
  apply_by_hand(service, entry);
}

void Registry::apply_by_hand(const conf::Service& service, ServiceEntry& entry) {
  const balancer::ByHand before = entry.by_hand;
  std::optional<bool>& maintenance = entry.by_hand.maintenance;
  if (maintenance == service.maintenance) maintenance.reset();
  entry.state->set_maintenance(maintenance.value_or(service.maintenance));
  for (const Colour colour : conf::kColours) {
    const auto i = static_cast<size_t>(colour);
    std::optional<uint32_t>& by_hand = entry.by_hand.max_connections[i];
    const uint32_t in_file = service.upstream(colour).max_connections;
    if (by_hand == in_file) by_hand.reset();
    const uint32_t max = by_hand.value_or(in_file);
    entry.upstreams[i]->connections()->set_max(max == 0 ? balancer::Cap::kUnlimited : max);
  }
  if (entry.by_hand != before) changed_.insert(service.name);
}

// Modes go with their endpoints; one that a name may still have is kept until the
// name has its first address.
void Registry::forget_modes(const conf::Service& service, const ResolvedNames& names, ServiceEntry& entry) {
  for (const Colour colour : conf::kColours) {
    const std::vector<conf::Endpoint>& listed = service.upstream(colour).endpoints;
    const bool more_may_come = std::any_of(listed.begin(), listed.end(), [&](const conf::Endpoint& one) {
      if (one.address.kind != conf::Address::Kind::dns) return false;
      const auto found = names.find(one.address.host);
      return found == names.end() || found->second.empty();
    });
    if (more_may_come) continue;
    const size_t gone = std::erase_if(entry.by_hand.modes[static_cast<size_t>(colour)], [&](const auto& one) {
      return entry.find_endpoint(colour, one.first) == nullptr;
    });
    if (gone > 0) changed_.insert(service.name);
  }
}

void Registry::restore_by_hand(const conf::Service& service, balancer::ByHand by_hand,
                               const ResolvedNames& names) {
  ServiceEntry& entry = services_.at(service.name);
  entry.by_hand = std::move(by_hand);
  apply_by_hand(service, entry);
  forget_modes(service, names, entry);
  for (const Colour colour : conf::kColours) {
    for (const auto& [name, mode] : entry.by_hand.modes[static_cast<size_t>(colour)]) {
      EndpointState* const state = entry.find_endpoint(colour, name);
      if (state == nullptr) continue;
      balancer::EndpointCondition condition = state->condition();
      condition.mode = mode;
      state->set_condition(condition);
    }
  }
}

const ServiceEntry* Registry::find_any(const std::string& service) const {
  const auto found = services_.find(service);
  if (found != services_.end()) return &found->second;
  const auto dropped = dropped_.find(service);
  return dropped == dropped_.end() ? nullptr : &dropped->second;
}

void Registry::put_in_doubt(const std::string& service) {
  const auto dropped = dropped_.find(service);
  ServiceEntry& entry = dropped == dropped_.end() ? services_.at(service) : dropped->second;
  balancer::Split& split = entry.state->split();
  const balancer::Split::Value now = split.get();
  if (now.green == 0 && entry.split_source == "config") return;
  entry.split_source = kRecovery;
  if (dropped != dropped_.end()) split.set({0, now.generation + 1});
}

void Registry::remember(const std::string& service, const balancer::SavedService& saved) {
  ServiceEntry& entry = dropped_[service];
  if (entry.state == nullptr) {
    entry.state = std::make_shared<balancer::ServiceState>(
        service, balancer::Split::Value{saved.green, saved.generation});
    entry.split_source = saved.source;
    entry.split_since_us = static_cast<uint64_t>(saved.since_unix_ms) * 1000;
    entry.by_hand = saved.by_hand;
  } else {
    const balancer::Split::Value now = entry.state->split().get();
    entry.state->split().set({now.green, std::max(now.generation, saved.generation)});
  }
  if (saved.tripped && !entry.state->tripped()) entry.take_latch(saved);
}

std::vector<EndpointPlan> Registry::endpoints_of(const conf::Service& service, Colour colour,
                                                 const ResolvedNames& names,
                                                 const ServiceEntry& entry) const {
  std::vector<EndpointPlan> result;
  std::set<std::string> seen;
  const auto& modes = entry.by_hand.modes[static_cast<size_t>(colour)];
  const auto add = [&](const conf::Address& address, const std::string& authority, uint32_t weight) {
    const std::string name = address.to_string();
    if (!seen.insert(name).second) return;
    std::shared_ptr<EndpointState> state;
    for (const EndpointPlan& one : entry.endpoints[static_cast<size_t>(colour)]) {
      // By another authority another peer may answer, and is to be believed as one.
      if (one.state->name() == name && one.state->authority() == authority) state = one.state;
    }
    const bool fresh = state == nullptr;
    if (fresh) state = std::make_shared<EndpointState>(address, name, authority, workers_);
    balancer::EndpointCondition condition = state->condition();
    const auto mode = modes.find(name);
    if (fresh && mode != modes.end()) condition.mode = mode->second;
    if (!service.health.enabled) condition.health = EndpointHealth::up;
    state->set_condition(condition);
    result.push_back({std::move(state), weight});
  };
  for (const conf::Endpoint& endpoint : service.upstream(colour).endpoints) {
    const conf::Address& address = endpoint.address;
    if (address.kind != conf::Address::Kind::dns) {
      add(address, address.kind == conf::Address::Kind::unix_socket ? "localhost" : address.to_string(),
          endpoint.weight);
      continue;
    }
    const auto resolved = names.find(address.host);
    if (resolved == names.end()) continue;
    for (const std::string& ip : resolved->second) {
      conf::Address record;
      record.host = ip;
      record.port = address.port;
      add(record, address.host + ":" + std::to_string(address.port), endpoint.weight);
    }
  }
  return result;
}

std::shared_ptr<const balancer::CapSet> Registry::caps_of(const conf::Config& config,
                                                          const ServiceEntry& entry, Colour colour) const {
  auto caps = std::make_shared<balancer::CapSet>();
  caps->push_back(entry.upstreams[static_cast<size_t>(colour)]->connections());
  for (const auto& [name, cap] : config.caps) {
    const conf::Cap::Member member{entry.state->name(), colour};
    if (std::find(cap.members.begin(), cap.members.end(), member) != cap.members.end()) {
      caps->push_back(caps_.at(name));
    }
  }
  if (all_connections_ != nullptr) caps->push_back(all_connections_);
  return caps;
}

uint64_t Registry::allowed_connections(const conf::Config& config) const {
  uint64_t sum = 0;
  for (const auto& [name, entry] : services_) {
    const auto service = config.services.find(name);
    if (service == config.services.end()) continue;
    for (const Colour colour : conf::kColours) {
      if (service->second.upstream(colour).endpoints.empty()) continue;
      uint32_t most = balancer::Cap::kUnlimited;
      const std::shared_ptr<const balancer::CapSet> caps = caps_of(config, entry, colour);
      for (const auto& cap : *caps) {
        if (cap != all_connections_) most = std::min(most, cap->max());
      }
      sum += most;
    }
  }
  return sum;
}

namespace {

std::string read_page(const std::string& path) {
  if (path.empty()) return {};
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

conf::Status check_pages(const conf::Config& config) {
  for (const auto& [name, service] : config.services) {
    if (service.maintenance_page.empty()) continue;
    std::ifstream file(service.maintenance_page, std::ios::binary);
    file.peek();  // an empty file is a page, a folder is none
    if (file.is_open() && !file.bad()) continue;
    return conf::Error{
        conf::Error::Kind::io, conf::Error::Source::system, false,
        "service." + name + ".maintenance_page: " + service.maintenance_page + " cannot be read"};
  }
  return conf::Done{};
}

namespace {

// Before a service is known the widest limits of all of them apply.
void widen(balancer::Plan& plan, const conf::Service& service, bool first) {
  if (first) {
    plan.head_limits = service.limits;
    plan.client_timeouts = service.timeouts;
    return;
  }
  conf::Limits& limits = plan.head_limits;
  limits.header_bytes = std::max(limits.header_bytes, service.limits.header_bytes);
  limits.headers = std::max(limits.headers, service.limits.headers);
  limits.uri_bytes = std::max(limits.uri_bytes, service.limits.uri_bytes);
  conf::Timeouts& timeouts = plan.client_timeouts;
  timeouts.client_header_ms = std::max(timeouts.client_header_ms, service.timeouts.client_header_ms);
  timeouts.client_idle_ms = std::max(timeouts.client_idle_ms, service.timeouts.client_idle_ms);
  timeouts.client_body_ms = std::max(timeouts.client_body_ms, service.timeouts.client_body_ms);
  timeouts.idle_ms = std::max(timeouts.idle_ms, service.timeouts.idle_ms);
}

}  // namespace

std::shared_ptr<const balancer::Plan> Registry::build(const conf::Config& config, const ResolvedNames& names,
                                                      uint64_t wall_us, const TlsClients& tls) {
  update_caps(config);
  for (auto it = services_.begin(); it != services_.end();) {
    const auto here = it++;
    if (!config.services.contains(here->first)) drop(here);
  }
  auto plan = std::make_shared<balancer::Plan>();
  plan->serial = ++serial_;
  plan->trace = config.trace;
  std::map<std::string, uint32_t> index;
  for (const auto& [name, service] : config.services) {
    update_service(service, wall_us);
    ServiceEntry& entry = services_.at(name);
    balancer::ServicePlan& mine = plan->services.emplace_back();
    mine.conf = service;
    mine.state = entry.state;
    mine.maintenance_page = read_page(service.maintenance_page);
    for (const Colour colour : conf::kColours) {
      const auto i = static_cast<size_t>(colour);
      entry.endpoints[i] = endpoints_of(service, colour, names, entry);
      const auto secured = tls.find(entry.upstreams[i]->name());
      entry.tls[i] = secured == tls.end() ? nullptr : secured->second;
      mine.upstreams[i] = {entry.upstreams[i], caps_of(config, entry, colour), entry.endpoints[i],
                           entry.tls[i]};
      entry.upstreams[i]->bump_epoch();
    }
    forget_modes(service, names, entry);
    widen(*plan, service, plan->services.size() == 1);
    index.emplace(name, static_cast<uint32_t>(plan->services.size() - 1));
  }
  if (config.routes.empty()) {
    plan->routes.set_only(0);
  } else {
    for (const conf::Route& route : config.routes)
      plan->routes.add(route.host, route.path, index.at(route.service));
  }
  return plan;
}

}  // namespace sluice::proxy
