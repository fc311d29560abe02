"""One process that follows another (SIGUSR2), for the tests."""

import ctypes
import os
import signal

from harness import equal, expect
from http1 import wait_until

PR_SET_CHILD_SUBREAPER = 36


def adopt_successors():
    """Makes this process the parent of what its children leave behind."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Successor:
    """A process that is no child by birth, as subprocess.Popen shows one: the
    kernel gives it to this process when its parent has ended."""

    def __init__(self, pid):
        self.pid = pid
        self.returncode = None

    def poll(self):
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                return None  # its parent lives
            if pid == self.pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, seconds=None):
        wait_until(lambda: self.poll() is not None, seconds or 60, "the successor's end")
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def upgrade(sluice):
    """SIGUSR2, until the old process has ended as it should."""
    old = sluice.process
    sluice.signal(signal.SIGUSR2)
    equal(old.wait(40), 0, "the old process's exit code")
    (info,) = sluice.admin.show("info")
    expect(info["pid"] != old.pid, "the old process answers")
    sluice.process = Successor(info["pid"])
