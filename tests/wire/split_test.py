"""The split under load: exact in expectation, in force at once, nothing lost."""

import select
import socket
import sys
import threading
from contextlib import contextmanager

from harness import CALM, Failure, Sluice, equal, expect, main
from http1 import Incomplete, Silence
from origin import FastOrigin, pair

QUIET = {"log": {"access": "off"}}


class Load:
    """Connections that each have `depth` requests under way, driven by one
    thread; counts who answered. The origins answer one octet, `b` or `g`."""

    REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"

    def __init__(self, address, connections, depth):
        self.depth = depth
        self.counts = {b"b": 0, b"g": 0}
        self.wrong = []
        self.poller = select.epoll()
        self.sockets = {}
        for _ in range(connections):
            sock = socket.create_connection(address, timeout=30)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets[sock.fileno()] = [sock, b"", 0]
            self.poller.register(sock.fileno(), select.EPOLLIN)

    def close(self):
        for sock, _, _ in self.sockets.values():
            sock.close()
        self.poller.close()

    def ask(self, number):
        self.sockets[number][0].sendall(self.REQUEST * self.depth)
        self.sockets[number][2] = self.depth

    def run(self, total=None, until=lambda: False):
        """Sends until `total` requests or until() holds; all are answered then."""
        left = total if total is not None else float("inf")
        for number in self.sockets:
            self.ask(number)
            left -= self.depth
        busy = len(self.sockets)
        while busy:
            events = self.poller.poll(30)
            if not events:
                raise Silence("no answer within 30 s")
            for number, _ in events:
                if not self.take(number):
                    continue
                if left > 0 and not until():
                    self.ask(number)
                    left -= self.depth
                else:
                    busy -= 1

    def take(self, number):
        """Reads answers; True when a batch is complete."""
        entry = self.sockets[number]
        data = entry[0].recv(262144)
        if not data:
            raise Incomplete("the proxy closed a connection under load")
        data = entry[1] + data
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0 or len(data) < end + 5:
                break
            if not data.startswith(b"HTTP/1.1 200 "):
                raise Failure(f"an answer under load: {data[:200]!r}")
            self.counts[data[end + 4 : end + 5]] += 1
            entry[2] -= 1
            data = data[end + 5 :]
        entry[1] = data
        return entry[2] == 0


def check_split(green, got, total):
    mean = total * green / 100
    deviation = (total * (green / 100) * (1 - green / 100)) ** 0.5
    off = abs(got - mean) / deviation
    expect(off <= 4, f"green got {got} of {total} at {green} %: {off:.1f} standard deviations off")


def test_split_of_100000_requests_is_exact_in_expectation():
    total, green = 100_000, 25
    with FastOrigin(b"b") as blue, FastOrigin(b"g") as other:
        with Sluice(blue, other, {**CALM, "split": green}, QUIET) as sluice:
            load = Load(sluice.address, connections=16, depth=25)
            load.run(total)
            load.close()
            equal(load.counts[b"b"] + load.counts[b"g"], total, "answers")
            check_split(green, load.counts[b"g"], total)
            rows = {colour: sluice.admin.upstream(colour) for colour in ("blue", "green")}
            equal(rows["green"]["requests"], load.counts[b"g"], "green's requests by its counter")
            equal(rows["blue"]["requests"], load.counts[b"b"], "blue's requests by its counter")
            equal(rows["blue"]["responses"], {"200": load.counts[b"b"]}, "blue's responses")
            equal((blue.total, other.total), (load.counts[b"b"], load.counts[b"g"]), "what the origins counted")


def test_split_is_exact_from_the_first_request_on():
    """Not only in the long run: the first request of 400 fresh processes would
    be too slow to try, so the first of each generation stands for it."""
    blue, green = pair()
    with blue, green, Sluice(blue, green, CALM) as sluice, sluice.client() as client:
        got = 0
        for round_ in range(400):
            sluice.admin.do(f"set weight web green={30 if round_ % 2 else 30.01}")
            got += client.get("/").get("x-origin") == "green"
        check_split(30, got, 400)


@contextmanager
def under_load(sluice, connections):
    """A Load that runs meanwhile; it must have ended without an error."""
    stop, errors = threading.Event(), []
    load = Load(sluice.address, connections, depth=1)

    def work():
        try:
            load.run(until=stop.is_set)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield load
    finally:
        stop.set()
        thread.join(60)
    load.close()
    if errors:
        raise errors[0]


def check_counters(sluice, answered):
    rows = [sluice.admin.upstream(colour) for colour in ("blue", "green")]
    equal(sum(row["requests"] for row in rows), answered, "requests by the counters")
    equal(sum(row["attempts_failed"] + row["rejected_total"] for row in rows), 0, "failures and refusals")


def test_set_weight_under_load_loses_nothing_and_is_in_force_with_its_reply():
    with FastOrigin(b"b") as blue, FastOrigin(b"g") as green:
        with Sluice(blue, green, CALM, QUIET) as sluice:
            probe = Load(sluice.address, connections=8, depth=5)
            with under_load(sluice, 64) as load:
                for turn in range(60):
                    share = 100 if turn % 2 == 0 else 0
                    sluice.admin.do(f"set weight web green={share}")
                    other = b"b" if share else b"g"
                    before = probe.counts[other]
                    probe.run(total=40)
                    equal(probe.counts[other] - before, 0, f"requests elsewhere once green={share} was confirmed")
            probe.close()
            check_counters(sluice, sum(load.counts.values()) + sum(probe.counts.values()))


def test_reload_under_load_loses_nothing():
    with FastOrigin(b"b") as blue, FastOrigin(b"g") as green:
        with Sluice(blue, green, {**CALM, "split": 50}, QUIET) as sluice:
            with under_load(sluice, 32) as load:
                for turn in range(100):
                    sluice.write_config({"service": {"web": {"timeouts": {"connect": f"{1000 + turn}ms"}}}})
                    sluice.admin.do("reload")
            check_counters(sluice, sum(load.counts.values()))


if __name__ == "__main__":
    sys.exit(main(globals()))
