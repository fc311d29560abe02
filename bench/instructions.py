#!/usr/bin/env python3
"""Instructions per request, counted by callgrind: a figure that does not depend
on how fast or how busy the machine is.

A fixed script of keep-alive GETs of 1 KiB goes through one worker with all that
a user would have on: split, caps, checks, histograms, judge, X-Forwarded-For.
It runs twice with different counts; the difference is what a request costs, in
the worker's thread alone.

    bench/instructions.py [--bound N]     exit 1 above the bound
    bench/instructions.py --parts         what each thing that can be left out costs
    bench/instructions.py --endpoints     with 1 to 1,000 endpoints a side; exit 1
                                          when it grows by more than 5 %
    bench/instructions.py --allocations   of memory per request, in the worker's
                                          thread; exit 1 above one in 5 requests

--parts counts all threads as well, since what a worker leaves to another is
paid for too: the access log's lines are written and spans are sent there.
"""

import argparse
import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "wire"))
import processes as processes_module  # noqa: E402
import run as run_module  # noqa: E402
from harness import Sluice, binary  # noqa: E402
from origin import FastOrigin  # noqa: E402

FEW, MANY = 500, 2500
FIRST, MORE, MOST_GROWTH = 16_000, 8000, 0.05  # of --endpoints
MOST_ALLOCATIONS = 0.2  # a request: one of 128 is told to the judge, with its client and path
BODY = b"x" * 1024
REQUEST = (b"GET /some/path?with=query HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux)\r\n"
           b"Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate, br\r\n"
           b"Accept-Language: en-GB,en;q=0.5\r\nCookie: session=0123456789abcdef; theme=dark\r\n\r\n")


class Counted(Sluice):
    """The daemon under callgrind, a file of counts for each thread."""

    def command(self):
        return ["valgrind", "--tool=callgrind", "--separate-threads=yes", "--quiet",
                f"--callgrind-out-file={self.folder}/callgrind.out", *super().command()]

    def wait_ready(self, seconds=60):
        super().wait_ready(seconds)

    def threads(self):
        """(number, instructions, callgrind's text) of each."""
        for path in Path(self.folder).glob("callgrind.out*"):
            text = path.read_text(errors="replace")
            total = re.search(r"^totals: (\d+)", text, re.M)
            thread = re.search(r"^thread: (\d+)", text, re.M)
            if total and thread:
                yield int(thread[1]), int(total[1]), text

    def instructions(self):
        """Of the busiest thread that is not the first, and of all."""
        found = list(self.threads())
        return max(total for number, total, _ in found if number > 1), sum(total for _, total, _ in found)

    def allocations(self):
        """Of the busiest thread that is not the first: calls of malloc and its kin. A
        function has its name where the file first has its number."""
        text = max((total, text) for number, total, text in self.threads() if number > 1)[1]
        allocating = set(re.findall(r"^c?fn=(\(\d+\)) \w*?(?:malloc|calloc|realloc|memalign|aligned_alloc)(?:@\S+)?$",
                                    text, re.M))
        calls = re.findall(r"^cfn=(\(\d+\)).*\ncalls=(\d+)", text, re.M)
        found = sum(int(number) for function, number in calls if function in allocating)
        if not found:
            raise ValueError("no call of malloc is in callgrind's output: a worker needs memory when it starts")
        return found


def ask(address, count, every=None, meanwhile=None, request=REQUEST):
    """`meanwhile` is called before each `every`th request."""
    with socket.create_connection(address, timeout=60) as sock:
        for number in range(count):
            if every is not None and number % every == 0:
                meanwhile()
            sock.sendall(request)
            data = b""
            while len(data.partition(b"\r\n\r\n")[2]) < len(BODY):
                more = sock.recv(65536)
                if not more:
                    raise ConnectionError("the proxy closed the connection")
                data += more


GUARDS = {"split": 50, "health": {"path": "/", "interval": "1h", "timeout": "60s"}, "outlier": {},
          "blue": {"max_connections": 40}, "green": {"max_connections": 40}}
QUIET = {"log": {"access": "off", "level": "warning"}}
CAP = {"cap": {"database": {"members": ["web/blue", "web/green"], "max_connections": 100}}}
UNGUARDED = {"trip": {"enabled": False}}


def count(requests, service, config, has_green=True, collector=None, log=False, ask_for=Counted.instructions):
    with FastOrigin(BODY) as blue, FastOrigin(BODY) as green:
        sluice = Counted(blue, green if has_green else None, service=service, config=config, workers=1)
        if collector is not None:
            sluice.tree["trace"] = {"endpoint": f"http://{collector.address}/v1/traces", "sample": 0.01}
        if log:
            sluice.tree["log"]["access"] = f"{sluice.folder}/access.log"
        with sluice:
            ask(sluice.address, requests)
            sluice.stop(60)
            return ask_for(sluice)


