#!/usr/bin/env python3
"""Faults under load for MINUTES (30), all at once: origins are killed and started
again and reset connections at random octets, clients leave in the middle, packets
come late or not at all, the disk is full, the wall clock jumps, the name server
lies or is silent, and the operator reloads and moves the split. Run by ./dev soak,
as root: surroundings.py has why.

Every few seconds and at the end it is looked at whether
- the books balance: each request that ended is in the access log once, and the
  metrics have the same answers by status, and as many without one; clients got no
  more than that, and no exchange is stuck;
- memory and descriptors are flat: what they are at the end is no more than what
  they were after the first tenth, and memory no more than at half time.
"""

import argparse
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))

from harness import MiB, Sluice, equal, expect  # noqa: E402
from http1 import Client, Incomplete, Malformed, Silence, wait_until  # noqa: E402
from surroundings import ADDRESS, MIRRORED, NAME, Surroundings, enter  # noqa: E402

CLIENTS = 12
LOOK_S = 5
BODY = bytes(range(256)) * 200


class Origin:
    """A process that answers, and now and then resets at a random octet. It is
    killed and started again on the same port."""

    def __init__(self, seed):
        self.seed = seed
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.mirrored = f"{MIRRORED}:{self.port}"
        self.named = f"dns:{NAME}:{self.port}"
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen([sys.executable, __file__, "--origin", str(self.port), str(self.seed)])

    def restart(self):
        self.kill()
        self.start()

    def kill(self):
        self.process.kill()
        self.process.wait()


def serve_forever(port, seed):
    dice = random.Random(seed)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", port))
    listener.listen(512)

    def serve(sock):
        buffer = b""
        with sock:
            while True:
                while b"\r\n\r\n" not in buffer:
                    data = sock.recv(65536)
                    if not data:
                        return
                    buffer += data
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                while length and len(buffer) < int(length[1]):
                    data = sock.recv(65536)
                    if not data:
                        return
                    buffer += data
                buffer = buffer[int(length[1]) :] if length else buffer
                answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
                if dice.random() < 0.02:
                    sock.sendall(answer[: dice.randrange(len(answer))])
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                if dice.random() < 0.02:
                    answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
                sock.sendall(answer)

    def guarded(sock):
        try:
            serve(sock)
        except OSError:
            pass

    while True:
        sock, _ = listener.accept()
        threading.Thread(target=guarded, args=(sock,), daemon=True).start()


class Clients:
    """Ask without a pause, each at one of the addresses; some leave in the middle."""

    def __init__(self, addresses):
        self.answered = self.cut = self.left = 0
        self.statuses = Counter()
        self.wrong = []
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(seed, addresses[seed % len(addresses)]))
            for seed in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            expect(not thread.is_alive(), "a client waits without an end")

    def _run(self, seed, address):
        dice = random.Random(seed)
        client = None
        while not self._over.is_set():
            outcome, status = "answered", None
            try:
                client = client or Client(address, 30)
                body = BODY[: dice.randrange(len(BODY))] if dice.random() < 0.3 else b""
                client.ask("PUT" if body else "GET", "/", body=body)
                if dice.random() < 0.02:
                    client.reset() if dice.random() < 0.5 else client.close()
                    client, outcome = None, "left"
                else:
                    answer = client.answer()
                    status = answer.status
                    if answer.status == 200 and answer.body != BODY:
                        self.wrong.append("another body")
                    if "close" in answer.options("connection"):
                        client.close()
                        client = None
            except (Incomplete, OSError):
                client, outcome = None, "cut"
            except (Malformed, Silence) as error:
                self.wrong.append(repr(error))
                client, outcome = None, "cut"
            with self._lock:
                setattr(self, outcome, getattr(self, outcome) + 1)
                if outcome == "answered":
                    self.statuses[status] += 1


