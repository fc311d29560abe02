#!/usr/bin/env python3
"""Faults under load for MINUTES (30): origins are killed and started again and
reset connections at random octets, clients leave in the middle, the operator
reloads and moves the split. Run by ./dev soak.

Every few seconds and at the end it is looked at whether
- the books balance: each request has one answer, one refusal or one client that
  left, and no exchange is stuck;
- memory and descriptors are flat: what they are at the end is no more than what
  they were after the first tenth.
"""

import argparse
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))

from harness import MiB, Sluice, equal, expect  # noqa: E402
from http1 import Client, Incomplete, Malformed, Silence, wait_until  # noqa: E402

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
    listener.bind(("127.0.0.1", port))
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
    """Ask without a pause; some leave in the middle."""

    def __init__(self, address):
        self.address = address
        self.answered = self.cut = self.left = 0
        self.wrong = []
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            expect(not thread.is_alive(), "a client waits without an end")

    def _run(self, seed):
        dice = random.Random(seed)
        client = None
        while not self._over.is_set():
            outcome = "answered"
            try:
                client = client or Client(self.address, 30)
                body = BODY[: dice.randrange(len(BODY))] if dice.random() < 0.3 else b""
                client.ask("PUT" if body else "GET", "/", body=body)
                if dice.random() < 0.02:
                    client.reset() if dice.random() < 0.5 else client.close()
                    client, outcome = None, "left"
                else:
                    answer = client.answer()
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


def disturb(sluice, origins, over, dice):
    """Until it is over: a fault or a change every fraction of a second."""
    number = 0
    while not over.wait(dice.uniform(0.1, 1.0)):
        number += 1
        what = dice.randrange(6)
        if what < 2:
            dice.choice(origins).restart()
        elif what == 2:
            sluice.write_config({"service": {"web": {"timeouts": {"idle": f"{20 + number % 10}s"}}}})
            sluice.admin.do("reload")
        elif what == 3:
            sluice.admin.do(f"set weight web green={dice.randrange(101)}")
        elif what == 4:
            sluice.admin.do(f"set maxconn web/blue {dice.randrange(2, 30)}")
        else:
            origin = dice.choice(origins)
            origin.kill()
            over.wait(dice.uniform(0.1, 2.0))
            origin.start()


def books(sluice):
    """Requests that ended, by how, from the access log, which has each once."""
    lines = sluice.access_log()
    ids = [one["request_id"] for one in lines]
    equal(len(set(ids)), len(ids), "requests in the log, each once")
    return len(lines)


def soak(minutes, seed):
    dice = random.Random(seed)
    origins = [Origin(seed + number) for number in range(4)]
    service = {
        "trip": {"enabled": False},
        "retry": {"max": 2},
        "blue": {"endpoints": [one.address for one in origins[:2]], "max_connections": 20, "max_queue": 50},
        "green": {"endpoints": [one.address for one in origins[2:]]},
        "outlier": {"consecutive": 5, "eject": "1s"},
    }
    over = threading.Event()
    try:
        with Sluice([], [], service=service) as sluice:
            clients = Clients(sluice.address)
            disturber = threading.Thread(target=disturb, args=(sluice, origins, over, dice))
            disturber.start()
            marks = []
            end = time.monotonic() + minutes * 60
            while time.monotonic() < end and disturber.is_alive():
                time.sleep(min(LOOK_S, max(0.1, end - time.monotonic())))
                marks.append((sluice.rss_bytes(), sluice.descriptors()))
            over.set()
            disturber.join(30)
            clients.stop()
            equal(clients.wrong[:5], [], "wrong answers")
            wait_until(lambda: sluice.admin.show("info")[0]["connections"] == 0, 30, "the end of all connections")
            check(sluice, clients, marks)
    finally:
        over.set()
        for origin in origins:
            origin.kill()


def check(sluice, clients, marks):
    (info,) = sluice.admin.show("info")
    equal(info["queued"], 0, "requests still in a queue")
    equal(sluice.admin.show("sessions"), [], "sessions")
    asked = clients.answered + clients.cut + clients.left
    # Who left at once may have been gone before it was heard.
    wait_until(lambda: asked - clients.left - clients.cut <= books(sluice) <= asked, 30, "the books' balance")
    warm = marks[len(marks) // 10 :]
    first, last = warm[0], warm[-1]
    print(
        f"{asked} requests: {clients.answered} answered, {clients.cut} cut off, {clients.left} left;"
        f" memory {first[0] / MiB:.1f} -> {last[0] / MiB:.1f} MiB (most {max(one[0] for one in warm) / MiB:.1f}),"
        f" descriptors {first[1]} -> {last[1]} (most {max(one[1] for one in warm)})",
        flush=True,
    )
    expect(last[0] < first[0] * 1.2 + 8 * MiB, "memory grows")
    expect(last[1] < first[1] + 60, "descriptors grow")
    expect(sluice.descriptors() < first[1] + 20, "descriptors stay open")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minutes", nargs="?", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--origin", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.origin:
        serve_forever(*options.origin)
    print(f"soaking for {options.minutes:g} minutes, seed {options.seed}", flush=True)
    soak(options.minutes, options.seed)


if __name__ == "__main__":
    main()
