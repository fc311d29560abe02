"""Commands as documents print them, for the tests that run them.

fenced(path) gives the fenced blocks of a Markdown file. Place is a folder in
which the commands run as a reader would run them: `sluice` is in PATH, and what
is written for fixed ports, /tmp and /etc/sluice can be moved() to free ones.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections import namedtuple
from contextlib import ExitStack
from pathlib import Path

from harness import Admin, Failure, binary, expect
from http1 import Silence, wait_until

Block = namedtuple("Block", "language text where")
FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = re.compile(r"\b(?:127\.0\.0\.1|localhost):(\d{2,5})\b")


def fenced(path, *languages):
    text = Path(path).read_text()
    blocks = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match[1] in languages:
            blocks.append(Block(match[1], match[2], f"{Path(path).name}:{line}"))
    return blocks


def free_ports(count):
    """So many different ports that were free a moment ago."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


class Place:
    """A folder that goes with its contents, and with every process that was
    started in it."""

    def __init__(self):
        program = binary()
        self.root = Path(tempfile.mkdtemp(prefix="sluice-"))
        (self.root / "bin").mkdir()
        (self.root / "tmp").mkdir()
        (self.root / "bin/sluice").symlink_to(program)
        self.environment = {**os.environ, "PATH": f"{self.root}/bin:{os.environ['PATH']}"}
        for name in ("SLUICE_SOCKET", "SLUICE_CONFIG"):
            self.environment.pop(name, None)
        self.ports = {}
        self.processes = []
        self.folder = self.root  # where commands run
        self.said = ""  # what the commands of a block printed

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            self.end(process)
        shutil.rmtree(self.root, ignore_errors=True)

    def use_free_ports(self, *texts):
        """Gives every loopback port in the texts a free one; their names in order."""
        numbers = sorted({number for text in texts for number in PORT.findall(text)} - set(self.ports))
        self.ports.update(zip(numbers, map(str, free_ports(len(numbers)))))

    def moved(self, text):
        """The text with free ports, and with this folder's in place of /tmp and /etc/sluice."""
        text = re.sub(r"\b\d{2,5}\b", lambda match: self.ports.get(match[0], match[0]), text)
        return re.sub(r"(?<![\w.])/(tmp|etc/sluice)/", rf"{self.root}/\1/", text)

    def run(self, script, folder=None, code=0):
        """Runs a block as a shell does that stops at the first error; its standard output."""
        done = subprocess.run(["sh", "-eu", "-c", script], cwd=folder or self.folder, env=self.environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200)
        expect(done.returncode == code, lambda: f"exit code {done.returncode}, expected {code}, of\n{script}"
               f"--- it said ---\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, script, folder=None):
        """Runs it beside the test, in a process group of its own."""
        log = open(self.root / f"output.{len(self.processes)}", "wb")
        with log:
            # The shell itself outlives SIGTERM, so that what it runs can end first.
            process = subprocess.Popen(["sh", "-eu", "-c", "trap : TERM\n" + script], cwd=folder or self.folder,
                                       env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True)
        process.output = Path(log.name)
        process.script = script
        self.processes.append(process)
        return process

    def end(self, process):
        """SIGTERM to all of a started block; the exit code of its shell."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return process.returncode

    def wait_ready(self, process, path):
        """Until the daemon at this admin socket, which `process` starts, has all of its endpoints."""
        admin = Admin(str(path))

        def usable():
            if process.poll() is not None:
                raise Failure(f"it ended with {process.returncode}:\n{process.script}{process.output.read_text()}")
            try:
                return all(row["usable"] for row in admin.show("endpoints"))
            except OSError:
                return False

        try:
            wait_until(usable, 60, "all endpoints in use")
        except Silence as error:
            raise Failure(f"{error}:\n{process.output.read_text()}") from None
        admin.do("wait 20 ready")
        return admin
