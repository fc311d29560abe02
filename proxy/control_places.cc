// The places under the caps while one process gives way to another; see
// proxy/places_line.h.
#include <algorithm>
#include <string>

#include "proxy/control.h"

namespace sluice::proxy {

using balancer::Cap;

namespace {

std::map<std::string, Cap*> caps_of(Registry& registry) {
  std::map<std::string, Cap*> caps;
  for (const auto& [name, cap] : registry.caps()) caps["cap " + name] = cap.get();
  for (const auto& [name, service] : registry.services()) {
    for (const auto& upstream : service.upstreams) caps[upstream->name()] = upstream->connections().get();
  }
  return caps;
}

// Before any was given up.
std::map<std::string, uint32_t> limits_in_force(const Registry& registry, const conf::Config& config) {
  std::map<std::string, uint32_t> limits;
  for (const auto& [name, cap] : config.caps) limits["cap " + name] = cap.max_connections;
  for (const auto& [name, service] : registry.services()) {
    for (const conf::Colour colour : conf::kColours) {
      const auto i = static_cast<size_t>(colour);
      limits[service.upstreams[i]->name()] = service.by_hand.max_connections[i].value_or(
          config.services.at(name).upstream(colour).max_connections);
    }
  }
  return limits;
}

// Here, and at a predecessor that has not ended yet.
uint64_t taken(const Cap& cap) {
  return uint64_t{cap.used()} + cap.elsewhere();
}

}  // namespace

// To what is in use, and one more where a client may still ask for it, unless that
// would leave nothing to the other. What was given up never comes back.
void Control::give_up_places() {
  if (state_ != RunState::draining) return;
  const std::map<std::string, uint32_t> limits = limits_in_force(registry_, config_);
  const uint32_t spare = client_connections() > 0 ? 1 : 0;
  for (const auto& [name, cap] : caps_of(registry_)) {
    if (cap->max() == Cap::kUnlimited || cap->has_waiters()) continue;
    const bool only_one = limits.at(name) == 1;
    const uint64_t needed = taken(*cap) + (only_one ? 0 : spare);
    if (needed < cap->max()) cap->set_max(static_cast<uint32_t>(needed));
  }
  barrier([this] { tell_places(); });
}

// All workers keep to what was set by now; one may have been a moment too early.
// When all clients have gone, an origin may still have to let go of connections.
void Control::tell_places() {
  if (state_ != RunState::draining) return;
  const auto caps = caps_of(registry_);
  const bool all_free = std::all_of(caps.begin(), caps.end(), [](const auto& one) {
    return one.second->max() == Cap::kUnlimited || one.second->used() == 0;
  });
  // What the workers count is of their last turn: before the drain at the first look.
  if (told_places_ && all_free && client_connections() == 0) return stop_workers();
  Places places;
  for (const auto& [name, cap] : caps) {
    const uint64_t limit = cap->max() == Cap::kUnlimited ? 0 : cap->max();
    const uint64_t most = std::min<uint64_t>(std::max(taken(*cap), limit), Cap::kUnlimited);
    if (most > 0) places[name] = static_cast<uint32_t>(most);
  }
  if (!told_places_ || places != *told_places_) {
    if (upgrade_.tell(PlacesLine::kLetter, encode(places))) told_places_ = std::move(places);
  }
  loop_.arm(places_timer_, kPlacesMs);
}

// Until it says how many it has, a predecessor may have all.
void Control::await_places() {
  places_elsewhere_.reset();
  apply_places();
  predecessor_.open(inheritance_.take_channel());
}

void Control::take_places(const Places& places) {
  places_elsewhere_ = places;
  apply_places();
}

void Control::apply_places() {
  for (const auto& [name, cap] : caps_of(registry_)) {
    if (!places_elsewhere_) {
      cap->set_elsewhere(cap->max() == Cap::kUnlimited ? 0 : Cap::kUnlimited);
      continue;
    }
    const auto found = places_elsewhere_->find(name);
    cap->set_elsewhere(found == places_elsewhere_->end() ? 0 : found->second);
  }
}

}  // namespace sluice::proxy
