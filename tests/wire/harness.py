"""What the wire tests stand on: a running sluice, its admin socket, and the
loop that runs a file's tests.

A test file defines functions test_*() and ends with `sys.exit(main(globals()))`.
Run by hand it takes -k NAME (only tests with NAME in them) and -v. The binary
is SLUICE_BINARY, or build/release/sluice of this repository; without one every
test fails. A test that cannot run here raises Skipped; a file in which none
could ends with exit code 77, which CTest shows as skipped and not as passed.

Sluice writes a configuration, starts the daemon in a folder of its own and is
ready when the admin socket says so. Leaving it by SIGTERM must end in exit
code 0 without a sanitizer's report, or the test fails.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

from http1 import Client, wait_until

SOURCE = Path(os.environ.get("SLUICE_SOURCE") or Path(__file__).resolve().parents[2])
SANITIZER_REPORT = re.compile(r"(ERROR|WARNING): \w+Sanitizer|runtime error:|Assertion .* failed")


class Failure(AssertionError):
    """What a test expected did not hold."""


class Skipped(Exception):
    """What a test needs is not here, and it can say nothing; the reason."""


NOTHING_RAN = 77  # SKIP_RETURN_CODE in tests/CMakeLists.txt


def expect(condition, message):
    if not condition:
        raise Failure(message() if callable(message) else message)


def equal(got, wanted, what):
    if got != wanted:
        raise Failure(f"{what}: {got!r}, expected {wanted!r}")


def refused(reply, code):
    """`reply`: of an admin command in JSON."""
    equal(reply["ok"], False, "ok")
    equal(reply["error"]["code"], code, "the error code")
    expect(reply["error"]["message"], "an error without a message")


def binary():
    path = os.environ.get("SLUICE_BINARY") or str(SOURCE / "build/release/sluice")
    if not os.access(path, os.X_OK):
        raise Failure(f"no sluice at {path}: build it (./dev build) or set SLUICE_BINARY")
    return path


def sanitized():
    """Was the binary built with a sanitizer, which costs memory and time?"""
    return b"__asan_init" in Path(binary()).read_bytes() or b"__tsan_init" in Path(binary()).read_bytes()


def run_at_once(work, count):
    """work() in `count` threads; the first error of any."""
    errors = []

    def guarded():
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


KiB, MiB = 1024, 1024 * 1024


def pattern(size):
    """Octets in which no shift, loss or repetition goes unnoticed."""
    block = b"".join(number.to_bytes(4, "big") for number in range(16 * KiB))
    return (block * (size // len(block) + 1))[:size]


def digest(data):
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------- configuration

CALM = {"trip": {"enabled": False}}  # faults on purpose must not move the split
LATER = {"connect": "20s", "first_byte": "20s", "idle": "20s"}  # never, in a test


def _value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    return json.dumps(value) if isinstance(value, str) else str(value)


def to_toml(tree, path=""):
    """Tables of tables as TOML; a list of dictionaries is an array of tables."""
    lines, tables = [], []
    for key, value in tree.items():
        if isinstance(value, dict):
            tables.append(f"[{path}{key}]\n" + to_toml(value, f"{path}{key}."))
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value) and not path:
            tables += [f"[[{key}]]\n" + to_toml(one, f"{path}{key}.") for one in value]
        else:
            lines.append(f"{key} = {_value(value)}\n")
    return "".join(lines) + "".join(tables)


def merge(base, changes):
    """`base` with `changes` laid over it, table by table; None removes."""
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merge(result[key], value)
        else:
            result[key] = value
    return result


def addresses(origins):
    """The endpoints of one origin or address, or of several."""
    many = origins if isinstance(origins, (list, tuple)) else [origins]
    return [getattr(one, "address", one) for one in many]


# ----------------------------------------------------------------------- daemon


class Admin:
    """The admin socket of one daemon."""

    def __init__(self, path):
        self.path = path

    def connect(self, timeout=30.0):
        return Client(self.path, timeout)

    def text(self, commands):
        """The reply, without the empty line that ends it; a `wait` has its own time."""
        waits = re.search(r"\bwait (\d+) ", commands)
        with self.connect(30.0 + (int(waits[1]) if waits else 0)) as client:
            client.send(commands.encode() + b"\n")
            return client.rest().decode().rstrip("\n")

    def json(self, command):
        reply = self.text("json " + command)
        expect("\n" not in reply, lambda: f"the JSON reply to '{command}' has several lines: {reply!r}")
        return json.loads(reply)

    def do(self, command):
        """A command that must succeed; its JSON object."""
        reply = self.json(command)
        expect(reply.get("ok") is True, lambda: f"'{command}' was refused: {reply}")
        return reply

    def show(self, what, **wanted):
        """The rows of `show WHAT`, of which `wanted` selects some."""
        rows = self.do("show " + what)[what.split()[0]]
        return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]

    def upstream(self, colour="blue", service="web"):
        (row,) = self.show("upstreams", service=service, upstream=colour)
        return row


class Sluice:
    """A daemon with a service `web` whose blue and green are given as origins
    or addresses. `service` is laid over [service.web], `config` over the whole
    file; `limits` are the process's (resource.RLIMIT_*), soft and hard.
    Entering it waits until it is ready, unless `ready` is False."""

    def __init__(self, blue, green=None, service=None, config=None, workers=2, ready=True, limits=None):
        self.wants_ready = ready
        web = {"blue": {"endpoints": addresses(blue)}}
        if green is not None:
            web["green"] = {"endpoints": addresses(green)}
        self.folder = tempfile.mkdtemp(prefix="sluice-")
        self.socket = f"{self.folder}/admin.sock"
        self.log_file = Path(self.folder, "log")
        self.config_file = Path(self.folder, "sluice.toml")
        self.tree = merge(
            {
                "workers": workers,
                "drain_timeout": "5s",
                "admin": {"socket": self.socket},
                "log": {"level": "debug", "access": f"{self.folder}/access.log"},
                "listener": [{"bind": "127.0.0.1:0"}],
                "service": {"web": merge(web, service or {})},
            },
            config or {},
        )
        self.admin = Admin(self.socket)
        self.limits = limits or {}
        self.process = None

    def write_config(self, changes=None):
        self.tree = merge(self.tree, changes or {})
        self.config_file.write_text(to_toml(self.tree))

    def reload(self):
        """Writes the configuration and has it read."""
        self.write_config()
        self.admin.do("reload")

    def lack_web(self, begin):
        """Has a configuration with another service instead of `web`, put in force by
        begin(), and then a reload with `web` again."""
        web = self.tree["service"].pop("web")
        self.tree["service"]["other"] = {"blue": web["blue"]}
        begin()
        equal([row["service"] for row in self.admin.show("services")], ["other"], "services without web")
        self.tree["service"] = {"web": web}
        self.reload()

    def command(self):
        return [binary(), "run", "-c", str(self.config_file)]

    def start(self, ready=True):
        self.write_config()
        environment = dict(os.environ)
        environment.setdefault("ASAN_OPTIONS", "quarantine_size_mb=8:detect_leaks=1")
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=environment,
                preexec_fn=self._set_limits if self.limits else None,
            )
        self._wait_for_socket()
        if ready:
            self.wait_ready()
        self.listeners = [
            _split_address(one["address"]) for one in self.admin.show("info")[0]["listeners"]
        ]
        self.address = self.listeners[0]
        return self

    def _set_limits(self):
        for name, limit in self.limits.items():
            resource.setrlimit(name, limit)

    def _wait_for_socket(self):
        def answers():
            if self.process.poll() is not None:
                raise Failure(f"sluice ended at once with {self.process.returncode}:\n{self.log()}")
            try:
                self.admin.connect().close()
                return True
            except OSError:
                return False

        wait_until(answers, 20, "the admin socket")

    def wait_ready(self, seconds=5):
        self.admin.do(f"wait {seconds} ready")

    def __enter__(self):
        try:
            self.start(self.wants_ready)
            return self
        except BaseException:
            self._remove()
            raise

    def __exit__(self, kind, *_):
        try:
            if kind in (None, Skipped):
                self.stop()
            else:
                sys.stderr.write(f"--- the end of sluice's log ---\n{self.log()[-4000:]}\n")
        finally:
            self._remove()

    def _remove(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def access_log(self):
        path = Path(self.folder, "access.log")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, seconds=20):
        """SIGTERM must end it in time, with exit code 0 and no report."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        self.wait_exit(seconds)

    def wait_exit(self, seconds=20, code=0):
        try:
            got = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"sluice did not end within {seconds} s of being asked:\n{self.log()[-2000:]}") from None
        log = self.log()
        report = SANITIZER_REPORT.search(log)
        expect(not report, lambda: f"a report in the log:\n{log[report.start():][:6000]}")
        expect(got == code, lambda: f"exit code {got}, expected {code}:\n{log[-3000:]}")

    def client(self, listener=0, **more):
        return Client(self.listeners[listener], **more)

    def get(self, target="/", fields=(), listener=0, **more):
        """One request on a connection of its own."""
        with self.client(listener) as client:
            return client.get(target, fields, **more)

    def rss_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def _split_address(text):
    if text.startswith("unix:"):
        return text[5:]
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def free_port():
    """A port that was free a moment ago, for servers that can't take 0."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


# ----------------------------------------------------------------------- runner


def arguments(description, *more):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("-k", metavar="NAME", default="", help="only what has NAME in its name")
    parser.add_argument("-v", action="store_true", help="say how each went")
    for flags, options in more:
        parser.add_argument(*flags, **options)
    return parser


def run(tests, only, verbose):
    """Runs [(name, function)]; the exit code."""
    passed = failed = 0
    skipped = []
    for name, test in tests:
        if only not in name:
            continue
        began = time.monotonic()
        try:
            binary()
            test()
            passed += 1
            verdict = "ok"
        except Skipped as reason:
            skipped.append(f"SKIPPED {name}: {reason}")
            continue
        except Failure as error:
            failed += 1
            verdict = f"FAILED: {error}"
        except Exception:
            failed += 1
            verdict = f"FAILED:\n{traceback.format_exc()}"
        if verbose or verdict != "ok":
            print(f"{name} ({time.monotonic() - began:.2f} s): {verdict}", flush=True)
    more = f", {len(skipped)} skipped" if skipped else ""
    print(*skipped, f"{passed} passed, {failed} failed{more}", sep="\n")
    if skipped and not passed and not failed:
        return NOTHING_RAN
    return 1 if failed or not passed else 0


def main(names):
    options = arguments(names.get("__doc__")).parse_args()
    tests = [(name, test) for name, test in names.items() if name.startswith("test_") and callable(test)]
    return run(tests, options.k, options.v)
