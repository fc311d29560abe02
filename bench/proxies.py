"""The proxies that are compared: how each is configured, started and asked.

All are set up to do the same: take HTTP/1.1 from the client, send it to the
origin over kept connections, add X-Forwarded-For, with as many workers as
`Setup` says and the access log as it says. The peers' settings are what their
manuals advise for a proxy that passes bodies on (no temporary files, large
enough buffers, a heap that is not given back after each large body): they are
meant to be fast, not to look slow. sluice has on top what it is for: split,
caps, checks and the trip; and it gets no help from the environment.
"""

import collections
import dataclasses
import http.client
import os
import pathlib
import resource
import shutil
import socket
import ssl
import subprocess
import tempfile
import time

START_SECONDS = 20
WANTED_DESCRIPTORS = 65536
# glibc gives the top of the heap back to the kernel whenever a large buffer is
# freed. Where page faults are dear this costs nginx half and h2o nine tenths of
# its speed on large bodies, so the peers are spared it while CPU is measured.
KEEP_HEAP = {"MALLOC_TRIM_THRESHOLD_": "134217728", "MALLOC_MMAP_THRESHOLD_": "134217728"}


def raise_descriptor_limit():
    """For all children: WANTED_DESCRIPTORS where allowed, else what there is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, WANTED_DESCRIPTORS),) * 2)
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptor_limit():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class ProxyFailed(Exception):
    """It did not start, or does not do what is measured; the text says why."""


@dataclasses.dataclass(frozen=True)
class Certificate:
    cert: str
    key: str


def make_certificate(folder):
    """A self-signed P-256 certificate for localhost."""
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", key, "-out", cert],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Certificate(cert, key)


@dataclasses.dataclass(frozen=True)
class Setup:
    origins: tuple  # "127.0.0.1:9001", …
    tls: Certificate = None
    access_log: bool = False
    keep_heap: bool = False  # peers run with KEEP_HEAP
    workers: int = 1
    connections: int = 8192  # from clients, that it must be ready for; some preallocate
    routes: int = 1  # 1: everything; more: /r0/ to /rN/

    def path(self, name):
        """A path that the last route matches and the origin answers."""
        return f"/r{self.routes - 1}/{name}" if self.routes > 1 else f"/{name}"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Proxy:
    """One program of one kind. A subclass writes the configuration."""

    is_peer = True

    def __init__(self, name, binary):
        self.name = name
        self.binary = binary

    def arguments(self, folder, port, setup):
        """Writes the configuration into `folder`; the command line without the program."""
        raise NotImplementedError

    def version(self):
        return self._first_line("-v")

    def supports(self, setup):
        return True

    def adds_forwarded_for(self):
        return True

    def _first_line(self, *flags):
        try:
            done = subprocess.run([self.binary, *flags], capture_output=True, text=True, timeout=10)
        except OSError as error:
            return str(error)
        return ((done.stdout or done.stderr).strip().splitlines() or [""])[0]

    def stripped_bytes(self):
        with tempfile.NamedTemporaryFile() as copy:
            shutil.copyfile(self.binary, copy.name)
            subprocess.run(["strip", copy.name], check=True)
            return os.path.getsize(copy.name)


def write(folder, name, text):
    path = os.path.join(folder, name)
    pathlib.Path(path).write_text(text)
    return path


class Floor(Proxy):
    """The relay that parses nothing."""

    is_peer = False

    def arguments(self, folder, port, setup):
        return ["--listen", f"127.0.0.1:{port}", "--upstream", setup.origins[0]]

    def version(self):
        return "the kernel's own price"

    def supports(self, setup):
        return not setup.tls and not setup.access_log and setup.workers == setup.routes == len(setup.origins) == 1

    def adds_forwarded_for(self):
        return False


class Sluice(Proxy):
    """`guarded`: with what it is for, split, caps, checks, ejection and the judge. `collector`:
    the address that one request's spans of a hundred are sent to."""

    is_peer = False
    UPSTREAM_CONNECTIONS = 1024  # of each colour: one to each of the most endpoints, and some

    def __init__(self, name, binary, guarded=True, collector=None):
        super().__init__(name, binary)
        self.guarded, self.collector = guarded, collector

    def arguments(self, folder, port, setup):
        tls = f'tls = {{ cert = "{setup.tls.cert}", key = "{setup.tls.key}" }}' if setup.tls else ""
        log = os.path.join(folder, "access.log") if setup.access_log else "off"
        endpoints = ", ".join(f'"{origin}"' for origin in setup.origins)
        routes = "".join(
            f'[[route]]\npath = "/r{i}/"\nservice = "web"\n' for i in range(setup.routes)) if setup.routes > 1 else ""
        trace = f'[trace]\nendpoint = "http://{self.collector}/v1/traces"\nsample = 0.01' if self.collector else ""
        config = write(folder, "sluice.toml", f"""
workers = {setup.workers}
[admin]
socket = "{folder}/admin.sock"
http = "127.0.0.1:{free_port()}"
[log]
access = "{log}"
[[listener]]
bind = "127.0.0.1:{port}"
{tls}
{trace}
{routes}
{self._service(endpoints)}
""")
        return ["run", "-c", config]

    def _service(self, endpoints):
        if not self.guarded:
            return f"""
[service.web.blue]
endpoints = [{endpoints}]
[service.web.trip]
enabled = false
"""
        upstream = f"endpoints = [{endpoints}]\nmax_connections = {self.UPSTREAM_CONNECTIONS}\n"
        return f"""
[service.web]
split = 25
[service.web.blue]
{upstream}
[service.web.green]
{upstream}
[service.web.health]
path = "/health"
interval = "2s"
[service.web.outlier]
[service.web.trip]
enabled = true
[cap.database]
members = ["web/blue", "web/green"]
max_connections = {2 * self.UPSTREAM_CONNECTIONS}
"""

    def version(self):
        return self._first_line("version")


