#!/usr/bin/env python3
"""Instructions per request, counted by callgrind: a figure that does not depend
on how fast or how busy the machine is.

A fixed script of keep-alive GETs of 1 KiB goes through one worker with all that
a user would have on: split, caps, checks, histograms, judge, X-Forwarded-For.
It runs twice with different counts; the difference is what a request costs, in
the worker's thread alone.

    bench/instructions.py [--bound N]     exit 1 above the bound
"""

import argparse
import re
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "wire"))
from harness import Sluice, binary  # noqa: E402
from origin import FastOrigin  # noqa: E402

FEW, MANY = 500, 2500
BODY = b"x" * 1024
REQUEST = (b"GET /some/path?with=query HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux)\r\n"
           b"Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate, br\r\n"
           b"Accept-Language: en-GB,en;q=0.5\r\nCookie: session=0123456789abcdef; theme=dark\r\n\r\n")


class Counted(Sluice):
    """The daemon under callgrind, a file of counts for each thread."""

    def command(self):
        return ["valgrind", "--tool=callgrind", "--separate-threads=yes", "--quiet",
                f"--callgrind-out-file={self.folder}/callgrind.out", *super().command()]

    def worker_instructions(self):
        """Of the busiest thread that is not the first."""
        counts = []
        for path in Path(self.folder).glob("callgrind.out*"):
            text = path.read_text(errors="replace")
            total = re.search(r"^totals: (\d+)", text, re.M)
            thread = re.search(r"^thread: (\d+)", text, re.M)
            if total and thread and int(thread[1]) > 1:
                counts.append(int(total[1]))
        return max(counts)


def ask(address, count):
    with socket.create_connection(address, timeout=60) as sock:
        for _ in range(count):
            sock.sendall(REQUEST)
            data = b""
            while not data.endswith(b"\r\n\r\n" + BODY):
                more = sock.recv(65536)
                if not more:
                    raise ConnectionError("the proxy closed the connection")
                data += more


def count(requests):
    service = {"split": 50, "health": {"path": "/", "interval": "1h"}, "outlier": {},
               "blue": {"max_connections": 40}, "green": {"max_connections": 40}}
    config = {"log": {"access": "off", "level": "warning"},
              "cap": {"database": {"members": ["web/blue", "web/green"], "max_connections": 100}}}
    with FastOrigin(BODY) as blue, FastOrigin(BODY) as green:
        sluice = Counted(blue, green, service=service, config=config, workers=1)
        with sluice:
            ask(sluice.address, requests)
            sluice.stop(60)
            return sluice.worker_instructions()


def per_request():
    return (count(MANY) - count(FEW)) / (MANY - FEW)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bound", type=int)
    options = parser.parse_args()
    binary()
    subprocess.run(["valgrind", "--version"], check=True, stdout=subprocess.DEVNULL)
    found = per_request()
    print(f"{found:.0f} instructions per request" + (f", at most {options.bound}" if options.bound else ""))
    sys.exit(1 if options.bound and found > options.bound else 0)


if __name__ == "__main__":
    main()
