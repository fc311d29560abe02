// What a configuration file says, as plain values.
//
// A Config is built once by conf::parse (conf/parse.h), is valid as a whole,
// and is never changed afterwards: a reload builds another one. It owns all of
// its strings. It may be read from any thread.
//
// Units are in the names: *_ms is milliseconds, *_bytes is octets. Splits are
// counted in hundredths of a percent ("basis points"), 0 to 10000, so that the
// 0.01 steps of the contract are exact.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sluice::conf {

// Where a value stands in the file; line and column count from 1. Line 0 means
// that the value is a default.
struct Position {
  uint32_t line = 0;
  uint32_t column = 0;
};

// A split in hundredths of a percent.
using BasisPoints = uint32_t;
inline constexpr BasisPoints kFullSplit = 10000;

// The two versions of a service. The values index arrays of two.
enum class Colour : uint8_t { blue = 0, green = 1 };
inline constexpr Colour kColours[] = {Colour::blue, Colour::green};
constexpr const char* to_string(Colour colour) {
  return colour == Colour::blue ? "blue" : "green";
}

// One address that can be listened on or connected to.
//
//   10.0.0.5:8080          inet    host "10.0.0.5"    port 8080
//   [::1]:80               inet    host "::1"         port 80
//   unix:/run/app.sock     unix    host "/run/app.sock"
//   dns:app.svc:8080       dns     host "app.svc"     port 8080
struct Address {
  enum class Kind : uint8_t { inet, unix_socket, dns };
  Kind kind = Kind::inet;
  std::string host;
  uint16_t port = 0;

  bool operator==(const Address&) const = default;
  // The same text that parse_address accepts.
  std::string to_string() const;
};

// An address block in CIDR notation (RFC 4632): "10.0.0.0/8", "::1/128". IPv4
// is held as an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2).
struct Network {
  uint8_t bytes[16] = {};
  uint8_t prefix_bits = 0;  // 0..128, counted in the mapped form

  bool operator==(const Network&) const = default;
  bool contains(const uint8_t (&address)[16]) const;
};

struct TlsServer {
  struct KeyPair {
    std::string cert;  // path, PEM, leaf first
    std::string key;   // path, PEM
    std::string ocsp;  // path, DER; empty: no stapling
    bool operator==(const KeyPair&) const = default;
  };
  std::vector<KeyPair> pairs;  // at least one; selected by SNI
  std::string client_ca;       // path, PEM; empty: no client certificates
  bool client_required = true;
  std::string min_version = "1.2";  // "1.2" or "1.3"
  uint32_t handshake_timeout_ms = 10000;
  uint32_t max_handshakes = 1000;  // in progress, of the listener; 0: no limit
  bool operator==(const TlsServer&) const = default;
};

struct TlsClient {
  std::string ca;    // path, PEM; empty: the system's roots
  std::string sni;   // name sent and verified; empty: the endpoint's host
  std::string cert;  // path, PEM; empty: no client certificate
  std::string key;   // path, PEM
  bool verify = true;
  bool operator==(const TlsClient&) const = default;
};

struct Listener {
  Address bind;
  std::optional<TlsServer> tls;
  bool proxy_protocol = false;
  std::vector<Network> trusted;  // peers whose forwarding fields are believed
  Position position;
};

struct Route {
  std::string host;  // lower case; exact, "*.suffix", or empty: any
  std::string path;  // prefix on segment borders, begins with "/"; default "/"
  std::string service;
  Position position;
};

struct Endpoint {
  Address address;
  uint32_t weight = 1;  // 1..1000
  bool operator==(const Endpoint&) const = default;
};

enum class Balance : uint8_t { p2c, round_robin, random };

struct Upstream {
  std::vector<Endpoint> endpoints;
  Balance balance = Balance::p2c;
  uint32_t max_connections = 0;  // 0: no limit
  uint32_t max_queue = 100;      // requests, per process
  uint32_t queue_timeout_ms = 500;
  uint32_t slow_start_ms = 0;  // over which an endpoint that comes back gets its full part; 0: at once
  std::optional<TlsClient> tls;
  Position position;
};

struct Sticky {
  enum class Kind : uint8_t { none, client_ip, header, cookie };
  Kind kind = Kind::none;
  std::string name;  // of the header or the cookie; header names lower case
  bool operator==(const Sticky&) const = default;
};

struct Timeouts {
  uint32_t connect_ms = 1000;
  uint32_t first_byte_ms = 30000;  // from the request's last byte to the response's first
  uint32_t idle_ms = 60000;        // between two bytes of a body, and of an idle pooled connection
  uint32_t request_ms = 0;         // whole; 0: no limit
  uint32_t client_header_ms = 10000;
  uint32_t client_idle_ms = 60000;  // keep-alive without a request
  uint32_t client_body_ms = 30000;  // between two bytes of a body
};

struct Retry {
  uint32_t max = 1;     // further attempts after the first; 0: none
  double budget = 0.2;  // of live requests, 0..1
  bool on_connect = true;
  bool on_reset = true;
  std::vector<uint16_t> on_status{503};
};

struct Limits {
  uint32_t header_bytes = 32 * 1024;
  uint32_t headers = 100;
  uint32_t uri_bytes = 8 * 1024;
  uint64_t body_bytes = 0;  // 0: no limit
};