class Nginx(Proxy):
    def arguments(self, folder, port, setup):
        tls = ""
        if setup.tls:
            tls = (f"ssl_certificate {setup.tls.cert}; ssl_certificate_key {setup.tls.key};"
                   " ssl_protocols TLSv1.2 TLSv1.3;")
        log = f"{folder}/access.log combined" if setup.access_log else "off"
        servers = " ".join(f"server {origin};" for origin in setup.origins)
        paths = [f"/r{i}/" for i in range(setup.routes)] if setup.routes > 1 else ["/"]
        locations = "\n".join(f"location {path} {{ proxy_pass http://origin; }}" for path in paths)
        config = write(folder, "nginx.conf", f"""
daemon off;
{"user root;" if os.geteuid() == 0 else ""}
worker_processes {setup.workers};
worker_rlimit_nofile {descriptor_limit()};
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections {2 * setup.connections}; }}
http {{
  access_log {log};
  {self._temporary_paths(folder)}
  keepalive_timeout 75s;
  keepalive_requests 1000000000;
  client_body_buffer_size 128k;
  proxy_request_buffering off;
  proxy_max_temp_file_size 0;
  proxy_buffer_size 16k;
  proxy_buffers 8 32k;
  proxy_busy_buffers_size 64k;
  upstream origin {{
    {servers}
    keepalive {max(512, 2 * len(setup.origins))};
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} {"ssl" if setup.tls else ""} backlog=4096;
    {tls}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    {locations}
  }}
}}
""")
        return ["-p", folder, "-e", "stderr", "-c", config]

    def _temporary_paths(self, folder):
        """Out of the system's folders, for the modules that this build has."""
        built = subprocess.run([self.binary, "-V"], capture_output=True, text=True).stderr
        modules = {"client_body": "", "proxy": "http_proxy", "fastcgi": "http_fastcgi", "uwsgi": "http_uwsgi",
                   "scgi": "http_scgi"}
        return " ".join(f"{name}_temp_path {folder}/{name};" for name, module in modules.items()
                        if not module or f"--without-{module}_module" not in built)


class Haproxy(Proxy):
    def arguments(self, folder, port, setup):
        tls = ""
        if setup.tls:
            both = pathlib.Path(setup.tls.cert).read_text() + pathlib.Path(setup.tls.key).read_text()
            tls = f"ssl crt {write(folder, 'both.pem', both)}"
        servers = "\n".join(f"  server s{i} {origin} check inter 2s" for i, origin in enumerate(setup.origins))
        choose = "default_backend origin"
        if setup.routes > 1:
            write(folder, "routes.map", "".join(f"/r{i}/ origin\n" for i in range(setup.routes)))
            choose = f"use_backend %[path,map_beg({folder}/routes.map)]"
        config = write(folder, "haproxy.cfg", f"""
global
  nbthread {setup.workers}
  ulimit-n {descriptor_limit()}
  no strict-limits
  maxconn {setup.connections}
  {"log stdout format raw local0" if setup.access_log else ""}
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 75s
  {"log global" if setup.access_log else ""}
  {"option httplog" if setup.access_log else ""}
frontend in
  bind 127.0.0.1:{port} {tls} backlog 4096
  {choose}
backend origin
  option forwardfor
  http-reuse always
  option httpchk GET /health
{servers}
""")
        return ["-db", "-f", config]


class Nghttpx(Proxy):
    def arguments(self, folder, port, setup):
        arguments = [f"--frontend=127.0.0.1,{port}{'' if setup.tls else ';no-tls'}", f"--workers={setup.workers}",
                     "--conf=/dev/null", f"--pid-file={folder}/nghttpx.pid", "--add-x-forwarded-for", "--no-via",
                     "--backlog=4096", f"--rlimit-nofile={descriptor_limit()}",
                     "--frontend-keep-alive-timeout=75", "--errorlog-file=/dev/stderr"]
        for origin in setup.origins:
            arguments.append(f"--backend={origin.replace(':', ',')};;proto=http/1.1")
        if setup.access_log:
            arguments.append(f"--accesslog-file={folder}/access.log")
        return arguments + ([setup.tls.key, setup.tls.cert] if setup.tls else [])

    def version(self):
        return self._first_line("--version")

    def supports(self, setup):
        return setup.routes == 1


