"""Clients that want to do harm: slow, greedy, many. Whatever they do, others are
served, the admin socket answers, and what they cost is bounded and given back."""

import contextlib
import resource
import select
import socket
import sys
import threading
import time

from harness import CALM, LATER, KiB, MiB, Sluice, digest, equal, expect, main, pattern, sanitized
from http1 import Client, proxy_error, wait_until
from origin import Origin

MANY = 40


def memory_allowed(extra):
    """`extra`, and what a process grows by anyhow; a sanitizer keeps what was freed."""
    return extra + (160 if sanitized() else 8) * MiB


@contextlib.contextmanager
def clients(sluice, count, **more):
    opened = [sluice.client(timeout=30, **more) for _ in range(count)]
    try:
        yield opened
    finally:
        for client in opened:
            client.close()


def ended(client):
    """Has the proxy ended the connection? What it said is in the buffer."""
    while not client.ended and select.select([client.sock], [], [], 0)[0]:
        client.fill()
    return client.ended


def probe(sluice, path):
    """The status that the admin's port answers."""
    host, _, port = sluice.admin.show("info")[0]["admin_http"].rpartition(":")
    with Client((host, int(port))) as client:
        return client.get(path, host="localhost").status


def trickle(opened, octets, meanwhile, pause=0.05):
    """Sends to each an octet at a time until every connection has been ended by
    the proxy; meanwhile() is called in between."""
    for octet in octets:
        for client in opened:
            if not ended(client):
                with contextlib.suppress(OSError):
                    client.sock.send(octet)
        if all(client.ended for client in opened):
            return
        meanwhile()
        time.sleep(pause)
    raise AssertionError("a slow client is still connected")


def endless(text):
    while True:
        yield text


def test_slow_heads_are_cut_off():
    timeouts = {"client_header": "1s"}
    with Origin() as origin, Sluice(origin, service={"timeouts": timeouts}) as sluice:
        with clients(sluice, MANY) as opened:
            for client in opened:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
            trickle(opened, endless(b"y"), lambda: equal(sluice.get("/").status, 200, "another client's status"))
            for client in opened:
                expect(client.buffer.startswith(b"HTTP/1.1 408 "), f"it was told {bytes(client.buffer[:80])}")


def test_bodies_that_stop_are_cut_off():
    timeouts = {"client_body": "500ms"}
    with Origin() as origin, Sluice(origin, service={"timeouts": timeouts}) as sluice:
        with clients(sluice, MANY) as opened:
            for client in opened:
                client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
            wait_until(lambda: all(map(ended, opened)), 30, "the end of all")
            for client in opened:
                expect(client.buffer.startswith(b"HTTP/1.1 408 "), f"it was told {bytes(client.buffer[:80])}")


def test_bodies_that_trickle_are_cut_off_at_the_limit_of_the_request():
    timeouts = {"request": "1s"}
    with Origin() as origin, Sluice(origin, service={"timeouts": timeouts, "trip": {"enabled": False}}) as sluice:
        with clients(sluice, MANY) as opened:
            for client in opened:
                client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx")
            trickle(opened, endless(b"y"), lambda: equal(sluice.admin.json("show info")["ok"], True, "the admin socket"))


def test_header_floods_are_refused_and_cost_nothing():
    with Origin() as origin, Sluice(origin) as sluice:
        before = sluice.rss_bytes()
        with clients(sluice, MANY) as opened:
            for client in opened:
                with contextlib.suppress(OSError):
                    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 50_000)
            wait_until(lambda: all(map(ended, opened)), 30, "the end of all")
        grown = sluice.rss_bytes() - before
        # The most of a head, and of a read, for each.
        expect(grown < memory_allowed(MANY * 160 * KiB), f"{MANY} floods cost {grown >> 10} KiB")
        equal(origin.requests, [], "what went up")


def test_tiny_chunks_arrive_whole():
    body = pattern(60_000)
    chunked = b"".join(b"1\r\n%c\r\n" % octet for octet in body) + b"0\r\n\r\n"

    def script(connection):
        while (request := connection.request()) is not None:
            connection.reply(200, body=digest(request.body).encode())

    with Origin(script) as origin, Sluice(origin) as sluice, sluice.client(timeout=60) as client:
        before = sluice.rss_bytes()
        client.ask("PUT", "/", [("Transfer-Encoding", "chunked")])
        for at in range(0, len(chunked), 7):
            client.send(chunked[at : at + 7])
        equal(client.answer().body.decode(), digest(body), "what arrived")
        grown = sluice.rss_bytes() - before
        expect(grown < memory_allowed(1 * MiB), f"it cost {grown >> 10} KiB")


def test_churn_leaves_nothing_behind():
    with Origin() as origin, Sluice(origin) as sluice:
        sluice.get("/")
        before = sluice.descriptors()
        for number in range(600):
            client = sluice.client()
            if number % 3 == 1:
                client.send(b"GET / HTT")
            if number % 3 == 2:
                client.ask("GET", "/")
            if number % 2:
                client.reset()
            client.close()
        wait_until(lambda: sluice.admin.show("info")[0]["connections"] == 0, 20, "the end of all connections")

        def kept():
            """The idle connections to the origin, which stay for a while."""
            return sum(row["connections"] for row in sluice.admin.show("upstreams"))

        wait_until(lambda: sluice.descriptors() <= before + 8 + kept(), 20, "the descriptors' return")
        equal(sluice.get("/").status, 200, "the status")


