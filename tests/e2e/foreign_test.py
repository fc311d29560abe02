#!/usr/bin/env python3
"""Clients and servers that nobody here wrote, through the proxy: curl, wrk,
h2load, git, nginx, and the ws package of npm."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from harness import Sluice, equal, expect, free_port, main  # noqa: E402
from http1 import wait_until  # noqa: E402
from origin import FastOrigin, Origin  # noqa: E402

HERE = Path(__file__).resolve().parent
MEBI = 1 << 20


def run(*command, seconds=120, **more):
    done = subprocess.run(command, capture_output=True, timeout=seconds, **more)
    expect(done.returncode == 0, lambda: f"{' '.join(map(str, command))} ended with {done.returncode}:\n"
           f"{done.stdout[-2000:]!r}\n{done.stderr[-2000:]!r}")
    return done.stdout


def curl(*arguments):
    return run("curl", "-sS", "--max-time", "100", *arguments)


@contextmanager
def nginx(locations=""):
    """nginx as an origin: files, uploads by PUT, whatever `locations` add."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder:
        os.chmod(folder, 0o755)
        Path(folder, "www").mkdir()
        Path(folder, "nginx.conf").write_text(f"""
            daemon off; pid {folder}/pid; worker_processes 1; error_log {folder}/error.log;
            user root;
            events {{ worker_connections 2000; }}
            http {{
              access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
              fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
              client_max_body_size 0; keepalive_requests 1000000;
              server {{
                listen 127.0.0.1:{port}; root {folder}/www;
                location /up/ {{ dav_methods PUT; create_full_put_path on; }}
                location = /ok {{ return 200 "fine\\n"; }}
                {locations}
              }}
            }}""")
        process = subprocess.Popen(["nginx", "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            def answers():
                expect(process.poll() is None, lambda: f"nginx ended: {process.stderr.read()!r}")
                return subprocess.run(["curl", "-s", f"http://127.0.0.1:{port}/ok"],
                                      capture_output=True).stdout == b"fine\n"
            wait_until(answers, 20, "nginx")
            yield f"127.0.0.1:{port}", Path(folder, "www")
        finally:
            process.terminate()
            process.wait(20)
            process.stderr.close()


def url(sluice, path):
    host, port = sluice.address
    return f"http://{host}:{port}{path}"


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_curl_gets_heads_and_ranges_of_a_file():
    with nginx() as (address, www), Sluice(address) as sluice:
        data = os.urandom(3 * MEBI + 17)
        Path(www, "file").write_bytes(data)
        equal(digest(curl(url(sluice, "/file"))), digest(data), "the file by GET")
        equal(curl("-r", "100-1099", url(sluice, "/file")), data[100:1100], "a range")
        head = curl("-I", url(sluice, "/file")).decode()
        expect(f"content-length: {len(data)}" in head.lower(), f"HEAD keeps the length: {head}")
        equal(digest(curl("--http1.0", url(sluice, "/file"))), digest(data), "the file by HTTP/1.0")
        many = curl(*[url(sluice, "/ok")] * 50)
        equal(many, b"fine\n" * 50, "fifty on one connection")
        missing = curl("-o", "/dev/null", "-w", "%{http_code}", url(sluice, "/missing"))
        equal(missing, b"404", "what the origin does not have")


def test_curl_uploads_a_hundred_mebibytes_in_every_way():
    with nginx() as (address, www), Sluice(address) as sluice, tempfile.NamedTemporaryFile() as file:
        data = os.urandom(MEBI) * 100
        file.write(data)
        file.flush()
        ways = {
            "length": [],
            "chunked": ["-H", "Transfer-Encoding: chunked"],
            "without-expect": ["-H", "Expect:"],
            "expect": ["-H", "Expect: 100-continue"],
            "http10": ["--http1.0"],
        }
        for name, options in ways.items():
            curl("-f", "-T", file.name, *options, url(sluice, f"/up/{name}"))
            equal(digest(Path(www, "up", name).read_bytes()), digest(data), f"what arrived by {name}")
            Path(www, "up", name).unlink()


def test_curl_posts_a_hundred_mebibytes():
    with Origin(posts) as origin, Sluice(origin) as sluice, tempfile.NamedTemporaryFile() as file:
        data = os.urandom(MEBI) * 100
        file.write(data)
        file.flush()
        for options in ([], ["-H", "Transfer-Encoding: chunked"]):
            got = curl("-f", "--data-binary", f"@{file.name}", *options, url(sluice, "/post"))
            equal(got.decode(), digest(data), "the digest that the origin made")


def posts(connection):
    while (request := connection.head()) is not None:
        sink = hashlib.sha256()
        connection.body(request, sink.update)
        connection.reply(body=sink.hexdigest().encode())


def test_wrk_and_h2load_see_no_error():
    seconds = 10
    with nginx() as (address, _), Sluice(address, address, service={"split": 25}) as sluice:
        said = run("wrk", "-t1", "-c64", f"-d{seconds}", url(sluice, "/ok")).decode()
        expect("Socket errors" not in said and "Non-2xx" not in said, f"wrk saw errors:\n{said}")
        expect(int(re.search(r"(\d+) requests in", said)[1]) > 0, f"wrk did nothing:\n{said}")
        said = run("h2load", "--h1", "-c32", "-t1", f"-D{seconds}", url(sluice, "/ok")).decode()
        counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
        expect(counts and int(counts[1]) > 0 and counts.groups()[1:] == ("0", "0", "0"), f"h2load saw errors:\n{said}")


def test_git_clones_and_pushes_over_smart_http():
    with tempfile.TemporaryDirectory() as folder:
        quiet = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
                 "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.com", "GIT_COMMITTER_NAME": "t",
                 "GIT_COMMITTER_EMAIL": "t@example.com", "GIT_TERMINAL_PROMPT": "0"}
        bare, work, copy = (f"{folder}/{name}" for name in ("bare.git", "work", "copy"))
        run("git", "init", "-q", "--bare", "-b", "main", bare, env=quiet)
        run("git", "-C", bare, "config", "http.receivepack", "true", env=quiet)
        run("git", "init", "-q", "-b", "main", work, env=quiet)
        Path(work, "large").write_bytes(os.urandom(5 * MEBI))
        run("git", "-C", work, "add", ".", env=quiet)
        run("git", "-C", work, "commit", "-q", "-m", "one", env=quiet)
        with Origin(GitBackend(folder)) as origin, Sluice(origin) as sluice:
            run("git", "-C", work, "push", "-q", url(sluice, "/bare.git"), "main", env=quiet)
            run("git", "clone", "-q", url(sluice, "/bare.git"), copy, env=quiet)
            equal(digest(Path(copy, "large").read_bytes()), digest(Path(work, "large").read_bytes()), "the clone")


class GitBackend:
    """git's own CGI program, behind the little that a CGI needs."""

    def __init__(self, folder):
        self.folder = folder
        self.program = Path(subprocess.run(["git", "--exec-path"], capture_output=True, text=True,
                                           check=True).stdout.strip(), "git-http-backend")

    def __call__(self, connection):
        while (request := connection.head()) is not None:
            body = bytearray()
            connection.body(request, body.extend)
            path, _, query = request.target.partition("?")
            environment = {
                "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": self.folder, "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": request.method, "PATH_INFO": path, "QUERY_STRING": query,
                "CONTENT_TYPE": request.get("content-type", ""), "REMOTE_ADDR": "127.0.0.1",
                "HTTP_CONTENT_ENCODING": request.get("content-encoding", ""),
                "GIT_PROTOCOL": request.get("git-protocol", ""), "CONTENT_LENGTH": str(len(body)),
            }
            said = subprocess.run([str(self.program)], input=bytes(body), capture_output=True,
                                  env=environment).stdout
            head, _, content = said.partition(b"\r\n\r\n")
            fields = [line.split(": ", 1) for line in head.decode().split("\r\n") if line]
            status = next((int(value.split()[0]) for name, value in fields if name == "Status"), 200)
            connection.reply(status, [one for one in fields if one[0] != "Status"], content)


def test_a_websocket_of_npms_ws_echoes():
    node = shutil.which("node", path="/usr/bin") or shutil.which("node")
    expect(node, "node is not installed: ./dev setup")
    script = HERE / "websocket.js"
    server = subprocess.Popen([node, script, "server"], stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "NODE_PATH": "/usr/share/nodejs"})
    try:
        port = int(server.stdout.readline())
        with Sluice(f"127.0.0.1:{port}") as sluice:
            host, listening = sluice.address
            said = run(node, script, "client", f"ws://{host}:{listening}/echo",
                       env={**os.environ, "NODE_PATH": "/usr/share/nodejs"}).decode()
            equal(said.strip(), "echoed 200 messages, closed 1000", "what the client saw")
    finally:
        server.terminate()
        server.wait(20)
        server.stdout.close()


