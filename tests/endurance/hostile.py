#!/usr/bin/env python3
"""What is too long for every test run: 15,000 clients that never read, or as many
as the limit of open files lets a process serve, slowhttptest of Debian in its four
ways, and TLS handshakes that stop half way. Prints what it cost; exit code 1 when a stated bound is not kept. Run by
./dev hostile.
"""

import argparse
import contextlib
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))

from harness import CALM, KiB, MiB, Failure, Sluice, equal, expect, run  # noqa: E402
from http1 import wait_until  # noqa: E402
from origin import FastOrigin, Origin  # noqa: E402
from tls import TlsClient, authority, metrics, tls_sluice  # noqa: E402

MOST_CLIENTS = 15_000
OWN_DESCRIPTORS = 1000  # of a process beside two for each client, generously
WORKERS = 2


# Of docs/hardening.md: what a worker's streams keep, and for each client its
# objects and one small read on either side.
def ceiling(clients):
    return 32 * MiB + WORKERS * 32 * MiB + clients * 24 * KiB


def raise_limit():
    """Descriptors for this process and those that it starts; how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        wanted = max(hard, 2 * MOST_CLIENTS + OWN_DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    except (OSError, ValueError):  # only root goes beyond
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class NeverReading:
    """Clients that ask for a large answer and do not read it; the answer is made
    by a process of one thread that sends to all."""

    def __init__(self, count, address):
        self.address = address
        self.sockets = []
        for number in range(count):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KiB)
            # Loopback has an address for each 20,000 ports.
            sock.bind((f"127.0.0.{2 + number // 20_000}", 0))
            sock.connect(address)
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            self.sockets.append(sock)

    def close(self):
        for sock in self.sockets:
            sock.close()


def test_clients_that_never_read():
    limit = raise_limit()
    clients = min(MOST_CLIENTS, (limit - OWN_DESCRIPTORS) // 2)
    expect(clients >= 1000, f"only {limit} descriptors may be open here")
    # Nobody is let go while it is looked at, however slow the machine.
    timeouts = {"timeouts": {"idle": "10m"}}
    with (
        FastOrigin(b"x" * (512 * KiB), send_buffer=64 * KiB) as origin,
        Sluice(origin, service=timeouts, workers=WORKERS) as sluice,
    ):
        before = sluice.rss_bytes()
        began = time.monotonic()
        many = NeverReading(clients, sluice.address)
        try:
            peak = [before]

            def steady():
                peak.append(sluice.rss_bytes())
                return len(peak) > 50 and max(peak[-20:]) - min(peak[-20:]) < 1 * MiB or time.sleep(0.2)

            wait_until(steady, 300, "an end of the growth")
            equal(sluice.admin.json("show info")["ok"], True, "the admin socket")
            (info,) = sluice.admin.show("info")
            equal(info["connections"], clients, "connected clients")
            grown = max(peak) - before
            print(
                f"{clients} clients that never read (limit of open files: {limit}): {grown / MiB:.0f} MiB,"
                f" {grown / clients / KiB:.1f} KiB each, ceiling {ceiling(clients) / MiB:.0f} MiB,"
                f" {time.monotonic() - began:.0f} s",
                flush=True,
            )
            expect(grown < ceiling(clients), "more than the ceiling")
        finally:
            many.close()
        wait_until(lambda: sluice.admin.show("info")[0]["connections"] == 0, 60, "the end of all")
        equal(sluice.get("/").status, 200, "the status afterwards")


# Each test shortens one: that, and nothing else, ends what comes slowly.
NEVER = {"client_header": "10m", "client_body": "10m", "client_idle": "10m", "first_byte": "10m", "idle": "10m"}
SOON = "6s"
TOOL_S = 60  # slowhttptest lets go of its connections then, if nobody else has


class SlowHttpTest:
    """500 connections of slowhttptest, and one by which it asks now and then."""

    def __init__(self, sluice, *options):
        if not shutil.which("slowhttptest"):
            raise Failure("slowhttptest is not installed")
        url = "http://%s:%d/" % sluice.address
        self._command = ["slowhttptest", "-c", "500", "-r", "200", "-i", "1", "-l", str(TOOL_S), "-p", "5",
                         "-u", url, *options]

    def __enter__(self):
        self._output = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(self._command, stdout=self._output, stderr=subprocess.STDOUT)
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._output.close()

    def runs(self):
        return self._process.poll() is None

    def end(self):
        """Ends it, if it still runs; what it said."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)
        self._output.seek(0)
        return re.sub(r"\x1b\[[0-9;]*m", "", self._output.read())


