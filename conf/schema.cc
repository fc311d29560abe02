#include "conf/schema.h"

#include <algorithm>
#include <type_traits>

#include "conf/address.h"
#include "conf/schema_access.h"

namespace sluice::conf {
namespace {

using enum Applies;
using Shape = Section::Shape;

constexpr double kSecond = 1000, kMinute = 60 * kSecond, kHour = 60 * kMinute, kDay = 24 * kHour;
constexpr double kKiB = 1024, kMiB = 1024 * kKiB, kTiB = kMiB * kMiB;
constexpr Range kAny{};

constexpr Section kSections[] = {
    {"", Shape::one, root(), reload, "Of the whole process."},
    {"admin", Shape::one, always<&Config::admin>(), restart, "How the process is watched and controlled."},
    {"log", Shape::one, always<&Config::log>(), reload, "What is written down."},
    {"trace", Shape::one, always<&Config::trace>(), reload,
     "Traces: W3C traceparent is continued or begun, and spans for each sampled request and its attempts are sent as OTLP."},
    {"overload", Shape::one, always<&Config::overload>(), reload,
     "Limits of the process; past them new work is refused."},
    {"listener[]", Shape::list, listeners(), reload, "An address that clients connect to. At least one."},
    {"listener[].tls", Shape::one_or_list, key_pairs(), reload,
     "TLS towards clients. An array of tables holds several key pairs, of which SNI selects one; what is no "
     "part of a "
     "pair stands in the first table."},
    {"route[]", Shape::list, routes(), reload,
     "Which service answers. The most specific host wins, then the longest path. With one service it may be "
     "absent."},
    {"service.*", Shape::named, named<&Config::services>(), reload, "A service and its split. At least one."},
    {"service.*.timeouts", Shape::one, always<&Service::timeouts>(), reload, "How long each part may take."},
    {"service.*.retry", Shape::one, always<&Service::retry>(), reload,
     "Further attempts of a request whose first failed; only before a byte of the response went to the "
     "client."},
    {"service.*.limits", Shape::one, always<&Service::limits>(), reload, "How large a request may be."},
    {"service.*.blue", Shape::one, upstream<Colour::blue>(), reload,
     "The upstream that is known to be good. Required."},
    {"service.*.blue.tls", Shape::one, once<&Upstream::tls>(), reload, "TLS towards the endpoints."},
    {"service.*.green", Shape::one, upstream<Colour::green>(), reload,
     "The candidate. It has the same keys as blue; without it the split stays 0.", "service.*.blue"},
    {"service.*.green.tls", Shape::one, once<&Upstream::tls>(), reload, "TLS towards the endpoints.",
     "service.*.blue.tls"},
    {"service.*.health", Shape::one, enabled<&Service::health>(), reload, "Active checks, of each endpoint."},
    {"service.*.outlier", Shape::one, enabled<&Service::outlier>(), reload,
     "Passive checks: an endpoint that fails attempts in a row is left out for a while; a single endpoint never is."},
    {"service.*.rollout", Shape::one, enabled<&Service::rollout>(), reload,
     "A plan of splits with a judgement between them; `rollout start` begins it."},
    {"service.*.trip", Shape::one, always<&Service::trip>(), reload,
     "The automatic return to blue, on also without this section."},
    {"service.*.slo", Shape::one, always<&Service::slo>(), reload,
     "What clients are promised; `show slo`, /health and /metrics.json say how it was kept."},
    {"cap.*", Shape::named, named<&Config::caps>(), reload,
     "A budget of connections that several upstreams share."},
};

constexpr Key kKeys[] = {
    {"workers",
     member<&Config::workers, CountType>(),
     "0",
     {0, 64},
     restart,
     "Worker threads. 0: one for each CPU that this process may use."},
    {"state_dir", member<&Config::state_dir, TextType>(), "", kAny, restart,
     "The folder for splits, trips, rollout positions and reports. Absent: nothing survives a restart."},
    {"user", member<&Config::user, TextType>(), "", kAny, restart,
     "Whom a process that was started by root becomes once its listeners are open: name or number. Absent: it "
     "stays who it is."},
    {"group", member<&Config::group, TextType>(), "", kAny, restart,
     "Likewise the group, only with `user`. Absent: the user's own, with its supplementary groups."},
    {"reload_on_change", member<&Config::reload_on_change, FlagType>(), "false", kAny, reload,
     "Reload by itself when this file, or the link that leads to it, has changed and stands still."},
    {"drain_timeout",
     member<&Config::drain_ms, DurationType>(),
     "30s",
     {0, kDay},
     reload,
     "How long SIGTERM waits for requests in flight."},

    {"admin.socket", member<&Admin::socket, SocketPathType>(), "", kAny, restart,
     "The Unix socket that takes commands. Absent: there is none, and nothing can be changed at run time."},
    {"admin.mode", member<&Admin::mode, ModeType>(), "0660", kAny, restart,
     "The permissions of the socket, and of `http` where that is one."},
    {"admin.http", member<&Admin::http, AddressType>(), "", kAny, restart,
     "Where probes, metrics and the dashboard are read over HTTP. Absent: nowhere."},
    {"admin.http_hosts", member<&Admin::http_hosts, HostsType>(), "[]", kAny, restart,
     "The names that `http` may be asked by, besides localhost and addresses; any other Host is refused."},

    {"log.access", member<&Log::access, TextType>(), "off", kAny, reload,
     "Where a JSON line for each request goes: a path, `stdout` or `off`."},
    {"log.level", member<&Log::level, LogLevelType>(), "info", kAny, reload,
     "The least level of the process's own messages."},
    {"log.sample",
     member<&Log::sample, NumberType>(),
     "1",
     {0, 1},
     reload,
     "The share of requests that are written to the access log; those that failed are always written."},

    {"trace.endpoint", member<&Trace::endpoint, UrlType>(), "", kAny, reload,
     "The collector that takes spans as OTLP over HTTP with JSON. Absent: none are made."},
    {"trace.ca", member<&Trace::ca, TextType>(), "", kAny, reload,
     "The roots that an https collector is verified with, PEM. Absent: the system's."},
    {"trace.sample",
     member<&Trace::sample, NumberType>(),
     "0.01",
     {0, 1},
     reload,
     "The share of requests that begin a sampled trace; one that is continued keeps its caller's choice."},

    {"overload.max_connections",
     member<&Overload::max_connections, CountType>(),
     "0",
     {0, 10e6},
     reload,
     "Connections from clients that are served; more are answered with 503. 0: as many as the limit of open files "
     "leaves, where more wait."},
    {"overload.max_queued",
     member<&Overload::max_queued, CountType>(),
     "10000",
     {0, 10e6},
     reload,
     "Requests that wait for a place, over all upstreams."},

    {"listener[].bind", member<&Listener::bind, AddressType>(), kRequired, kAny, reload,
     "Where to listen. Port 0 takes any free port."},
    {"listener[].proxy_protocol", member<&Listener::proxy_protocol, FlagType>(), "false", kAny, reload,
     "Whether connections begin with a PROXY header, version 1 or 2; believed from `trusted` only."},
    {"listener[].trusted", member<&Listener::trusted, NetworksType>(), "[]", kAny, reload,
     "The peers whose PROXY header and forwarding fields are believed."},

    {"listener[].tls.cert", pair_member<&TlsServer::KeyPair::cert>(), kRequired, kAny, reload,
     "The certificate chain, leaf first: path of a PEM file."},
    {"listener[].tls.key", pair_member<&TlsServer::KeyPair::key>(), kRequired, kAny, reload,
     "The private key: path of a PEM file."},
    {"listener[].tls.ocsp", pair_member<&TlsServer::KeyPair::ocsp>(), "", kAny, reload,
     "An OCSP response to staple: path of a DER file."},
    {"listener[].tls.client_ca", shared_member<&TlsServer::client_ca, TextType>(), "", kAny, reload,
     "Whose client certificates are accepted: path of a PEM file. Absent: none is asked for."},
    {"listener[].tls.client_required", shared_member<&TlsServer::client_required, FlagType>(), "true", kAny,
     reload, "Whether a client without a certificate is refused; only with `client_ca`.", false, "client_ca"},
    {"listener[].tls.min_version", shared_member<&TlsServer::min_version, TlsVersionType>(), "1.2", kAny,
     reload, "The oldest version of TLS that is spoken."},
    {"listener[].tls.handshake_timeout",
     shared_member<&TlsServer::handshake_timeout_ms, DurationType>(),
     "10s",
     {1, kHour},
     reload,
     "From a connection's begin to the end of its handshake."},
    {"listener[].tls.max_handshakes",
     shared_member<&TlsServer::max_handshakes, CountType>(),
     "1000",
     {0, 10e6},
     reload,
     "Handshakes in progress at this listener; past it new connections are closed. 0: no limit."},

    {"route[].host", member<&Route::host, HostPatternType>(), "", kAny, reload,
     "The host that is asked for: exact, or `*.` and a suffix. Absent: any."},
    {"route[].path", member<&Route::path, RoutePathType>(), "/", kAny, reload,
     "A prefix of the path, on segment borders: `/api` matches `/api/x`, not `/apix`. Paths are compared as clients "
     "send them, unchanged."},
    {"route[].service", member<&Route::service, NameType>(), kRequired, kAny, reload,
     "The service that answers."},

    {"service.*.split", member<&Service::split, PercentType>(), "0", kAny, first_start,
     "Green's share of the requests at the first start; later `set weight` and rollouts move it."},
    {"service.*.sticky", member<&Service::sticky, StickyType>(), "none", kAny, reload,
     "What keeps a client on one side; a rising split only ever moves clients from blue to green."},
    {"service.*.override", member<&Service::override_header, OverrideType>(), "off", kAny, reload,
     "A request header in which `blue` or `green` wins over the split; not over a trip, which sends everything to blue. "
     "The answer says in the same header who gave it: `web/green`."},
    {"service.*.rescue", member<&Service::rescue, FlagType>(), "false", kAny, reload,
     "Whether a safe request that failed on green is sent again to blue; the failure counts all the same."},
    {"service.*.maintenance", member<&Service::maintenance, FlagType>(), "false", kAny, reload,
     "Whether every request is answered by 503 and the maintenance page."},
    {"service.*.maintenance_page", member<&Service::maintenance_page, TextType>(), "", kAny, reload,
     "Path of the file that is sent meanwhile. Absent: a short text."},

    {"service.*.timeouts.connect",
     member<&Timeouts::connect_ms, DurationType>(),
     "1s",
     {1, 10 * kMinute},
     reload,
     "Making a connection to an endpoint."},
    {"service.*.timeouts.first_byte",
     member<&Timeouts::first_byte_ms, DurationType>(),
     "30s",
     {1, kDay},
     reload,
     "From the request's last byte to the response's first."},
    {"service.*.timeouts.idle",
     member<&Timeouts::idle_ms, DurationType>(),
     "1m",
     {1, kDay},
     reload,
     "Between two bytes of a response's body; also the life of an unused connection to an endpoint."},
    {"service.*.timeouts.request",
     member<&Timeouts::request_ms, DurationType>(),
     "0s",
     {0, kDay},
     reload,
     "The whole request. 0s: no limit."},
    {"service.*.timeouts.client_header",
     member<&Timeouts::client_header_ms, DurationType>(),
     "10s",
     {1, kHour},
     reload,
     "From a new connection, under TLS from the end of its handshake, or from a later request's first byte, "
     "to the end of the header."},
    {"service.*.timeouts.client_idle",
     member<&Timeouts::client_idle_ms, DurationType>(),
     "1m",
     {1, kDay},
     reload,
     "A client's connection without a request."},
    {"service.*.timeouts.client_body",
     member<&Timeouts::client_body_ms, DurationType>(),
     "30s",
     {1, kDay},
     reload,
     "Between two bytes of a request's body."},

    {"service.*.retry.max",
     member<&Retry::max, CountType>(),
     "1",
     {0, 10},
     reload,
     "Further attempts after the first. 0: none."},
    {"service.*.retry.budget",
     member<&Retry::budget, NumberType>(),
     "0.2",
     {0, 1},
     reload,
     "The share of the requests of the last 10 s that may be retries; a burst has the same share of its own moment. "
     "Three in 10 s are allowed beside it. 0: none."},
    {"service.*.retry.on", whole<Retry, RetryOnType>(), R"(["connect", "reset", "503"])", kAny, reload,
     "Which failures are tried again."},

    {"service.*.limits.header_bytes",
     member<&Limits::header_bytes, SizeType>(),
     "32KiB",
     {kKiB, kMiB},
     reload,
     "The header of a request, all fields together. That of a response has a bound of its own: 256 KiB."},
    {"service.*.limits.headers",
     member<&Limits::headers, CountType>(),
     "100",
     {1, 10000},
     reload,
     "Fields in a request's header. A response's has a bound of its own: 1,000 fields."},
    {"service.*.limits.uri_bytes",
     member<&Limits::uri_bytes, SizeType>(),
     "8KiB",
     {16, kMiB},
     reload,
     "The target in the request line."},
    {"service.*.limits.body_bytes",
     member<&Limits::body_bytes, SizeType>(),
     "0B",
     {0, kTiB},
     reload,
     "The body of a request. 0: no limit."},

    {"service.*.blue.endpoints", member<&Upstream::endpoints, EndpointsType>(), kRequired, kAny, reload,
     "Where requests go."},
    {"service.*.blue.balance", member<&Upstream::balance, BalanceType>(), "p2c", kAny, reload,
     "How an endpoint is chosen."},
    {"service.*.blue.max_connections",
     member<&Upstream::max_connections, CountType>(),
     "0",
     {0, 10e6},
     reload,
     "Connections of the whole process to this upstream. 0: no limit."},
    {"service.*.blue.max_queue",
     member<&Upstream::max_queue, CountType>(),
     "100",
     {0, 10e6},
     reload,
     "Requests that may wait for a connection. 0: none waits, but for the moment in which an idle connection gives its "
     "place up."},
    {"service.*.blue.queue_timeout",
     member<&Upstream::queue_timeout_ms, DurationType>(),
     "500ms",
     {1, kHour},
     reload,
     "How long a request may wait for a connection."},
    {"service.*.blue.slow_start",
     member<&Upstream::slow_start_ms, DurationType>(),
     "0s",
     {0, kHour},
     reload,
     "The time over which an endpoint that comes back rises to its full part of the requests. 0s: at once."},

    {"service.*.blue.tls.ca", member<&TlsClient::ca, TextType>(), "", kAny, reload,
     "Whose certificates are believed: path of a PEM file. Absent: the system's roots."},
    {"service.*.blue.tls.sni", member<&TlsClient::sni, TextType>(), "", kAny, reload,
     "The name that is sent and verified. Absent: the endpoint's host."},
    {"service.*.blue.tls.cert", member<&TlsClient::cert, TextType>(), "", kAny, reload,
     "Our certificate: path of a PEM file. Absent: none is sent."},
    {"service.*.blue.tls.key", member<&TlsClient::key, TextType>(), "", kAny, reload,
     "Its private key: path of a PEM file."},
    {"service.*.blue.tls.verify", member<&TlsClient::verify, FlagType>(), "true", kAny, reload,
     "Whether the endpoint's certificate is verified. `false` leaves the connection open to interception."},

    {"service.*.health.tcp", member<&Health::tcp, FlagType>(), "false", kAny, reload,
     "Only connect, with the TLS handshake where the upstream has `tls`, and send no request: `path`, `host`, `status` "
     "and `body` are not used."},
    {"service.*.health.path", member<&Health::path, RequestPathType>(), "/", kAny, reload,
     "The path that is asked for."},
    {"service.*.health.host", member<&Health::host, TextType>(), "", kAny, reload,
     "The Host field of the request. Absent: the endpoint's host."},
    {"service.*.health.interval",
     member<&Health::interval_ms, DurationType>(),
     "2s",
     {10, kHour},
     reload,
     "From one check of an endpoint to the next, a tenth more or less. While the endpoint is not up, or its latest check "
     "failed, it is a quarter of that, but no less than 50ms where that is shorter than `interval`."},
    {"service.*.health.timeout",
     member<&Health::timeout_ms, DurationType>(),
     "1s",
     {1, kHour},
     reload,
     "How long a check may take."},
    {"service.*.health.rise",
     member<&Health::rise, CountType>(),
     "2",
     {1, 100},
     reload,
     "Good checks in a row that bring an endpoint back."},
    {"service.*.health.fall",
     member<&Health::fall, CountType>(),
     "3",
     {1, 100},
     reload,
     "Bad checks in a row that take an endpoint out."},
    {"service.*.health.status", member<&Health::status, StatusType>(), R"(["2xx"])", kAny, reload,
     "The status codes that are good."},
    {"service.*.health.body", member<&Health::body, TextType>(), "", kAny, reload,
     "A text that has to occur in the first 64 KiB of the response's body. Absent: any body is good."},

    {"service.*.outlier.consecutive",
     member<&Outlier::consecutive, CountType>(),
     "5",
     {1, 1000},
     reload,
     "Failed attempts in a row that eject an endpoint. They are looked at every 100 ms, so a few more may fail under "
     "load."},
    {"service.*.outlier.eject",
     member<&Outlier::eject_ms, DurationType>(),
     "30s",
     {1, kDay},
     reload,
     "How long the first ejection lasts; each further one lasts longer."},
    {"service.*.outlier.max_eject",
     member<&Outlier::max_eject_ms, DurationType>(),
     "5m",
     {1, kDay},
     reload,
     "The longest that an ejection lasts."},
    {"service.*.outlier.max_ejected",
     member<&Outlier::max_ejected_percent, CountType>(),
     "50",
     {0, 100},
     reload,
     "How many of an upstream's endpoints may be ejected at once, in percent, rounded down. Of two or more, one always "
     "may be unless this is 0; the only one never is."},
    {"service.*.outlier.panic",
     member<&Outlier::panic_percent, CountType>(),
     "50",
     {0, 100},
     reload,
     "With fewer endpoints in service than this, in percent of those that were ever up and are not taken out by hand, "
     "requests are spread over all of these; blue's also with none in service. In force without this section too. "
     "0: never."},

    {"service.*.rollout.steps", member<&Rollout::steps, StepsType>(), kRequired, kAny, reload,
     "The splits, one after the other."},
    {"service.*.rollout.hold",
     member<&Rollout::hold_ms, DurationType>(),
     "5m",
     {kSecond / 10, 30 * kDay},
     reload,
     "The least time at a step."},
    {"service.*.rollout.min_requests",
     member<&Rollout::min_requests, CountType>(),
     "600",
     {1, 1e9},
     reload,
     "The least requests on green that are judged at a step. With fewer the rollout holds."},
    {"service.*.rollout.max_latency_ratio",
     member<&Rollout::max_latency_ratio, NumberType>(),
     "1.5",
     {1, 1000},
     reload,
     "Green's 99th percentile against blue's; above it the rollout holds."},
    {"service.*.rollout.margin",
     member<&Rollout::margin, NumberType>(),
     "0.01",
     {0, kMarginBelow, false, true},
     reload,
     "By how much the upper bound of green's error rate may exceed blue's rate; never less than what "
     "min_requests without an error leave in doubt."},
    {"service.*.rollout.auto_promote", member<&Rollout::auto_promote, FlagType>(), "true", kAny, reload,
     "Whether a step that passed is left by itself; otherwise `rollout promote` is waited for."},
    {"service.*.rollout.deadline",
     member<&Rollout::deadline_ms, DurationType>(),
     "0s",
     {0, 30 * kDay},
     reload,
     "A step that takes longer aborts the rollout. 0s: none."},
    {"service.*.rollout.return",
     member<&Rollout::return_ms, DurationType>(),
     "0s",
     {0, kHour},
     reload,
     "The time over which an abort goes back to blue. 0s: at once. A trip is always at once."},
    {"service.*.rollout.webhook", member<&Rollout::webhook, UrlType>(), "", kAny, reload,
     "What is told of each change of the rollout."},
    {"service.*.rollout.webhook_secret", member<&Rollout::webhook_secret, TextType>(), "", kAny, reload,
     "The key of the HMAC that signs these messages. Absent: they are unsigned.", true},
    {"service.*.rollout.webhook_ca", member<&Rollout::webhook_ca, TextType>(), "", kAny, reload,
     "The roots that an https webhook or gate is verified with, PEM. Absent: the system's."},
    {"service.*.rollout.gate", member<&Rollout::gate, UrlType>(), "", kAny, reload,
     "What is asked before each step and may veto it."},
    {"service.*.rollout.smoke_requests",
     member<&Rollout::smoke_requests, CountType>(),
     "0",
     {0, 1000},
     reload,
     "How many requests green must answer with 2xx or 3xx before the first step. They are sent to a listener "
     "of our own with the `override` field."},
    {"service.*.rollout.smoke_path", member<&Rollout::smoke_path, RequestPathType>(), "/", kAny, reload,
     "The path of these requests."},
    {"service.*.rollout.smoke_host", member<&Rollout::smoke_host, TextType>(), "", kAny, reload,
     "Their Host field. Absent: the first host that is routed to the service, or its name."},

    {"service.*.trip.enabled", member<&Trip::enabled, FlagType>(), "true", kAny, reload,
     "Whether green's failures return the service to blue."},
    {"service.*.trip.on", whole<Trip, TripOnType>(), R"(["5xx", "connect", "reset", "timeout"])", kAny,
     reload, "Which ends of an attempt count as errors."},
    {"service.*.trip.slow",
     member<&Trip::slow_ms, DurationType>(),
     "0s",
     {0, kDay},
     reload,
     "An attempt whose answer begins later than this counts as an error; the time that a client takes to upload or to read does not. 0s: slowness is none."},
    {"service.*.trip.false_trip_rate",
     member<&Trip::false_trip_rate, NumberType>(),
     "1e-4",
     {0, 0.1, true},
     reload,
     "The greatest chance, at each step, of a trip although green is no worse than blue."},
    {"service.*.trip.max_error_rate",
     member<&Trip::max_error_rate, NumberType>(),
     "0",
     {0, 1},
     reload,
     "A plain ceiling for green's error rate. 0: none."},
    {"service.*.trip.window",
     member<&Trip::window_ms, DurationType>(),
     "10s",
     {kSecond, kHour},
     reload,
     "The time over which the plain ceiling looks."},
    {"service.*.trip.min_requests",
     member<&Trip::min_requests, CountType>(),
     "20",
     {1, 1e6},
     reload,
     "The least requests in the window for the plain ceiling to judge."},

    {"service.*.slo.availability",
     member<&Slo::availability, NumberType>(),
     "0.999",
     {0, 1},
     reload,
     "The share of requests that are to be answered without a 5xx."},
    {"service.*.slo.latency",
     member<&Slo::latency_ms, DurationType>(),
     "500ms",
     {1, kDay},
     reload,
     "An answer that is complete within it is in time."},

    {"cap.*.members", member<&Cap::members, MembersType>(), kRequired, kAny, reload,
     "The upstreams that share it."},
    {"cap.*.max_connections",
     member<&Cap::max_connections, CountType>(),
     kRequired,
     {1, 10e6},
     reload,
     "Connections of the whole process to all members together."},
    {"cap.*.warn_at",
     member<&Cap::warn_at, NumberType>(),
     "0.7",
     {0, 1, true},
     reload,
     "The share of it at which it is reported, and over which a forecast holds a rollout."},
};

// "service.*.timeouts.connect" -> "service.*.timeouts"; "workers" -> "".
constexpr std::string_view parent_of(std::string_view path) {
  // The last part of a section's path may be its "*".
  if (path.ends_with(".*")) path.remove_suffix(2);
  const size_t dot = path.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : path.substr(0, dot);
}

constexpr const Section* find_section(std::string_view path) {
  for (const Section& section : kSections) {
    if (section.path == path) return &section;
  }
  return nullptr;
}

constexpr bool each_key_fits_its_section() {
  for (const Key& key : kKeys) {
    const Section* section = find_section(parent_of(key.path));
    if (section == nullptr || section->access.owner != key.access.owner) return false;
  }
  return true;
}
static_assert(each_key_fits_its_section());

constexpr bool each_section_fits_its_parent() {
  for (const Section& section : kSections) {
    const Section* parent = find_section(parent_of(section.path));
    if (parent == nullptr || parent->access.owner != section.access.parent) return false;
    const Section* like = find_section(section.keys_of.empty() ? section.path : section.keys_of);
    if (like == nullptr || like->access.owner != section.access.owner) return false;
  }
  return true;
}
static_assert(each_section_fits_its_parent());

std::vector<Node> link_nodes() {
  std::vector<Node> nodes(std::size(kSections));
  for (size_t i = 0; i < nodes.size(); ++i) {
    const Section& section = kSections[i];
    nodes[i].section = &section;
    const std::string_view keys_of = section.keys_of.empty() ? section.path : section.keys_of;
    for (const Key& key : kKeys) {
      if (parent_of(key.path) == keys_of) nodes[i].keys.push_back(&key);
    }
    for (size_t child = 1; child < nodes.size(); ++child) {
      if (parent_of(kSections[child].path) == section.path) nodes[i].children.push_back(&nodes[child]);
    }
  }
  return nodes;
}

std::string_view last_part(std::string_view path) {
  if (path.ends_with(".*") || path.ends_with("[]")) path.remove_suffix(2);
  return path.substr(path.rfind('.') + 1);
}

}  // namespace

std::string_view Key::name() const {
  return last_part(path);
}
std::string_view Section::name() const {
  return last_part(path);
}

std::string Section::heading() const {
  std::string out(path);
  const bool list = out.ends_with("[]");
  for (size_t at = out.find("[]"); at != std::string::npos; at = out.find("[]")) out.erase(at, 2);
  for (size_t at = out.find('*'); at != std::string::npos; at = out.find('*')) out.replace(at, 1, "NAME");
  return list ? "[[" + out + "]]" : "[" + out + "]";
}

const Key* Node::find_key(std::string_view name) const {
  const auto found =
      std::find_if(keys.begin(), keys.end(), [&](const Key* key) { return key->name() == name; });
  return found == keys.end() ? nullptr : *found;
}

const Node* Node::find_child(std::string_view name) const {
  const auto found = std::find_if(children.begin(), children.end(),
                                  [&](const Node* child) { return child->section->name() == name; });
  return found == children.end() ? nullptr : *found;
}

std::span<const Key> all_keys() {
  return kKeys;
}

std::span<const Node> all_nodes() {
  static const std::vector<Node> nodes = link_nodes();
  return nodes;
}

}  // namespace sluice::conf
