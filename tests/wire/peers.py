"""Other people's proxies, set up as plainly as ours, to compare with.

Peer(kind, upstream) starts nginx, haproxy or nghttpx from Debian on a port of
loopback with the one upstream "HOST:PORT" and timeouts of a few seconds, so
that what they do about a slow client or origin shows soon.
"""

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from harness import Failure, free_port
from http1 import Client

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/log warn;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  client_header_timeout 2s; client_body_timeout 2s; keepalive_timeout 2s; lingering_timeout 2s;
  proxy_connect_timeout 4s; proxy_read_timeout 4s; proxy_send_timeout 4s;
  map $http_upgrade $connection_option {{ default upgrade; '' ''; }}
  map $http_host $host_or_name {{ default $http_host; '' $host; }}
  upstream web {{ server {upstream} max_fails=0; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://web; proxy_http_version 1.1; proxy_request_buffering off;
      proxy_set_header Host $host_or_name; proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_option;
    }}
  }}
}}
"""

HAPROXY = """
global
  maxconn 512
defaults
  mode http
  timeout connect 4s
  timeout client 2s
  timeout server 4s
  timeout http-request 2s
  timeout http-keep-alive 2s
  timeout tunnel 2s
frontend in
  bind 127.0.0.1:{port}
  default_backend web
backend web
  http-reuse always
  server one {upstream} {server_options}
"""

NGHTTPX = """
frontend=127.0.0.1,{port};no-tls
backend={host},{upstream_port};;
workers=1
frontend-read-timeout=2
frontend-keep-alive-timeout=2
backend-read-timeout=4
backend-connect-timeout=4
accesslog-file=/dev/null
errorlog-file={folder}/log
"""


def _command(kind, folder, port, upstream, server_options):
    host, _, upstream_port = upstream.rpartition(":")
    template = {"nginx": NGINX, "haproxy": HAPROXY, "nghttpx": NGHTTPX}[kind]
    file = Path(folder, "configuration")
    file.write_text(
        template.format(
            folder=folder, port=port, upstream=upstream, host=host, upstream_port=upstream_port,
            server_options=server_options,
        )
    )
    return {
        "nginx": ["nginx", "-e", f"{folder}/log", "-p", folder, "-c", str(file)],
        "haproxy": ["haproxy", "-db", "-q", "-f", str(file)],
        "nghttpx": ["nghttpx", f"--conf={file}"],
    }[kind]


class Peer:
    """`server_options`: further words behind the upstream, for haproxy."""

    def __init__(self, kind, upstream, server_options=""):
        if not shutil.which(kind):
            raise Failure(f"{kind} is not installed")
        self.kind = kind
        self.folder = tempfile.mkdtemp(prefix=f"{kind}-")
        for _ in range(5):
            port = free_port()
            self.address = ("127.0.0.1", port)
            with Path(self.folder, "output").open("wb") as output:
                self.process = subprocess.Popen(
                    _command(kind, self.folder, port, upstream, server_options), stdout=output, stderr=output, cwd=self.folder
                )
            if self._answers():
                return
            self.close()
        raise Failure(f"{kind} did not start: {Path(self.folder, 'output').read_text()[-2000:]}")

    def _answers(self):
        for _ in range(200):
            if self.process.poll() is not None:
                return False
            try:
                Client(self.address, 1.0).close()
                return True
            except OSError:
                time.sleep(0.02)
        return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def version(kind):
    """Such as 1.22.1; empty where there is none."""
    command = {"nginx": ["nginx", "-v"], "haproxy": ["haproxy", "-v"], "nghttpx": ["nghttpx", "--version"]}[kind]
    if not shutil.which(command[0]):
        return ""
    run = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"\d+\.\d+(\.\d+)?", run.stdout + run.stderr)
    return found[0] if found else ""
