"""Child processes of a benchmark: started on a CPU, watched, and ended by pid.

Every process that is started here is ended when the `Processes` it belongs to
is closed, with all of its descendants, whatever happened in between. Nothing
else is ever signalled.
"""

import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36
STOP_SECONDS = 3  # from SIGTERM to SIGKILL


def parents():
    """pid -> parent's pid, of every process there is."""
    result = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = pathlib.Path("/proc", entry, "stat").read_text()
            except OSError:
                continue  # it ended meanwhile
            result[int(entry)] = int(stat.rpartition(")")[2].split()[1])
    return result


def tree(pid):
    """The process and all of its descendants."""
    children = {}
    for child, parent in parents().items():
        children.setdefault(parent, []).append(child)
    found = [pid]
    for one in found:
        found.extend(children.get(one, []))
    return found


def cpu_ns(pid):
    """CPU used so far by each thread of a process and its descendants."""
    used = {}
    for one in tree(pid):
        for path in pathlib.Path("/proc", str(one), "task").glob("*/schedstat"):
            try:
                used[path.parent.name] = int(path.read_text().split()[0])
            except OSError:
                pass
    return used


def cpu_between(before, after):
    return sum(ns - before.get(tid, 0) for tid, ns in after.items())


def rss_bytes(pid):
    """Resident memory, summed over the process and its descendants.

    Pages that they share are counted in each, as `ps` does."""
    total = 0
    for one in tree(pid):
        try:
            status = pathlib.Path("/proc", str(one), "status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total


class Processes:
    """The children of this run; closing it leaves none behind."""

    def __init__(self):
        self._running = []
        # Descendants whose parent ended become ours, so that tree() finds them.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._setpriv = shutil.which("setpriv")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for child in list(self._running):
            self.stop(child)
        for pid in tree(os.getpid())[1:]:
            self._kill(pid)

    def start(self, argv, cpus, guard=True, **popen):
        """Starts a process that may use only `cpus`.

        `guard`: it gets SIGTERM should this process be killed; costs an exec."""
        if guard and self._setpriv:
            argv = [self._setpriv, "--pdeathsig", "TERM", *argv]
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cpus)  # inherited
        try:
            child = subprocess.Popen(argv, start_new_session=True, **popen)
        finally:
            os.sched_setaffinity(0, before)
        self._running.append(child)
        return child

    def stop(self, child):
        if child in self._running:
            self._running.remove(child)
        members = tree(child.pid)
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        deadline = time.monotonic() + STOP_SECONDS
        ours = set(tree(os.getpid()))
        for pid in members[1:]:
            while pid in ours and time.monotonic() < deadline and self._is_alive(pid):
                time.sleep(0.01)
            if pid in ours:
                self._kill(pid)
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream:
                stream.close()

    @staticmethod
    def _is_alive(pid):
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                return False
        except ChildProcessError:
            pass
        try:
            stat = pathlib.Path("/proc", str(pid), "stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] != "Z"

    def _kill(self, pid):
        try:
            if self._is_alive(pid):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
