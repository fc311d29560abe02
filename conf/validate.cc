#include "conf/validate.h"

#include <iterator>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "conf/edit_distance.h"
#include "conf/units.h"

namespace sluice::conf {
namespace {

std::string item(const std::string& path, size_t index) {
  return path + "[" + std::to_string(index) + "]";
}

// "line 12", of what was there first.
std::string line_of(Position position) {
  return "line " + std::to_string(position.line);
}

class Validator {
 public:
  Validator(const Config& config, const Positions& positions, Diagnostics& diagnostics)
      : config_(config), positions_(positions), diagnostics_(diagnostics) {}

  void check_all() {
    check_group();
    check_binds();
    check_listeners();
    check_routes();
    if (config_.services.empty() && !is_written("service")) {
      diagnostics_.add({}, "there is no service: add [service.NAME] and the endpoints of its blue");
    }
    for (const auto& [name, service] : config_.services) check_service("service." + name, service);
    for (const auto& [name, cap] : config_.caps) check_cap("cap." + name, cap);
  }

 private:
  bool is_written(const std::string& path) const { return positions_.contains(path); }

  // Whether the key was read and its value not taken.
  bool was_refused(const std::string& path) const {
    const auto found = positions_.find(path);
    return found != positions_.end() && diagnostics_.has_at(found->second);
  }

  // Where the key was read, or else the section that it belongs to.
  Position at(const std::string& path, Position section) const {
    const auto found = positions_.find(path);
    return found == positions_.end() ? section : found->second;
  }

  void check_group() {
    if (config_.group.empty() || !config_.user.empty()) return;
    diagnostics_.add(at("group", {}), "group: it is taken only with a user: add user, or remove group");
  }

  void check_binds() {
    std::map<std::string, Position> taken;
    const auto take = [&](const Address& address, Position position, const std::string& path) {
      const bool any_port = address.kind == Address::Kind::inet && address.port == 0;
      if (any_port || address.host.empty()) return;
      const auto [first, is_new] = taken.emplace(address.to_string(), position);
      if (is_new) return;
      diagnostics_.add(position, path + ": " + quote(address.to_string()) + " is bound already, in " +
                                     line_of(first->second) + ": each address can be bound once");
    };
    if (!config_.admin.socket.empty()) {
      take({Address::Kind::unix_socket, config_.admin.socket, 0}, at("admin.socket", {}), "admin.socket");
    }
    if (config_.admin.http) take(*config_.admin.http, at("admin.http", {}), "admin.http");
    for (size_t i = 0; i < config_.listeners.size(); ++i) {
      const std::string path = item("listener", i) + ".bind";
      take(config_.listeners[i].bind, at(path, config_.listeners[i].position), path);
    }
  }

  void check_listeners() {
    if (config_.listeners.empty() && !is_written("listener")) {
      diagnostics_.add({}, "there is no listener: add [[listener]] with the address to bind");
    }
    for (size_t i = 0; i < config_.listeners.size(); ++i) {
      const Listener& listener = config_.listeners[i];
      const std::string path = item("listener", i);
      const bool has_peers = listener.bind.kind == Address::Kind::inet;
      if (listener.proxy_protocol && has_peers && listener.trusted.empty()) {
        diagnostics_.add(at(path + ".proxy_protocol", listener.position),
                         path +
                             ": proxy_protocol is believed from trusted peers only, and there are none: add "
                             "trusted with the networks of the load balancers in front");
      }
      if (listener.tls) check_client_certificates(path + ".tls", *listener.tls);
    }
  }

  // The keys that hold for all key pairs stand in the first, or in the only one.
  void check_client_certificates(const std::string& path, const TlsServer& tls) {
    if (!tls.client_required || !tls.client_ca.empty()) return;
    for (const std::string& pair : {path, path + "[0]"}) {
      const std::string key = pair + ".client_required";
      if (!is_written(key) || was_refused(key) || is_written(pair + ".client_ca")) continue;
      diagnostics_.add(at(key, {}),
                       key +
                           ": client_required wants client_ca: add client_ca with those who issue "
                           "the clients' certificates, or remove client_required");
    }
  }

  void check_routes() {
    if (config_.routes.empty() && !is_written("route") && config_.services.size() > 1) {
      diagnostics_.add(std::next(config_.services.begin())->second.position,
                       "there are " + std::to_string(config_.services.size()) +
                           " services and no route: add [[route]] to say which requests go where");
    }
    check_doubled_routes();
    for (size_t i = 0; i < config_.routes.size(); ++i) {
      const Route& route = config_.routes[i];
      const std::string path = item("route", i);
      if (route.service.empty() || is_service(route.service)) continue;
      diagnostics_.add(at(path + ".service", route.position),
                       path + ".service: there is no service " + quote(route.service) + ": add [service." +
                           route.service + "] or name another",
                       nearest_service(route.service));
    }
  }

  void check_doubled_routes() {
    std::map<std::string, Position> seen;  // by host and path without its last slash
    for (size_t i = 0; i < config_.routes.size(); ++i) {
      const Route& route = config_.routes[i];
      const std::string path = item("route", i);
      if (was_refused(path + ".host") || was_refused(path + ".path")) continue;
      std::string match = route.host + route.path;
      if (match.ends_with('/')) match.pop_back();
      const auto [first, is_new] = seen.emplace(match, route.position);
      if (is_new) continue;
      diagnostics_.add(route.position, path + ": matches the same requests as the route in " +
                                           line_of(first->second) +
                                           ": change its host or path, or remove it");
    }
  }