def difference(**what):
    """Instructions per request: of the worker, and of all threads."""
    few, many = count(FEW, **what), count(MANY, **what)
    return [(more - less) / (MANY - FEW) for less, more in zip(few, many)]


def per_request():
    return difference(service=GUARDS, config={**QUIET, **CAP})[0]


def allocations():
    """Calls of malloc and its kin per request, in the worker's thread, with the access log on."""
    counts = [count(requests, GUARDS, {**QUIET, **CAP}, log=True, ask_for=Counted.allocations) for requests in (FEW, MANY)]
    return (counts[1] - counts[0]) / (MANY - FEW)


def scraped(requests, scrapes, endpoints=1000):
    """The worker's instructions for so many requests, with so many scrapes of
    /metrics in between, while green has so many endpoints."""
    many = [f"127.9.{number // 250}.{number % 250 + 1}:1" for number in range(endpoints)]
    config = {**QUIET, "admin": {"http": "127.0.0.1:0"}}

    def scrape():
        with urllib.request.urlopen(url, timeout=60) as answer:
            text = answer.read().decode()
        if text.count("sluice_endpoint_up{") != endpoints + 1:
            raise ValueError("a scrape without all endpoints")

    with FastOrigin(BODY) as blue:
        sluice = Counted(blue, many, service=UNGUARDED, config=config, workers=1)
        with sluice:
            url = "http://" + sluice.admin.show("info")[0]["admin_http"] + "/metrics"
            ask(sluice.address, requests, requests // scrapes if scrapes else None, scrape)
            sluice.stop(60)
            return sluice.instructions()[0]


def spread(requests, endpoints):
    """The worker's instructions for FIRST requests, after which each of so many
    endpoints a side most probably has a connection, and so many more."""
    addresses = [f"127.9.{number // 250}.{number % 250 + 1}:0" for number in range(2 * endpoints)]
    request = REQUEST.replace(b"/some/path?with=query", b"/some/path/1k?with=query")
    build = str(Path(binary()).resolve().parent)
    with processes_module.Processes() as processes:
        origins = run_module.start_origin(processes, build, os.sched_getaffinity(0), addresses)
        service = {**GUARDS, "blue": {"max_connections": 4000}, "green": {"max_connections": 4000}}
        del service["health"]  # a thousand checks are not what is asked
        config = {**QUIET, "cap": {"database": {**CAP["cap"]["database"], "max_connections": 8000}}}
        sluice = Counted(list(origins[:endpoints]), list(origins[endpoints:]), service=service, config=config, workers=1)
        with sluice:
            ask(sluice.address, FIRST + requests, request=request)
            sluice.stop(60)
            return sluice.instructions()[0]


def endpoints():
    """Prints what a request costs with more and more endpoints; the greatest growth."""
    costs = {}
    for size in (1, 10, 100, 1000):
        costs[size] = (spread(MORE, size) - spread(0, size)) / MORE
        print(f"{size:5} endpoints a side: {costs[size]:8.0f} instructions, {costs[size] / costs[1] - 1:+.1%}", flush=True)
    return max(costs.values()) / costs[1] - 1


def parts():
    """Prints what a request costs with more and more turned on."""
    with FastOrigin(b"{}") as collector:
        on = {"service": GUARDS, "config": {**QUIET, **CAP}}
        rows = {"nothing": {"service": UNGUARDED, "config": QUIET, "has_green": False},
                "split, caps, checks, ejection, judge": on,
                "and traces, 1 % sampled": {**on, "collector": collector},
                "and the access log": {**on, "collector": collector, "log": True}}
        print(f"{'':38} {'worker':>8} {'all threads':>12}")
        for name, what in rows.items():
            worker, everybody = difference(**what)
            print(f"{name:38} {worker:8.0f} {everybody:12.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bound", type=int)
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--endpoints", action="store_true")
    parser.add_argument("--allocations", action="store_true")
    options = parser.parse_args()
    binary()
    subprocess.run(["valgrind", "--version"], check=True, stdout=subprocess.DEVNULL)
    if options.parts:
        parts()
        return
    if options.endpoints:
        sys.exit(1 if endpoints() > MOST_GROWTH else 0)
    if options.allocations:
        found = allocations()
        print(f"{found:.3f} allocations per request, at most {MOST_ALLOCATIONS}")
        sys.exit(1 if found > MOST_ALLOCATIONS else 0)
    found = per_request()
    print(f"{found:.0f} instructions per request" + (f", at most {options.bound}" if options.bound else ""))
    sys.exit(1 if options.bound and found > options.bound else 0)


if __name__ == "__main__":
    main()
