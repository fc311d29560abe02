"""sd_notify(3) from a real process: ready, the watchdog, stopping."""

import os
import socket
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from harness import Sluice, equal, expect, main  # noqa: E402
from origin import pair  # noqa: E402
from successor import adopt_successors, upgrade  # noqa: E402


@contextmanager
def manager(watchdog_usec):
    """A service manager's socket, named in the environment while inside."""
    with tempfile.TemporaryDirectory(prefix="notify-") as folder, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"{folder}/notify")
        listener.settimeout(20)
        os.environ.update(NOTIFY_SOCKET=f"{folder}/notify", WATCHDOG_USEC=str(watchdog_usec))
        try:
            yield lambda: listener.recv(4096).decode()
        finally:
            del os.environ["NOTIFY_SOCKET"], os.environ["WATCHDOG_USEC"]


def test_ready_then_the_watchdog_then_stopping():
    with manager(200_000) as message:
        with Sluice(*pair()):
            equal(message(), "READY=1", "the first message")
            for _ in range(3):
                equal(message(), "WATCHDOG=1", "what follows")
        while (last := message()) == "WATCHDOG=1":
            pass
        equal(last, "STOPPING=1", "what ends it")


def test_the_main_process_says_who_takes_over():
    with manager(60_000_000) as message, Sluice(*pair()) as sluice:
        old = sluice.process.pid
        heard = [message()]
        upgrade(sluice)
        (info,) = sluice.admin.show("info")
        expect(info["pid"] != old, "no other process answers")
        while not heard[-1].startswith("MAINPID="):
            heard.append(message())
        equal(heard[-1], f"MAINPID={info['pid']}", "the last message of the old process")
        expect("STOPPING=1" not in heard, f"the service is said to stop: {heard}")


def test_a_manager_that_is_gone_is_no_reason_to_end():
    with manager(200_000):
        os.environ["NOTIFY_SOCKET"] = "/nonexistent/notify"
        with Sluice(*pair()) as sluice:
            equal(sluice.get("/").status, 200, "status")


if __name__ == "__main__":
    adopt_successors()
    sys.exit(main(globals()))