  // A service whose keys had errors is there all the same.
  bool is_service(const std::string& name) const { return config_.services.contains(name); }

  std::string nearest_service(std::string_view name) const {
    std::vector<std::string_view> names;
    for (const auto& [known, service] : config_.services) names.push_back(known);
    const std::string_view near = nearest(name, names);
    return near.empty() ? "" : "did you mean " + quote(near) + "?";
  }

  void check_service(const std::string& path, const Service& service) {
    const bool has_blue = service.upstream(Colour::blue).position.line != 0;
    if (!has_blue && !is_written(path + ".blue")) {
      diagnostics_.add(service.position,
                       path + ": there is no blue: add [" + path + ".blue] with its endpoints");
    }
    for (const Colour colour : kColours) {
      check_upstream(path + "." + to_string(colour), service.upstream(colour));
    }
    if (!service.has_green && !is_written(path + ".green")) check_lone_blue(path, service);
    const Outlier& outlier = service.outlier;
    if (outlier.enabled && outlier.max_eject_ms < outlier.eject_ms) {
      const std::string key = path + ".outlier.max_eject";
      diagnostics_.add(at(key, at(path + ".outlier.eject", {})),
                       key + ": " + format_duration_ms(outlier.max_eject_ms) + " is less than eject, " +
                           format_duration_ms(outlier.eject_ms) + ": raise max_eject or lower eject");
    }
    check_rollout(path + ".rollout", service);
    check_trip(path + ".trip", service.trip);
  }

  void check_lone_blue(const std::string& path, const Service& service) {
    if (service.split != 0) {
      diagnostics_.add(at(path + ".split", service.position),
                       path + ".split: there is no green to have " + format_percent(service.split) +
                           " % of the requests: add [" + path + ".green] or set the split to 0");
    }
    if (service.rollout.enabled) {
      diagnostics_.add(
          at(path + ".rollout", service.position),
          path + ".rollout: there is no green to roll out: add [" + path + ".green] or remove the rollout");
    }
  }

  void check_upstream(const std::string& path, const Upstream& upstream) {
    std::map<std::string, Position> seen;
    for (size_t i = 0; i < upstream.endpoints.size(); ++i) {
      const std::string address = upstream.endpoints[i].address.to_string();
      const Position position = at(item(path + ".endpoints", i), upstream.position);
      const auto [first, is_new] = seen.emplace(address, position);
      if (is_new) continue;
      diagnostics_.add(position, path + ".endpoints: " + quote(address) + " is there twice, first in " +
                                     line_of(first->second) + ": give it a weight instead");
    }
    if (!upstream.tls || upstream.tls->cert.empty() == upstream.tls->key.empty()) return;
    const bool has_cert = !upstream.tls->cert.empty();
    if (is_written(path + (has_cert ? ".tls.key" : ".tls.cert"))) return;
    diagnostics_.add(at(path + (has_cert ? ".tls.cert" : ".tls.key"), upstream.position),
                     path + ".tls: " + (has_cert ? "cert without key" : "key without cert") +
                         ": a client certificate needs both");
  }

  void check_rollout(const std::string& path, const Service& service) {
    const Rollout& rollout = service.rollout;
    if (rollout.smoke_requests != 0 && service.override_header.empty()) {
      diagnostics_.add(at(path + ".smoke_requests", service.position),
                       path +
                           ".smoke_requests: they reach green by way of the override, which is off: set "
                           "override in this service");
    }
    if (rollout.deadline_ms == 0 || rollout.deadline_ms > rollout.hold_ms) return;
    diagnostics_.add(at(path + ".deadline", {}),
                     path + ".deadline: " + format_duration_ms(rollout.deadline_ms) + " is not above hold, " +
                         format_duration_ms(rollout.hold_ms) + ": every step would abort");
  }

  void check_trip(const std::string& path, const Trip& trip) {
    const bool sees_errors =
        trip.on_5xx || trip.on_connect || trip.on_reset || trip.on_timeout || trip.slow_ms != 0;
    if (!trip.enabled || sees_errors) return;
    diagnostics_.add(
        at(path + ".on", {}),
        path + ".on: nothing counts as an error, so nothing can trip: name one, or set enabled = false");
  }

  void check_cap(const std::string& path, const Cap& cap) {
    std::set<std::string> seen;
    for (size_t i = 0; i < cap.members.size(); ++i) {
      const Cap::Member& member = cap.members[i];
      const std::string name = member.service + "/" + to_string(member.colour);
      const Position position = at(item(path + ".members", i), cap.position);
      if (!seen.insert(name).second) {
        diagnostics_.add(position, path + ".members: " + quote(name) + " is there twice: remove one");
      } else if (!is_service(member.service)) {
        diagnostics_.add(
            position,
            path + ".members: there is no service " + quote(member.service) + ": name one that is there",
            nearest_service(member.service));
      } else if (!has_upstream(member)) {
        diagnostics_.add(position, path + ".members: the service " + quote(member.service) + " has no " +
                                       to_string(member.colour) + ": add it or remove the member");
      }
    }
  }

  bool has_upstream(const Cap::Member& member) const {
    const std::string colour = std::string(".") + to_string(member.colour);
    return is_written("service." + member.service + colour);
  }

  const Config& config_;
  const Positions& positions_;
  Diagnostics& diagnostics_;
};

}  // namespace

void validate(const Config& config, const Positions& positions, Diagnostics& diagnostics) {
  Validator(config, positions, diagnostics).check_all();
}

}  // namespace sluice::conf
