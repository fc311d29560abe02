#include "admin/arguments.h"

#include <fmt/format.h>

#include <vector>

#include "conf/edit_distance.h"
#include "conf/units.h"

namespace sluice::admin {

std::variant<proxy::ServiceEntry*, Refusal> service_argument(const Call& call, const std::string& name) {
  proxy::Registry& registry = call.control().registry();
  if (proxy::ServiceEntry* const entry = registry.find(name); entry != nullptr) return entry;
  std::vector<std::string_view> known;
  for (const auto& [service, entry] : registry.services()) known.push_back(service);
  const std::string_view nearest = conf::nearest(name, known);
  return Refusal{
      "not_found",
      fmt::format("no service is called {}; {}", conf::quote(clip(name, conf::kMaxHintedWord)),
                  nearest.empty() ? "see 'show services'" : fmt::format("did you mean '{}'?", nearest))};
}

std::variant<UpstreamName, Refusal> upstream_argument(const Call& call, const std::string& word) {
  const size_t slash = word.find('/');
  if (slash == std::string::npos) {
    return Refusal{"usage", "an upstream is written SERVICE/blue or SERVICE/green"};
  }
  UpstreamName name;
  name.service = word.substr(0, slash);
  const auto found = service_argument(call, name.service);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  name.entry = std::get<proxy::ServiceEntry*>(found);
  const std::string_view colour = std::string_view(word).substr(slash + 1);
  for (const conf::Colour one : conf::kColours) {
    if (colour != conf::to_string(one)) continue;
    if (one == conf::Colour::green && !call.control().service_conf(name.service).has_green) {
      return Refusal{"not_found", fmt::format("service '{}' has no green upstream", name.service)};
    }
    name.colour = one;
    return name;
  }
  return Refusal{"not_found", fmt::format("the upstreams of '{}' are blue and green", name.service)};
}

bool names_endpoint(const std::string& word) {
  const size_t slash = word.find('/');
  return slash != std::string::npos && word.find('/', slash + 1) != std::string::npos;
}

std::variant<EndpointName, Refusal> endpoint_argument(const Call& call, const std::string& word) {
  if (!names_endpoint(word)) return Refusal{"usage", "an endpoint is written SERVICE/UPSTREAM/ADDRESS"};
  const size_t second = word.find('/', word.find('/') + 1);
  const auto found = upstream_argument(call, word.substr(0, second));
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  return EndpointName{std::get<UpstreamName>(found), word.substr(second + 1)};
}

std::variant<conf::BasisPoints, Refusal> green_argument(std::string_view word) {
  constexpr std::string_view kPrefix = "green=";
  if (!word.starts_with(kPrefix))
    return Refusal{"usage", "green's share is written green=PERCENT, as in green=25"};
  const conf::Result<conf::BasisPoints> share = conf::parse_percent(word.substr(kPrefix.size()));
  if (!share.ok()) return Refusal{share.error()};
  return *share;
}

}  // namespace sluice::admin
