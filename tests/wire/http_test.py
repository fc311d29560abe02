"""The admin HTTP port: what it tells, and that nobody can do anything to it."""

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager

from corpus import is_octets, load, octets
from harness import CALM, Failure, Sluice, equal, expect, main
from http1 import Client, Incomplete, Silence, wait_until
from origin import Origin, pair
from rolling import rolled, until_step

HOST = "localhost"


@contextmanager
def with_http(blue, green=None, config=None, **more):
    with Sluice(blue, green, config={"admin": {"http": "127.0.0.1:0", **(config or {})}}, **more) as sluice:
        host, _, port = sluice.admin.show("info")[0]["admin_http"].rpartition(":")
        sluice.http = (host, int(port))
        yield sluice


def get(sluice, target, fields=(), host=HOST, method="GET"):
    with Client(sluice.http) as client:
        client.ask(method, target, fields, host=host)
        return client.answer(method)


def get_json(sluice, target):
    reply = get(sluice, target)
    equal((reply.status, reply.get("content-type")), (200, "application/json"), f"the reply to {target}")
    return json.loads(reply.body)


# ------------------------------------------------------------------- what it tells


def test_metrics_pass_promtool():
    if not shutil.which("promtool"):
        raise Failure("no promtool here: install Debian's prometheus (./dev setup)")
    blue, green = pair()
    with blue, green, with_http(blue, green, service=CALM) as sluice:
        sluice.admin.do("set weight web green=50")
        for _ in range(50):
            sluice.get()
        sluice.get("/nowhere", host="unknown.example")
        text = get(sluice, "/metrics").body
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=60)
        equal((done.returncode, done.stdout.decode() + done.stderr.decode()), (0, ""), "promtool check metrics")
        expect(b'sluice_requests_total{service="web"' in text, "no requests are told")


def test_a_rollout_is_held_when_it_waits_for_more_than_time():
    blue, green = pair()
    with blue, green, with_http(blue, green, service=rolled({"steps": [10, 25, 100], "auto_promote": False})) as sluice:
        def gauges():
            text = get(sluice, "/metrics").body.decode()
            return {name: int(value) for name, value in
                    re.findall(r'^sluice_rollout_(step|held)\{service="web"\} (\d+)$', text, re.M)}

        equal(gauges(), {"step": 0, "held": 0}, "before")
        sluice.admin.do("rollout start web hold=1h")
        until_step(sluice, 1)
        equal(gauges(), {"step": 1, "held": 0}, "while the hold is under way")
        sluice.admin.do("rollout pause web")
        equal(gauges(), {"step": 1, "held": 1}, "while it is paused")
        sluice.admin.do("rollout resume web")
        equal(gauges(), {"step": 1, "held": 0}, "when it goes on")
        sluice.admin.do("rollout abort web")
        equal(gauges(), {"step": 0, "held": 0}, "after the abort")
        sluice.admin.do("rollout start web hold=100ms")
        wait_until(lambda: gauges() == {"step": 1, "held": 1}, 30, "a hold that is over")


def test_openmetrics_has_exemplars_that_lead_to_the_access_log():
    try:
        from prometheus_client.openmetrics.parser import text_string_to_metric_families
    except ImportError:
        raise Failure("no prometheus_client here: install Debian's python3-prometheus-client (./dev setup)") from None
    with Origin() as blue, with_http(blue) as sluice:
        sluice.get("/wanted", [("X-Request-Id", "find-me-by-this")])
        accept = [("Accept", "application/openmetrics-text; version=1.0.0")]

        def exemplar():
            text = get(sluice, "/metrics", accept).body.decode()
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    if sample.exemplar and family.name == "sluice_request_duration_seconds":
                        return sample
            return None

        sample = wait_until(exemplar, 10, "an exemplar")
        equal(sample.exemplar.labels, {"request_id": "find-me-by-this"}, "the exemplar's labels")
        expect(0 < sample.exemplar.value <= float(sample.labels["le"]), f"the exemplar is outside its bucket: {sample}")
        expect(b"# {" not in get(sluice, "/metrics").body, "the Prometheus text has exemplars, which it must not")
        lines = wait_until(lambda: sluice.access_log(), 10, "a line of the access log")
        equal(lines[0]["request_id"], "find-me-by-this", "the request id in the access log")


