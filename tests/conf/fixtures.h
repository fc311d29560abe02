// Configurations that several tests share.
#pragma once

#include <catch2/catch.hpp>
#include <string>

#include "conf/parse.h"

namespace sluice::conf {

// Parses what has to be valid.
inline Config parse_valid(const std::string& text) {
  const ParseOutcome outcome = parse(text, "test.toml");
  INFO(outcome.to_string());
  REQUIRE(outcome.ok());
  return *outcome.config;
}

inline constexpr const char* kSmallConfig = R"([[listener]]
bind = "127.0.0.1:8080"
[service.web.blue]
endpoints = ["127.0.0.1:9001"]
)";

// Sets every key to something that is not its default.
inline constexpr const char* kFullConfig = R"(workers = 3
state_dir = "/var/lib/sluice"
user = "sluice"
group = "proxy"
drain_timeout = "5s"
reload_on_change = true

[admin]
socket = "/run/sluice/admin.sock"
mode = "0600"
http = "127.0.0.1:9901"
http_hosts = ["sluice.internal"]

[log]
access = "stdout"
level = "debug"
sample = 0.25

[trace]
endpoint = "http://127.0.0.1:4318/v1/traces"
ca = "/etc/otlp.pem"
sample = 0.5

[overload]
max_connections = 5000
max_queued = 200

[[listener]]
bind = "0.0.0.0:8443"
proxy_protocol = true
trusted = ["10.0.0.0/8", "::1"]
[[listener.tls]]
cert = "/etc/a.pem"
key = "/etc/a.key"
ocsp = "/etc/a.ocsp"
client_ca = "/etc/ca.pem"
client_required = false
min_version = "1.3"
handshake_timeout = "3s"
max_handshakes = 50
[[listener.tls]]
cert = "/etc/b.pem"
key = "/etc/b.key"

[[listener]]
bind = "unix:/run/sluice/in.sock"

[[route]]
host = "*.Example.com"
path = "/api/"
service = "web"
[[route]]
service = "shop-2"

[service.web]
split = 12.34
sticky = "cookie:Session"
override = "header:X-Sluice-Upstream"
rescue = true
maintenance = true
maintenance_page = "/etc/sluice/down.html"
[service.web.timeouts]
connect = "250ms"
first_byte = "11s"
idle = "12s"
request = "1h"
client_header = "13s"
client_idle = "14s"
client_body = "15s"
[service.web.retry]
max = 2
budget = 0.5
on = ["reset", 502, "504"]
[service.web.limits]
header_bytes = "64KiB"
headers = 50
uri_bytes = 4096
body_bytes = "8GiB"
[service.web.blue]
endpoints = ["127.0.0.1:9001", { address = "dns:app-blue.svc:8080", weight = 2 }, "unix:/run/app.sock"]
balance = "round-robin"
max_connections = 40
max_queue = 7
slow_start = "15s"
queue_timeout = "1s"
tls = { ca = "/etc/up.pem", sni = "app.internal", cert = "/etc/c.pem", key = "/etc/c.key", verify = false }
[service.web.green]
endpoints = ["[::1]:9002"]
balance = "random"
[service.web.health]
tcp = true
path = "/health"
host = "app"
interval = "3s"
timeout = "500ms"
rise = 4
fall = 5
status = ["2xx", 301]
body = "ok"
[service.web.outlier]
consecutive = 6
eject = "10s"
max_eject = "20s"
max_ejected = 30
panic = 20
[service.web.rollout]
steps = [0.01, 10, 100]
hold = "1m"
min_requests = 10
max_latency_ratio = 2
margin = 0.02
auto_promote = false
deadline = "1h"
return = "30s"
webhook = "http://127.0.0.1:9800/hook"
webhook_secret = "hush"
webhook_ca = "/etc/hooks.pem"
gate = "http://gate.example.com/"
smoke_requests = 5
smoke_path = "/smoke"
smoke_host = "smoke.example.com"
[service.web.trip]
enabled = false
on = ["5xx", "timeout"]
slow = "2s"
false_trip_rate = 0.001
max_error_rate = 0.05
window = "20s"
min_requests = 30
[service.web.slo]
availability = 0.99
latency = "200ms"

[service.shop-2.blue]
endpoints = ["10.0.0.1:80"]

[cap.database]
members = ["web/blue", "web/green", "shop-2/blue"]
max_connections = 100
warn_at = 0.9
)";

}  // namespace sluice::conf