def disturb(sluice, origins, around, over, dice, problems):
    """Until it is over: a fault or a change every fraction of a second."""
    number = 0
    try:
        while not over.wait(dice.uniform(0.1, 1.0)):
            number += 1
            what = dice.randrange(9)
            if what < 2:
                dice.choice(origins).restart()
            elif what == 2:
                sluice.write_config({"service": {"web": {"timeouts": {"idle": f"{20 + number % 10}s"}}}})
                sluice.admin.do("reload")
            elif what == 3:
                sluice.admin.do(f"set weight web green={dice.randrange(101)}")
            elif what == 4:
                sluice.admin.do(f"set maxconn web/blue {dice.randrange(2, 30)}")
            elif what == 5:
                origin = dice.choice(origins)
                origin.kill()
                over.wait(dice.uniform(0.1, 2.0))
                origin.start()
            else:
                around.disturb(dice)
    except BaseException as error:
        problems.append(error)
        raise


class SoakedSluice(Sluice):
    """With a clock that jumps and its state on a disk that fills."""

    def __init__(self, around, service):
        config = {
            "state_dir": str(around.disk.path / "state"),
            "admin": {"http": "127.0.0.1:0"},
            "listener": [{"bind": "127.0.0.1:0"}, {"bind": f"{ADDRESS}:0"}],
        }
        super().__init__([], [], service=service, config=config)
        self._around = around

    def command(self):
        return self._around.clock.command(super().command())

    def metrics(self, name):
        """[(labels, value)] of the metric."""
        host, _, port = self.admin.show("info")[0]["admin_http"].rpartition(":")
        with Client((host, int(port))) as client:
            text = client.get("/metrics", host="localhost").body.decode()
        found = re.findall(rf"(?m)^{name}\{{(.*)\}} (\S+)$", text)
        return [(dict(re.findall(r'(\w+)="([^"]*)"', labels)), int(float(value))) for labels, value in found]


def soak(minutes, seed):
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        around = Surroundings(folder, seed)
        origins = [Origin(seed + number) for number in range(6)]
        try:
            soak_among(around, origins, minutes, dice)
        finally:
            for origin in origins:
                origin.kill()
            around.disk.leave()


def soak_among(around, origins, minutes, dice):
    service = {
        "trip": {"enabled": False},
        "retry": {"max": 2},
        # Where a reset may be lost, whoever waits has to give up by himself.
        "timeouts": {"connect": "2s", "first_byte": "5s", "client_idle": "20s"},
        "blue": {
            "endpoints": [origins[0].address, origins[1].mirrored, origins[2].named],
            "max_connections": 20,
            "max_queue": 50,
        },
        "green": {"endpoints": [origins[3].address, origins[4].mirrored, origins[5].named]},
        "outlier": {"consecutive": 5, "eject": "1s"},
    }
    over = threading.Event()
    with SoakedSluice(around, service) as sluice:
        check_clock(sluice, around)
        straight, other = sluice.listeners
        clients = Clients([straight, straight, (MIRRORED, other[1])])
        problems, marks = [], []
        disturber = threading.Thread(target=disturb, args=(sluice, origins, around, over, dice, problems))
        try:
            disturber.start()
            end = time.monotonic() + minutes * 60
            while time.monotonic() < end and disturber.is_alive():
                time.sleep(min(LOOK_S, max(0.1, end - time.monotonic())))
                marks.append((sluice.rss_bytes(), sluice.descriptors()))
        finally:
            over.set()
            disturber.join(60)
            clients.stop()
        equal(problems, [], "what went wrong with the faults")
        equal(clients.wrong[:5], [], "wrong answers")
        around.calm()
        wait_until(lambda: sluice.admin.show("info")[0]["connections"] == 0, 60, "the end of all connections")
        check(sluice, clients, marks)
        check_recovery(sluice)
        print(around, flush=True)
        around.check_they_happened()