def test_metrics_json_and_health_have_windows_and_promises():
    with Origin(script=failing_every_second_time) as blue, with_http(blue, service=CALM) as sluice:
        for _ in range(20):
            sluice.get()

        def told():
            rows = get_json(sluice, "/health")["slo"]
            return rows if rows[0]["requests"] == 20 else None

        rows = wait_until(told, 10, "the requests in /health")
        equal([row["window"] for row in rows], ["5m", "1h", "24h"], "the windows")
        for row in rows:
            equal((row["errors"], row["availability"], row["burn_rate"] > 400), (10, 0.5, True), f"the figures: {row}")
        metrics = get_json(sluice, "/metrics.json")
        windows = {row["window"]: row["requests"] for row in metrics["latency"]}
        equal(list(windows), ["1s", "10s", "1m", "5m", "start"], "the windows of latency")
        equal((windows["1m"], windows["5m"], windows["start"]), (20, 20, 20), "the requests in them")
        equal(metrics["slo"][0]["requests"], 20, "the promises in /metrics.json")
        equal(sluice.admin.show("slo web")[0]["errors"], 10, "show slo")


def failing_every_second_time(connection):
    while connection.request() is not None:
        origin = connection.origin
        origin.served = getattr(origin, "served", 0) + 1
        connection.reply(500 if origin.served % 2 else 200, reason="whatever")


def test_stream_tells_state_each_second_and_events_at_once():
    blue, green = pair()
    with blue, green, with_http(blue, green) as sluice, Client(sluice.http, timeout=20) as client:
        client.ask("GET", "/stream?service=web", host=HOST)

        def until(text):
            while text not in client.buffer:
                expect(client.fill(), lambda: f"the stream ended before {text}: {bytes(client.buffer)[-300:]}")

        until(b"event: history\n")
        until(b"event: state\n")
        sluice.admin.do("set weight web green=12.5")
        until(b'"type":"split_changed"')
        client.buffer.clear()
        until(b'"second":[')
        until(b"\n\n")
        block = next(one for one in bytes(client.buffer).split(b"\n\n") if b'"second":[' in one)
        state = json.loads(block.partition(b"data: ")[2])
        equal((state["split"][0]["green"], state["second"][1]), (12.5, 12.5), "the split in the stream")
        expect("rollout" not in state or isinstance(state["rollout"], list), "the rollout is no list")


def test_a_page_is_whole_for_a_client_that_ends_its_direction():
    """A page that no socket's buffer holds: its end is still here when the client's comes."""
    many = {f"svc-{number:04}": {"blue": {"endpoints": ["127.0.0.1:1"]}} for number in range(150)}
    asked = {
        "1.0": (b"GET /metrics HTTP/1.0\r\n\r\n", 1),
        "close": (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 1),
        "ahead": (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
                  b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 2),
    }
    with Origin() as origin:
        sluice = Sluice(origin, config={"service": many, "route": [
            {"path": f"/{name}", "service": name} for name in many] + [{"path": "/", "service": "web"}]}, ready=False)
        path = f"{sluice.folder}/http.sock"
        sluice.tree["admin"]["http"] = f"unix:{path}"
        with sluice:
            for what, (request, count) in asked.items():
                with Client(path, timeout=30) as client:
                    client.send(request)
                    client.half_close()
                    for number in range(count):
                        expect(client.answer().status in (200, 503), f"the answer {number} to {what}")


# ------------------------------------------------------ that nobody can do anything


def test_http_gets_the_hostile_input_of_the_traffic_port():
    blue, green = pair()
    with blue, green, with_http(blue, green) as sluice:
        before = sluice.admin.show("split web")[0]
        played = 0
        for case in load():
            data = b"".join(octets(step) for step in case["send"] if is_octets(step))
            with Client(sluice.http, timeout=20) as client:
                try:
                    client.send(data.replace(b"a.test", b"localhost"))
                    client.half_close()
                    reply = client.rest()
                except (OSError, Incomplete):
                    continue  # it hung up, which is an answer too
                except Silence:
                    raise Failure(f"{case['name']}: the connection stays open") from None
            expect(not reply or reply.startswith(b"HTTP/1.1 "), lambda: f"{case['name']}: {reply[:80]!r}")
            played += 1
        expect(played > 500, f"only {played} cases were played to their end")
        equal(sluice.admin.show("split web")[0], before, "the split afterwards")
        equal(get(sluice, "/live").status, 200, "/live afterwards")