def connections(sluice):
    return sluice.admin.show("info")[0]["connections"]


def check_slow(origin, timeout, *options):
    """`timeout`: the one that must end them, while slowhttptest would go on."""
    service = {**CALM, "timeouts": {**NEVER, timeout: SOON}}
    with origin, Sluice(origin, service=service) as sluice, SlowHttpTest(sluice, *options) as tool:
        wait_until(lambda: connections(sluice) > 100, 30, "a hundred slow connections")
        began = time.monotonic()
        equal(sluice.get("/").status, 200, "another client's status")
        # Where it sees that they have all been ended it ends as well.
        wait_until(lambda: connections(sluice) <= 3 or not tool.runs(), 2 * TOOL_S, "the end of the slow connections")
        took_s = time.monotonic() - began
        said = tool.end()
        print(f"slowhttptest {options[0]}: all ended by timeouts.{timeout} of {SOON} within {took_s:.0f} s", flush=True)
        expect("Hit test time limit" not in said, "sluice did not end them: slowhttptest did, when its time was up")
        available = re.findall(r"service available:\s+(\w+)", said)
        equal(set(available), {"YES"}, lambda: f"whether the service was available all the time: {said[-500:]}")
        wait_until(lambda: connections(sluice) == 0, 30, "the end of all")
        equal(sluice.get("/").status, 200, "the status afterwards")


def test_slowhttptest_heads():
    check_slow(FastOrigin(b"x"), "client_header", "-H", "-t", "GET")


def test_slowhttptest_bodies():
    """An octet comes each second, so that only the whole request has an end."""
    check_slow(Origin(), "request", "-B", "-t", "POST", "-s", "8192")


def test_slowhttptest_ranges():
    """Requests of 23 KB, whose origin is lost in them."""

    def script(connection):
        while (request := connection.request()) is not None:
            if request.get("range"):
                connection.at_end()
                return
            connection.reply(200)

    check_slow(Origin(script), "first_byte", "-R", "-t", "HEAD", "-a", "10", "-b", "3000")


def test_slowhttptest_reads():
    """Of more than the kernel takes."""
    origin = FastOrigin(b"x" * (8 * MiB), send_buffer=64 * KiB)
    check_slow(origin, "idle", "-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3")


def half_a_hello():
    hello = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="a.test")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    said = hello.read()
    return said[: len(said) // 2]


def test_handshakes_that_stop_half_way():
    clients = 600
    raise_limit()
    allowed = 8 * MiB + clients * 24 * KiB  # of the ceiling, no more: no stream has anything to keep
    only = {"workers": WORKERS, "service": {"timeouts": NEVER}}
    with authority() as root, tls_sluice(root, tls=root.issue("a").tls(handshake_timeout="10s"), **only) as sluice:
        good, half = root.trusting(), half_a_hello()
        with TlsClient(sluice.address, good) as client:
            equal(client.get().status, 200, "the status before")
        before = sluice.rss_bytes()
        opened = []
        try:
            for _ in range(clients):
                opened.append(sluice.client(timeout=60))
                opened[-1].send(half)
            in_progress = re.compile(rf"(?m)^sluice_tls_handshakes_in_progress.* {clients}$")
            wait_until(lambda: in_progress.search(metrics(sluice)), 20, f"{clients} handshakes in progress")
            grown = sluice.rss_bytes() - before
            # Fewer than max_handshakes are in progress, so there is a place.
            with TlsClient(sluice.address, good) as client:
                equal(client.get().status, 200, "the status while they wait")
            for client in opened:
                equal(client.rest(), b"", "what one hears that stops")
        finally:
            for client in opened:
                client.close()
        timed_out = re.search(r'(?m)^sluice_tls_handshakes_total\{.*outcome="timeout".*\} (\d+)$', metrics(sluice))
        equal(int(timed_out[1]), clients, "handshakes that handshake_timeout ended")
        print(f"{clients} handshakes that stop half way: {grown / MiB:.1f} MiB, {grown / clients / KiB:.1f} KiB each,"
              f" allowed {allowed / MiB:.0f} MiB", flush=True)
        expect(grown < allowed, "more than is allowed")
        wait_until(lambda: connections(sluice) == 0, 30, "the end of all")
        with TlsClient(sluice.address, good) as client:
            equal(client.get().status, 200, "the status afterwards")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-k", metavar="NAME", default="", help="only what has NAME in its name")
    options = parser.parse_args()
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    sys.exit(run(tests, options.k, True))