def test_clients_above_the_limit_are_told_so_and_the_rest_answers():
    config = {"overload": {"max_connections": 20}, "admin": {"http": "127.0.0.1:0"}}
    with Origin() as origin, Sluice(origin, config=config) as sluice:
        with clients(sluice, 20) as served:
            for client in served:
                equal(client.get("/").status, 200, "the status below the limit")
            with sluice.client() as surplus:
                answer = surplus.get("/")
                equal(answer.status, 503, "the status above it")
                equal(proxy_error(answer), "connection_limit_reached", "the reason")
                expect(answer.get("retry-after") and surplus.at_end(), "no word when to come back, or no end")
            equal(served[0].get("/").status, 200, "the status of who is connected")
            equal(sluice.admin.json("show info")["ok"], True, "the admin socket")
            equal(probe(sluice, "/ready"), 200, "the probe")
        wait_until(lambda: sluice.get("/").status == 200, 10, "a place")


def test_requests_above_the_limit_of_those_that_wait_are_refused_at_once():
    """And operators and probes are still answered."""
    go = threading.Event()

    def script(connection):
        while connection.request() is not None:
            connection.wait(go, 60)
            connection.reply(200)

    # Nobody's time is up within the test.
    timeouts = {"timeouts": LATER, "blue": {"max_connections": 1, "max_queue": 100, "queue_timeout": "1h"}}
    config = {"overload": {"max_queued": 3}, "admin": {"http": "127.0.0.1:0"}}
    with Origin(script) as origin, Sluice(origin, service={**CALM, **timeouts}, config=config) as sluice:
        with clients(sluice, 4) as served:
            served[0].ask("GET", "/")
            origin.wait_for_requests(1)
            for client in served[1:]:
                client.ask("GET", "/")
            wait_until(lambda: sluice.admin.show("info")[0]["queued"] == 3, what="those that wait")
            for _ in range(5):
                answer = sluice.get("/")
                equal((answer.status, proxy_error(answer)), (503, "connection_limit_reached"), "who is too many")
                expect(answer.get("retry-after"), "no word when to come back")
            row = sluice.admin.upstream()
            equal((row["rejected"]["overload"], row["rejected"]["queue_full"]), (5, 0), "refusals")
            equal(row["queue_depth"], 3, "those that wait, according to the admin socket")
            for path in ("/live", "/ready"):
                equal(probe(sluice, path), 200, f"the status of {path}")
            go.set()
            for client in served:
                equal(client.answer().status, 200, "the status of who waited")
        equal(sluice.get("/").status, 200, "the status afterwards")


def test_silent_surplus_goes_soon():
    with Origin() as origin, Sluice(origin, config={"overload": {"max_connections": 5}}) as sluice:
        with clients(sluice, 5) as served:
            # The workers accept side by side: who was first is who was answered.
            for client in served:
                equal(client.get("/").status, 200, "the status of who was first")
            with clients(sluice, 50) as surplus:
                wait_until(lambda: all(map(ended, surplus)), 20, "the end of who is too many and asks nothing")
                equal(served[0].get("/").status, 200, "the status of who was first, later")


def _is_served(sluice):
    try:
        return sluice.get("/").status == 200
    except Exception:
        return False


def test_descriptors_that_run_out_unforeseen_are_survived():
    limit = 100
    with Origin() as origin, Sluice(origin) as sluice:
        equal(sluice.get("/").status, 200, "the status before")
        # Below what was divided at the start.
        resource.prlimit(sluice.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        opened = []
        for _ in range(2 * limit):
            sock = socket.socket()
            sock.settimeout(10)
            with contextlib.suppress(OSError):
                sock.connect(sluice.address)
            opened.append(sock)
        for sock in opened:
            sock.close()
        wait_until(lambda: _is_served(sluice), 20, "service after the flood")
        equal(sluice.admin.json("show info")["ok"], True, "the admin socket after it")


def test_clients_that_never_read_cost_a_bounded_sum():
    size = 8 * MiB  # more than the kernel takes
    data = pattern(size)

    def script(connection):
        connection.timeout = 120
        connection.request()
        connection.reply(200, body=data)

    with Origin(script, send_buffer=64 * KiB) as origin, Sluice(origin) as sluice:
        before = sluice.rss_bytes()
        with clients(sluice, MANY, receive_buffer=4 * KiB) as opened:
            for client in opened:
                client.ask("GET", "/")
            for client in opened:
                expect(select.select([client.sock], [], [], 60)[0], "no answer began")
            equal(sluice.admin.json("show info")["ok"], True, "the admin socket")
            grown = sluice.rss_bytes() - before
        expect(grown < memory_allowed(MANY * 256 * KiB), f"{MANY} clients cost {grown >> 10} KiB")


if __name__ == "__main__":
    sys.exit(main(globals()))