def test_http_host_is_held_against_dns_rebinding():
    with Origin() as blue, with_http(blue, config={"http_hosts": ["proxy.internal"]}) as sluice:
        for host in ("localhost", "127.0.0.1:9901", "[::1]:9901", "proxy.internal", "PROXY.internal:80"):
            equal(get(sluice, "/health", host=host).status, 200, f"Host: {host}")
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "internal", "xn--localhost-"):
            for target in ("/", "/health", "/metrics", "/stream", "/dashboard.js"):
                equal(get(sluice, target, host=host).status, 421, f"{target} of Host: {host}")
        # The name in the target counts, not the field beside it (RFC 9112, 3.2.2).
        equal(get(sluice, "http://evil.example/health").status, 421, "an absolute target with another host")


def test_http_changes_nothing():
    blue, green = pair()
    with blue, green, with_http(blue, green) as sluice:
        before = sluice.admin.show("split web")[0]
        for target in ("/", "/split", "/set%20weight%20web%20green=50", "/stream?service=web;set%20weight%20web%20green=50",
                       "/stream?service=web%0aset weight".replace(" ", "%20"), "/../admin.sock", "/%2e%2e/etc/passwd"):
            for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
                reply = get(sluice, target, method=method)
                expect(reply.status in (200, 400, 404, 405), f"{method} {target}: {reply.status}")
        equal(sluice.admin.show("split web")[0], before, "the split afterwards")


def test_http_listens_where_it_is_told_and_nowhere_else():
    with Origin() as blue, with_http(blue) as sluice:
        equal(sluice.http[0], "127.0.0.1", "the address")
        try:
            Client(("127.0.0.2", sluice.http[1]), timeout=5).close()
        except ConnectionRefusedError:
            return
        raise Failure("it answers at another address than its own")


def test_http_clients_that_do_not_read_or_speak_block_nobody():
    with Origin() as blue, with_http(blue) as sluice:
        silent = [Client(sluice.http) for _ in range(100)]
        for client in silent[:50]:
            client.send(b"GET /metrics HTTP/1.1\r\nHost: loc")
        deaf = [Client(sluice.http, receive_buffer=4096) for _ in range(8)]
        for client in deaf:
            client.ask("GET", "/stream", host=HOST)
        hungry = Client(sluice.http, receive_buffer=4096)
        hungry.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400)
        for _ in range(5):
            equal(get(sluice, "/live").status, 200, "/live among them")
        equal(sluice.get().status, 200, "traffic among them")
        for client in [*silent, *deaf, hungry]:
            client.close()


def test_http_connections_are_bounded():
    with Origin() as blue, with_http(blue) as sluice:
        before, most = sluice.descriptors(), 0
        clients = [Client(sluice.http) for _ in range(300)]

        def settled():
            nonlocal most
            most = max(most, sluice.descriptors() - before)
            return sum(hung_up_on(client) for client in clients) >= 300 - 128

        wait_until(settled, 30, "the end of what is too many")
        expect(most < 128 + 32, f"{most} connections were open at once")
        for client in clients:
            client.close()
        wait_until(lambda: reached(sluice), 10, "room for another client")
        equal(sluice.get().status, 200, "traffic afterwards")


def hung_up_on(client):
    try:
        return client.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def reached(sluice):
    try:
        return get(sluice, "/live").status == 200
    except (OSError, Incomplete):
        return False


def test_http_at_a_path_has_the_mode_of_the_admin_socket():
    with Origin() as origin, Sluice(origin) as sluice:
        path = f"{sluice.folder}/http.sock"
        sluice.stop()
        sluice.tree["admin"].update(http=f"unix:{path}", mode="0600")
        sluice.write_config({})
        before = os.umask(0)
        try:
            sluice.start()
        finally:
            os.umask(before)
        equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, "the mode")


if __name__ == "__main__":
    sys.exit(main(globals()))