struct Health {
  bool enabled = false;  // true once the section is there
  bool tcp = false;
  std::string path = "/";
  std::string host;  // empty: the endpoint's
  uint32_t interval_ms = 2000;
  uint32_t timeout_ms = 1000;
  uint32_t rise = 2;
  uint32_t fall = 3;
  std::vector<std::pair<uint16_t, uint16_t>> status{{200, 299}};  // inclusive ranges
  std::string body;                                               // text that must occur; empty: any
  bool operator==(const Health&) const = default;
};

struct Outlier {
  bool enabled = false;  // true once the section is there
  uint32_t consecutive = 5;
  uint32_t eject_ms = 30000;       // the first ejection; grows with each further one
  uint32_t max_eject_ms = 300000;  // and never past this
  uint32_t max_ejected_percent = 50;
  uint32_t panic_percent = 50;  // fewer in service than this: spread over all; whether enabled or not
  bool operator==(const Outlier&) const = default;
};

// What a plan of splits may be, in the file and by command.
inline constexpr size_t kMaxRolloutSteps = 100;
inline constexpr double kMarginBelow = 1;  // a margin of 1 would let every green pass

struct Rollout {
  bool enabled = false;            // true once the section is there
  std::vector<BasisPoints> steps;  // ascending, at most kMaxRolloutSteps
  uint32_t hold_ms = 300000;
  uint32_t min_requests = 600;
  double max_latency_ratio = 1.5;
  double margin = 0.01;  // what green's upper bound may exceed blue's rate by
  bool auto_promote = true;
  uint32_t deadline_ms = 0;  // a hold longer than this becomes an abort; 0: none
  uint32_t return_ms = 0;    // going back ramps over this; 0: at once
  std::string webhook;
  std::string webhook_secret;   // HMAC key; empty: unsigned
  std::string webhook_ca;       // path, PEM, for https; empty: the system's roots
  std::string gate;             // a webhook that may veto a step
  uint32_t smoke_requests = 0;  // to green before the first step, by way of the override; 0: none
  std::string smoke_path = "/";
  std::string smoke_host;  // empty: the service's name
};

struct Trip {
  bool enabled = true;
  bool on_5xx = true;
  bool on_connect = true;
  bool on_reset = true;
  bool on_timeout = true;
  uint32_t slow_ms = 0;  // 0: slowness is no error
  double false_trip_rate = 1e-4;
  double max_error_rate = 0;  // plain ceiling; 0: none
  uint32_t window_ms = 10000;
  uint32_t min_requests = 20;
};

// What the service promises its clients; figures are told against it.
struct Slo {
  double availability = 0.999;  // share of answers that are no 5xx, 0..1
  uint32_t latency_ms = 500;    // an answer within it is in time
};

struct Service {
  std::string name;
  BasisPoints split = 0;
  Sticky sticky;
  std::string override_header;  // lower case; empty: off
  bool rescue = false;
  bool maintenance = false;
  std::string maintenance_page;  // path; empty: a short text
  Timeouts timeouts;
  Retry retry;
  Limits limits;
  Upstream upstreams[2];   // by Colour
  bool has_green = false;  // false: the split stays 0
  Health health;
  Outlier outlier;
  Rollout rollout;
  Trip trip;
  Slo slo;
  Position position;

  const Upstream& upstream(Colour colour) const { return upstreams[static_cast<size_t>(colour)]; }
};

// A budget of connections that several upstreams share.
struct Cap {
  struct Member {
    std::string service;
    Colour colour = Colour::blue;
    bool operator==(const Member&) const = default;
  };
  std::string name;
  std::vector<Member> members;
  uint32_t max_connections = 0;
  double warn_at = 0.7;  // 0..1
  Position position;
};

struct Admin {
  std::string socket;                   // path; empty: no admin socket
  uint32_t mode = 0660;                 // permission bits of the socket, and of `http` at a path
  std::optional<Address> http;          // absent: off
  std::vector<std::string> http_hosts;  // names it answers to besides localhost and addresses
  bool operator==(const Admin&) const = default;
};

struct Log {
  std::string access = "off";  // a path, "stdout" or "off"
  std::string level = "info";  // debug, info, warning, error
  double sample = 1.0;         // share of requests in the access log, 0..1
  bool operator==(const Log&) const = default;
};

// Where spans go, and how many requests without a parent begin a trace.
struct Trace {
  std::string endpoint;  // http://HOST:PORT/PATH or https of an OTLP collector; empty: off
  std::string ca;        // path, PEM, for https; empty: the system's roots
  double sample = 0.01;  // 0..1
  bool operator==(const Trace&) const = default;
};

// Limits over the whole process, past which new work is refused early.
struct Overload {
  uint32_t max_connections = 0;  // from clients; 0: what the descriptor limit leaves
  uint32_t max_queued = 10000;   // requests waiting for a place
  bool operator==(const Overload&) const = default;
};

struct Config {
  std::string file;               // as it was named
  uint32_t workers = 0;           // 0: the CPUs that this process may use
  std::string state_dir;          // empty: nothing survives a restart
  std::string user;               // whom a root process becomes; empty: it stays root
  std::string group;              // likewise; empty: the user's own
  bool reload_on_change = false;  // of this file
  uint32_t drain_ms = 30000;      // how long SIGTERM waits for requests in flight
  Admin admin;
  Log log;
  Trace trace;
  Overload overload;
  std::vector<Listener> listeners;
  std::vector<Route> routes;
  std::map<std::string, Service> services;
  std::map<std::string, Cap> caps;
};

}  // namespace sluice::conf