def test_server_sent_events_arrive_one_by_one():
    go = threading.Semaphore(0)
    with Origin(lambda connection: events(connection, go)) as origin, Sluice(origin) as sluice:
        reader = subprocess.Popen(["curl", "-sSN", "--max-time", "60", url(sluice, "/events")],
                                  stdout=subprocess.PIPE)
        try:
            for number in range(20):
                # The origin sends the next event only when told that this one came.
                equal(reader.stdout.readline(), b"data: %d\n" % number, "an event")
                reader.stdout.readline()
                go.release()
            equal(reader.wait(20), 0, "curl's exit code")
        finally:
            reader.kill()
            reader.wait()
            reader.stdout.close()


def events(connection, go):
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for number in range(20):
        event = b"data: %d\n\n" % number
        connection.send(b"%x\r\n%s\r\n" % (len(event), event))
        expect(go.acquire(timeout=30), "the event did not come through")
    connection.send(b"0\r\n\r\n")


def test_a_hundred_thousand_requests_split_within_four_deviations():
    requests, share = 100_000, 0.25
    with FastOrigin(b"b") as blue, FastOrigin(b"g") as green:
        with Sluice(blue, green, service={"split": 25}) as sluice:
            done = run("h2load", "--h1", "-c64", "-t1", f"-n{requests}", url(sluice, "/"), seconds=280).decode()
            expect(f"{requests} succeeded" in done, f"h2load:\n{done}")
            got = sluice.admin.upstream("green")["requests"]
            both = got + sluice.admin.upstream("blue")["requests"]
            equal(both, requests, "blue's and green's requests together")
            deviation = (requests * share * (1 - share)) ** 0.5
            expect(abs(got - requests * share) <= 4 * deviation, f"green got {got} of {requests}")


def test_set_weight_under_load_loses_nothing_and_is_in_force_at_once():
    with FastOrigin(b"b") as blue, FastOrigin(b"g") as green:
        with Sluice(blue, green, workers=4) as sluice:
            load = subprocess.Popen(["h2load", "--h1", "-c64", "-t1", "-D8", url(sluice, "/")],
                                    stdout=subprocess.PIPE, text=True)
            try:
                turn = 0
                while load.poll() is None:
                    turn += 1
                    weight = 100 if turn % 2 else 0
                    reply = sluice.admin.json(f"set weight web green={weight}")
                    expect(reply["ok"], lambda: f"{reply}\n{sluice.admin.text('show events')}")
                    # A request that begins now, on whatever worker, must see it.
                    for _ in range(8):
                        body = sluice.get("/").body
                        equal(body, b"g" if weight else b"b", f"the answer right after green={weight}")
                said = load.stdout.read()
            finally:
                load.kill()
                load.wait()
                load.stdout.close()
            counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
            expect(counts and counts.groups()[1:] == ("0", "0", "0"), f"h2load saw errors:\n{said}")
            expect(turn > 10, f"only {turn} changes were made")


if __name__ == "__main__":
    sys.exit(main(globals()))