class H2o(Proxy):
    def arguments(self, folder, port, setup):
        tls = f"\n  ssl: {{ certificate-file: {setup.tls.cert}, key-file: {setup.tls.key} }}" if setup.tls else ""
        config = write(folder, "h2o.yaml", f"""
{"user: root" if os.geteuid() == 0 else ""}
num-threads: {setup.workers}
max-connections: {setup.connections}
pid-file: {folder}/h2o.pid
error-log: /dev/stderr
{f"access-log: {folder}/access.log" if setup.access_log else ""}
http1-request-timeout: 75
proxy.timeout.keepalive: 60000
proxy.preserve-host: ON
listen:
  host: 127.0.0.1
  port: {port}{tls}
hosts:
  default:
    paths:
      "/":
        proxy.reverse.url: "http://{setup.origins[0]}/"
""")
        return ["-c", config]

    def supports(self, setup):
        return setup.routes == 1 and len(setup.origins) == 1


KINDS = collections.OrderedDict(floor=Floor, sluice=Sluice, haproxy=Haproxy, nginx=Nginx, nghttpx=Nghttpx, h2o=H2o)
PEER_VARIABLE = "SLUICE_BENCH_PEER_"


def find_proxies(build, sluice):
    """Those that are installed or built, and those that the environment names.

    SLUICE_BENCH_PEER_NEW=haproxy:/opt/haproxy/haproxy adds a proxy "new" of the
    kind haproxy; without the kind, it is read from the program's name."""
    found = collections.OrderedDict()
    for kind, proxy in KINDS.items():
        binary = {"floor": os.path.join(build, "bench", "bench_floor_relay"), "sluice": sluice}.get(kind)
        binary = binary or shutil.which(kind, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if binary and os.access(binary, os.X_OK):
            found[kind] = proxy(kind, binary)
    for variable, value in sorted(os.environ.items()):
        if not variable.startswith(PEER_VARIABLE):
            continue
        name = variable[len(PEER_VARIABLE):].lower()
        kind, colon, binary = value.partition(":")
        if not colon:
            kind, binary = next((k for k in KINDS if k in os.path.basename(value)), ""), value
        if kind not in KINDS or not os.access(binary, os.X_OK):
            raise SystemExit(f"{variable}: \"{value}\" is not KIND:PROGRAM with a kind of {', '.join(KINDS)}")
        found[name] = KINDS[kind](name, binary)
    return found


class Instance:
    """A running proxy that has answered a request.

    `started_s` is the time from its start to that answer."""

    def __init__(self, processes, proxy, setup, cpus, guard=True):
        self.proxy, self.setup, self.port = proxy, setup, free_port()
        self._processes = processes
        self._folder = tempfile.TemporaryDirectory(prefix=f"bench-{proxy.name}-")
        self._output = open(os.path.join(self._folder.name, "output.log"), "ab+")
        arguments = proxy.arguments(self._folder.name, self.port, setup)
        environment = os.environ | (KEEP_HEAP if setup.keep_heap and proxy.is_peer else {})
        began = time.monotonic()
        self._child = processes.start([proxy.binary, *arguments], cpus, guard=guard, env=environment,
                                      stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output)
        try:
            self._wait_for_answer(began + START_SECONDS)
            self.started_s = time.monotonic() - began
            self._check_forwarded_for()
        except BaseException:
            self.stop()
            raise

    pid = property(lambda self: self._child.pid)
    address = property(lambda self: f"127.0.0.1:{self.port}")

    def url(self, path):
        return f"{'https' if self.setup.tls else 'http'}://{self.address}{path}"

    def get(self, path, timeout=5):
        """(status, body) of one request on a connection of its own."""
        if self.setup.tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def drop_logs(self):
        """Empties what it logged, so that long runs need no large disk."""
        for name in ("access.log", "output.log"):
            path = os.path.join(self._folder.name, name)
            if os.path.exists(path):
                os.truncate(path, 0)

    def stop(self):
        self._processes.stop(self._child)
        self._output.close()
        self._folder.cleanup()

    def _wait_for_answer(self, deadline):
        problem = "nothing"
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                self._output.seek(0)
                said = self._output.read().decode(errors="replace").strip().splitlines()
                raise ProxyFailed(f"ended with {self._child.returncode}: {said[-1] if said else 'without a word'}")
            try:
                status, _ = self.get(self.setup.path("1k"))
                if status == 200:
                    return
                problem = f"status {status}"
            except (OSError, http.client.HTTPException) as error:
                problem = str(error)
            time.sleep(0.0005)
        raise ProxyFailed(f"no answer within {START_SECONDS} s: {problem}")

    def _check_forwarded_for(self):
        if not self.proxy.adds_forwarded_for():
            return
        _, head = self.get(self.setup.path("echo"))
        if b"\nx-forwarded-for: 127.0.0.1" not in head.lower():
            raise ProxyFailed("adds no X-Forwarded-For")
