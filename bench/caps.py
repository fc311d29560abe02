#!/usr/bin/env python3
"""Is a cap exact, and is its queue fair, under changing load?

4 workers, 500 clients, max_connections = 40, for 30 s. Some clients reset their
connection while they wait, and some answers take longer than first_byte. The
origin counts the connections that it has open at each accept, and has one open
until its work for it is done, or the proxy has reset it; clients measure how
long a refusal took. Bars: the origin never sees a 41st connection; no refusal
comes more than 50 ms after queue_timeout (minus what this machine's own
scheduling adds, which a timer in the client measures meanwhile); the queue ends
empty.

    bench/caps.py [--seconds 30] [--clients 500] [--cap 40] [--workers 4]
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "wire"))
from harness import Sluice  # noqa: E402
from origin import is_broken  # noqa: E402

QUEUE_TIMEOUT_MS = 200
FIRST_BYTE_MS = 300


def origin_main(listener, most_open, served, seed):
    """Answers after a random pause, now and then too late, and now and then
    closes instead of keeping the connection."""
    chance = random.Random(seed)
    connections = set()

    async def serve(reader, writer):
        connection = writer.get_extra_info("socket")
        connections.add(connection)
        if len(connections) > most_open.value:
            most_open.value = max(most_open.value, sum(not is_broken(one) for one in connections))
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                late = chance.random() < 0.003
                await asyncio.sleep(2 * FIRST_BYTE_MS / 1000 if late else chance.uniform(0.002, 0.06))
                last = chance.random() < 0.05
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
                             + (b"Connection: close\r\n" if last else b"") + b"\r\nok")
                await writer.drain()
                served.value += 1
                if last:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        connections.remove(connection)
        writer.close()

    async def run():
        server = await asyncio.start_server(serve, sock=listener, backlog=1024)
        await server.serve_forever()

    asyncio.run(run())


class Clients:
    """`count` connections of which a changing part asks; the rest pauses."""

    def __init__(self, address, count, seconds, seed):
        self.address, self.count, self.seconds = address, count, seconds
        self.chance = random.Random(seed)
        self.statuses = {}
        self.resets = 0
        self.slowest_refusal_ms = 0.0
        self.slowest_tick_ms = 0.0  # what the scheduling here adds by itself
        self.until = time.monotonic() + seconds

    def wanted(self):
        """How many may ask now: waves between a tenth and all."""
        phase = int((self.until - time.monotonic()) / 2) % 5
        return self.count * (1, 10, 3, 7, 5)[phase] // 10

    async def watch_scheduling(self):
        while time.monotonic() < self.until:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            self.slowest_tick_ms = max(self.slowest_tick_ms, (time.monotonic() - began - 0.01) * 1000)

    async def one(self, number):
        reader = writer = None
        while time.monotonic() < self.until:
            if number >= self.wanted():
                await asyncio.sleep(0.05)
                continue
            if writer is None:
                reader, writer = await asyncio.open_connection(*self.address)
            began = time.monotonic()
            writer.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            if self.chance.random() < 0.02:
                await asyncio.sleep(self.chance.uniform(0, 0.06))
                self.resets += 1
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.close()
                writer = None
                continue
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head[9:12])
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if status == 503:
                self.slowest_refusal_ms = max(self.slowest_refusal_ms, (time.monotonic() - began) * 1000)
            if b"connection: close" in head.lower() or self.chance.random() < 0.02:
                writer.close()
                writer = None

    async def run(self):
        await asyncio.gather(self.watch_scheduling(), *(self.one(number) for number in range(self.count)))


def measure(seconds, clients, cap, workers, seed=1):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    address = "127.0.0.1:%d" % listener.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    most_open, served = fork.Value("i", 0, lock=False), fork.Value("Q", 0, lock=False)
    origin = fork.Process(target=origin_main, args=(listener, most_open, served, seed), daemon=True)
    origin.start()
    service = {"trip": {"enabled": False}, "timeouts": {"first_byte": f"{FIRST_BYTE_MS}ms"},
               "blue": {"max_connections": cap, "max_queue": 1000, "queue_timeout": f"{QUEUE_TIMEOUT_MS}ms"}}
    try:
        with Sluice(address, service=service, config={"log": {"level": "info"}}, workers=workers) as sluice:
            load = Clients(sluice.address, clients, seconds, seed)
            asyncio.run(load.run())
            row = sluice.admin.upstream()
            sluice.stop()
            went = [line for line in sluice.access_log() if line["attempts"]]
    finally:
        origin.terminate()
        origin.join()
        listener.close()
    answered = load.statuses.get(200, 0)
    longest_wait_ms = max((line["queue_s"] for line in went), default=0) * 1000
    return {
        "seconds": seconds, "clients": clients, "cap": cap, "workers": workers, "seed": seed,
        "statuses": load.statuses, "resets": load.resets, "served": served.value, "most_open_at_origin": most_open.value,
        "refused": row["rejected"], "queue_at_end": row["queue_depth"],
        "slowest_refusal_ms": round(load.slowest_refusal_ms, 1),
        "slowest_scheduling_ms": round(load.slowest_tick_ms, 1),
        "past_queue_timeout_ms": round(max(0.0, load.slowest_refusal_ms - QUEUE_TIMEOUT_MS), 1),
        "waited": sum(line["queue_s"] > 0 for line in went),
        "unlogged": max(0, answered - sum(line["status"] == 200 for line in went)),
        "longest_wait_ms": round(longest_wait_ms, 1),
        "waited_past_queue_timeout_ms": round(max(0.0, longest_wait_ms - QUEUE_TIMEOUT_MS), 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--cap", type=int, default=40)
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    found = measure(options.seconds, options.clients, options.cap, options.workers)
    print(json.dumps(found, indent=2))
    broken = found["most_open_at_origin"] > options.cap or found["queue_at_end"] != 0
    allowed_ms = 50 + found["slowest_scheduling_ms"]
    late = found["past_queue_timeout_ms"] > allowed_ms
    overdue = found["waited_past_queue_timeout_ms"] > allowed_ms
    unknown = found["waited"] == 0 or found["unlogged"] > 0
    print(f"cap {'BROKEN' if broken else 'kept'}, refusals {'LATE' if late else 'in time'},"
          f" waits {'UNKNOWN' if unknown else 'TOO LONG' if overdue else 'in time'}")
    sys.exit(1 if broken or late or overdue or unknown else 0)


if __name__ == "__main__":
    main()