def check_clock(sluice, around):
    """The process follows the clock that jumps: what happens now it writes down as of another year."""
    year = time.strftime("%Y", time.gmtime())
    around.clock.jump(400 * 86400)

    def follows():
        sluice.admin.do("trip web")
        sluice.admin.do("reset web")
        return f'"time":"{year}' not in sluice.log().splitlines()[-1]

    wait_until(follows, 20, "another year in the log")
    around.clock.jump(0)


def check(sluice, clients, marks):
    (info,) = sluice.admin.show("info")
    equal(info["queued"], 0, "requests still in a queue")
    equal(sluice.admin.show("sessions"), [], "sessions")
    asked = clients.answered + clients.cut + clients.left
    # Who left at once may have been gone before it was heard.
    wait_until(lambda: clients.answered <= len(sluice.access_log()) <= asked, 30, "the books' balance")
    check_books(sluice, clients)
    warm = marks[len(marks) // 10 :]
    first, half, last = warm[0], marks[len(marks) // 2], warm[-1]
    print(
        f"{asked} requests: {clients.answered} answered, {clients.cut} cut off, {clients.left} left;"
        f" by status {dict(sorted(clients.statuses.items()))};"
        f" memory {first[0] / MiB:.1f} -> {half[0] / MiB:.1f} at half time -> {last[0] / MiB:.1f} MiB"
        f" (most {max(one[0] for one in warm) / MiB:.1f}),"
        f" descriptors {first[1]} -> {last[1]} (most {max(one[1] for one in warm)})",
        flush=True,
    )
    expect(last[0] < first[0] * 1.2 + 8 * MiB, "memory grows")
    expect(last[0] - half[0] <= half[0] * 0.1 + 1 * MiB, "memory grows in the second half")
    expect(last[1] < first[1] + 60, "descriptors grow")
    expect(sluice.descriptors() < first[1] + 20, "descriptors stay open")


def check_books(sluice, clients):
    lines = sluice.access_log()
    equal(len({one["request_id"] for one in lines}), len(lines), "requests in the log, each once")
    lost = {labels["outcome"]: count for labels, count in sluice.metrics("sluice_access_log_lines_total")}
    equal(lost, {"written": len(lines), "dropped": 0, "lost": 0}, "lines of the access log")
    logged = Counter(one["status"] for one in lines)
    silent = logged.pop(0, 0)
    counted = Counter()
    for name in ("sluice_requests_total", "sluice_unrouted_total"):
        for labels, count in sluice.metrics(name):
            counted[int(labels["code"])] += count
    equal(+counted, logged, "answers in the metrics and in the log, by status")
    for status, count in clients.statuses.items():
        expect(count <= logged[status], f"clients got {count} answers {status}, the log has {logged[status]}")
    # An answer that a client did not get whole, or none, is a client that left or was cut off.
    whole = sum(not one["aborted"] for one in lines if one["status"])
    print(f"{len(lines)} requests in the books: {whole} whole, {len(lines) - whole - silent} broken off,"
          f" {silent} without an answer", flush=True)
    expect(clients.answered <= sum(logged.values()), "clients got more than was answered")
    expect(len(lines) - clients.answered <= clients.cut + clients.left, "requests ended that nobody misses")


def check_recovery(sluice):
    """When all is well again, so is everything that was seen from outside."""
    def usable():
        return all(row["usable"] for row in sluice.admin.show("endpoints web"))

    wait_until(usable, 60, "all endpoints")
    reply = sluice.admin.do("set weight web green=37")
    expect("saved" not in reply, f"the state is not saved: {reply}")
    equal(sluice.get("/").status, 200, "an answer")
    sluice.process.kill()
    sluice.process.wait()
    sluice.start()
    equal(sluice.admin.show("split")[0]["green"], 37.0, "the split after a restart")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minutes", nargs="?", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--origin", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.origin:
        serve_forever(*options.origin)
    enter()
    print(f"soaking for {options.minutes:g} minutes, seed {options.seed}", flush=True)
    soak(options.minutes, options.seed)


if __name__ == "__main__":
    main()
