"""sd_notify(3) from a real process: ready, the watchdog, stopping."""

import os
import socket
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from harness import Sluice, equal, expect, free_port, main  # noqa: E402
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


# Binds, listens and becomes the command behind it, as a service manager does.
ACTIVATE = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
os.dup2(listener.fileno(), 3)
os.set_blocking(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="web")
os.execv(sys.argv[2], sys.argv[2:])
"""


class Activated(Sluice):
    def command(self):
        port = self.tree["listener"][0]["bind"].rpartition(":")[2]
        return [sys.executable, "-c", ACTIVATE, port, *super().command()]


def test_a_socket_of_the_manager_is_taken_and_shared_by_all_workers():
    blue, green = pair()
    with blue, green:
        config = {"listener": [{"bind": f"127.0.0.1:{free_port()}"}, {"bind": "127.0.0.1:0"}]}
        with Activated(blue, green, config=config, workers=3) as sluice:
            for listener in (0, 1):
                for _ in range(20):
                    equal(sluice.get("/", listener=listener).status, 200, "status")
            upgrade(sluice)
            equal(sluice.get("/").status, 200, "status after an upgrade")
            variables = Path(f"/proc/{sluice.process.pid}/environ").read_bytes()
            expect(b"LISTEN_FDS" not in variables, "the successor was told of sockets that are not its own")


if __name__ == "__main__":
    adopt_successors()
    sys.exit(main(globals()))
