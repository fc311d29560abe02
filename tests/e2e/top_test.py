#!/usr/bin/env python3
"""`sluice top` in a real terminal of 80 by 24: a tmux that nobody else uses."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from harness import Failure, Skipped, Sluice, binary, equal, expect, main  # noqa: E402
from http1 import wait_until  # noqa: E402
from origin import Origin, pair  # noqa: E402


class Terminal:
    def __init__(self, command, width=80, height=24):
        if shutil.which("tmux") is None:
            raise Skipped("no tmux is here (Debian: tmux, see ./dev setup)")
        self.folder = tempfile.mkdtemp(prefix="tmux-")
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height),
                  f"{command}; printf 'ended with %d' $?; cat")

    def tmux(self, *arguments):
        environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        environment.pop("TMUX", None)
        done = subprocess.run(["tmux", "-S", f"{self.folder}/socket", *arguments], capture_output=True, text=True,
                              timeout=30, env=environment)
        expect(done.returncode == 0, lambda: f"tmux {arguments}: {done.stderr}")
        return done.stdout

    def screen(self):
        return self.tmux("capture-pane", "-p")

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def resize(self, width, height):
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    def wait_for(self, *texts, seconds=20):
        try:
            return wait_until(lambda: all(text in self.screen() for text in texts) and self.screen(), seconds, texts)
        except Exception as error:
            raise Failure(f"no {texts} on the screen:\n{self.screen()}") from error

    def close(self):
        self.tmux("kill-server")
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def top(sluice, before="", **more):
    terminal = Terminal(f"{before} {shlex.quote(binary())} top -s {shlex.quote(sluice.socket)}", **more)
    try:
        yield terminal
    finally:
        terminal.close()


@contextmanager
def with_two_services():
    blue, green = pair()
    config = {"service": {"shop": {"blue": {"endpoints": [blue.address]}}},
              "cap": {"database": {"members": ["web/blue", "web/green"], "max_connections": 20, "warn_at": 0.5}},
              "route": [{"path": "/", "service": "web"}, {"path": "/shop/", "service": "shop"}]}
    with blue, green, Sluice(blue, green, config=config) as sluice:
        yield sluice


def test_top_shows_a_service_in_80_by_24():
    with with_two_services() as sluice:
        over = threading.Event()

        def load():
            with sluice.client() as client:
                while not over.is_set():
                    client.get("/")
                    over.wait(0.005)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            sluice.admin.do("set weight web green=25")
            with top(sluice) as terminal:
                terminal.wait_for("sluice", "running", "shop", "web")
                terminal.keys("j")
                screen = terminal.wait_for("green 25% [#####", "judge", "rise needs", "cap database", "split_changed", "q quit")
                expect(all(len(line) <= 80 for line in screen.split("\n")), "a line is too long")
                wait_until(lambda: " ms" in screen or "ms" in terminal.screen(), 20, "a latency")
                if os.environ.get("SLUICE_SCREENSHOTS"):
                    Path(os.environ["SLUICE_SCREENSHOTS"], "top.txt").write_text(terminal.screen())
        finally:
            over.set()
            thread.join()


def test_top_follows_keys_and_the_size_of_the_terminal():
    with with_two_services() as sluice, top(sluice) as terminal:
        terminal.wait_for("by name, 10s")
        for key, wanted in (("s", "by rate, 10s"), ("r", "by rate up, 10s"), ("w", "by rate up, 1m"), ("?", "reverse")):
            terminal.keys(key)
            terminal.wait_for(wanted)
        terminal.keys("?")
        terminal.keys("Space")
        terminal.wait_for("PAUSED")
        for width, height in ((120, 40), (40, 10), (10, 2), (80, 24)):
            terminal.resize(width, height)
            wait_until(lambda: len(terminal.screen().rstrip("\n").split("\n")) <= height, 10, "the new size")
        terminal.wait_for("PAUSED", "q quit")
        terminal.keys("q")
        terminal.wait_for("ended with 0")


def test_top_has_colours_unless_no_color_says_otherwise():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        for value, coloured in [("", True), ("1", False)]:
            with top(sluice, before=f"NO_COLOR={value}") as terminal:
                terminal.wait_for("running", "web")
                # Select Graphic Rendition 30 to 37: a colour of the text.
                found = re.search("\x1b\\[(?:[0-9]+;)*3[0-7]m", terminal.tmux("capture-pane", "-p", "-e"))
                equal(found is not None, coloured, f"colours with NO_COLOR={value}")


def test_top_outlives_a_restart_of_sluice():
    with Origin() as blue, Sluice(blue) as sluice:
        with top(sluice) as terminal:
            terminal.wait_for("running", "web")
            sluice.stop()
            screen = terminal.wait_for("OLD", "cannot reach")
            expect("web" in screen, "what was known is gone")
            sluice.start()
            wait_until(lambda: "OLD" not in terminal.screen(), 20, "the new process on the screen")
            terminal.wait_for("running", "web")


def test_top_without_a_terminal_or_a_socket_says_so():
    def run(*arguments):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SLUICE_SO")}
        environment.pop("SLUICE_CONFIG", None)
        return subprocess.run([binary(), "top", *arguments], capture_output=True, text=True, timeout=20,
                              stdin=subprocess.DEVNULL, env=environment)

    done = run("-s", "/nonexistent")
    equal(done.returncode, 2, "without a terminal")
    expect("terminal" in done.stderr, f"it says: {done.stderr}")
    done = run()
    equal(done.returncode, 2, "without a socket")
    expect("SLUICE_SOCKET" in done.stderr, f"it says: {done.stderr}")


if __name__ == "__main__":
    sys.exit(main(globals()))
