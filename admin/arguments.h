// The arguments that several commands share. A refusal says what is wrong and,
// for a name, what was perhaps meant.
//
// Thread: the control thread's.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "admin/command.h"
#include "conf/config.h"

namespace sluice::admin {

std::variant<proxy::ServiceEntry*, Refusal> service_argument(const Call& call, const std::string& name);

// "SVC/UPSTREAM".
struct UpstreamName {
  std::string service;
  conf::Colour colour = conf::Colour::blue;
  proxy::ServiceEntry* entry = nullptr;

  size_t index() const { return static_cast<size_t>(colour); }
};
std::variant<UpstreamName, Refusal> upstream_argument(const Call& call, const std::string& word);

// "SVC/UPSTREAM/ADDRESS"; the address may hold slashes, and is not looked up.
struct EndpointName {
  UpstreamName upstream;
  std::string address;
};
std::variant<EndpointName, Refusal> endpoint_argument(const Call& call, const std::string& word);
// Does it have the two slashes of an endpoint?
bool names_endpoint(const std::string& word);

// "green=25.5", exact to 0.01.
std::variant<conf::BasisPoints, Refusal> green_argument(std::string_view word);

// Visits the service that was asked for, or all; the refusal if there is none.
template <typename Visit>
std::optional<Refusal> for_services(const Call& call, Visit visit) {
  if (const std::string* const name = call.argument(0); name != nullptr) {
    const auto found = service_argument(call, *name);
    if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
    visit(*name, *std::get<proxy::ServiceEntry*>(found));
    return std::nullopt;
  }
  for (const auto& [name, entry] : call.control().registry().services()) visit(name, entry);
  return std::nullopt;
}

}  // namespace sluice::admin
