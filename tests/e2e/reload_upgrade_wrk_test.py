#!/usr/bin/env python3
"""Debian's wrk sees neither a reload nor an upgrade of the binary: no socket
error, no status but 2xx."""

import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from harness import Sluice, equal, expect, main  # noqa: E402
from http1 import wait_until  # noqa: E402
from origin import FastOrigin  # noqa: E402
from successor import adopt_successors, upgrade  # noqa: E402

CONNECTIONS = 16


class Wrk:
    """Runs until it is left, and must have met no error then."""

    def __init__(self, sluice):
        self._command = ["wrk", "-t1", f"-c{CONNECTIONS}", "-d600s", "http://%s:%d/" % sluice.address]

    def __enter__(self):
        self._output = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(self._command, stdout=self._output, stderr=subprocess.STDOUT)
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self._check()
        finally:
            self._process.kill()
            self._process.wait()
            self._output.close()

    def _check(self):
        equal(self._process.poll(), None, "wrk's exit code before it is told to end")
        self._process.send_signal(signal.SIGINT)
        equal(self._process.wait(60), 0, "wrk's exit code")
        self._output.seek(0)
        said = self._output.read()
        expect("Socket errors" not in said and "Non-2xx" not in said, f"wrk saw errors:\n{said}")
        requests = re.search(r"(\d+) requests in", said)
        expect(requests and int(requests[1]) > 0, f"wrk did nothing:\n{said}")


def await_more(sluice, count):
    """Until this process has answered so many more."""

    def answered():
        return sum(row["requests"] for row in sluice.admin.show("upstreams"))

    wanted = answered() + count
    wait_until(lambda: answered() >= wanted, 60, f"{count} more answers")


def test_reloads_are_not_seen():
    with FastOrigin(b"b") as blue, FastOrigin(b"g") as green, Sluice(blue, green, service={"split": 25}) as sluice:
        with Wrk(sluice):
            await_more(sluice, 100 * CONNECTIONS)
            for number in range(20):
                sluice.write_config({"service": {"web": {"timeouts": {"idle": f"{number + 10}s"}}}})
                expect(sluice.admin.do("reload")["applied"], "nothing was applied")
                await_more(sluice, 100 * CONNECTIONS)


def test_upgrades_are_not_seen():
    with FastOrigin(b"b") as blue, FastOrigin(b"g") as green, Sluice(blue, green, service={"split": 25}) as sluice:
        with Wrk(sluice):
            await_more(sluice, 100 * CONNECTIONS)
            for _ in range(5):
                upgrade(sluice)
                await_more(sluice, 100 * CONNECTIONS)


if __name__ == "__main__":
    adopt_successors()
    sys.exit(main(globals()))
