#!/usr/bin/env python3
"""What is too long for every test run: 15,000 clients that never read, or as many
as the limit of open files lets a process serve, and slowhttptest of Debian in its
four ways. Prints what it cost; exit code 1 when a stated bound is not kept. Run by
./dev hostile.
"""

import argparse
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))

from harness import KiB, MiB, Failure, Sluice, equal, expect, run  # noqa: E402
from http1 import wait_until  # noqa: E402
from origin import FastOrigin  # noqa: E402

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


def slowhttptest(sluice, *options):
    """Runs it with 500 connections; what it says of the service meanwhile."""
    if not shutil.which("slowhttptest"):
        raise Failure("slowhttptest is not installed")
    url = "http://%s:%d/" % sluice.address
    output = subprocess.run(
        ["slowhttptest", "-c", "500", "-r", "200", "-i", "1", "-l", "15", "-p", "2", "-u", url, *options],
        capture_output=True, text=True, timeout=120,
    ).stdout
    text = re.sub(r"\x1b\[[0-9;]*m", "", output)
    said = re.findall(r"service available:\s+(\w+)", text)
    expect(said, lambda: f"slowhttptest said nothing: {text[-500:]}")
    return said


def check_slow(*options):
    timeouts = {"client_header": "3s", "client_body": "3s", "request": "6s", "idle": "5s"}
    with FastOrigin(b"x") as origin, Sluice(origin, service={"timeouts": timeouts}) as sluice:
        equal(set(slowhttptest(sluice, *options)), {"YES"}, "whether the service was available all the time")
        wait_until(lambda: sluice.admin.show("info")[0]["connections"] == 0, 30, "the end of all")


def test_slowhttptest_heads():
    check_slow("-H", "-t", "GET")


def test_slowhttptest_bodies():
    check_slow("-B", "-t", "POST", "-s", "8192")


def test_slowhttptest_ranges():
    check_slow("-R", "-t", "HEAD", "-a", "10", "-b", "3000")


def test_slowhttptest_reads():
    check_slow("-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-k", metavar="NAME", default="", help="only what has NAME in its name")
    options = parser.parse_args()
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    sys.exit(run(tests, options.k, True))
