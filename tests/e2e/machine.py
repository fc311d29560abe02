"""A Debian machine that boots: a copy of this one with a systemd of its own, in
which a test may install and change what it likes. As root only.

It is an overlay above this machine's root, in namespaces of its own (overlayfs in
Documentation/filesystems of the kernel, unshare(1), and systemd's "The Container
Interface" for what systemd expects). Nothing that was enabled here runs there; it
has its own loopback and nobody else's network. All of it is gone with its
processes, but for the control group, which __exit__ removes. Nothing that lies on
another file system than the root is in it; there is no journal either.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from harness import Failure, expect
from http1 import wait_until

# In the namespaces; $1: an empty folder, $2...: what becomes process 1.
MAKE = r"""
set -e
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" root
cd root
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs dev
mkdir dev/shm
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
for device in null zero full random urandom tty; do
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
rm -f etc/systemd/system/*.wants/* lib/systemd/system/*.wants/* usr/sbin/policy-rc.d
rm -f var/lib/man-db/auto-update  # or each installation takes ten seconds more
: >etc/fstab
mkdir -p .outside
pivot_root . .outside
shift
exec chroot . /bin/sh -c 'umount -l /.outside; rmdir /.outside; exec "$@"' sh "$@"
"""
SYSTEMD = "/lib/systemd/systemd"
PROGRAMS = ("unshare", "nsenter", "pivot_root", "systemctl", "dpkg", "dpkg-deb", "cpack")


def why_not():
    """What keeps this machine from having such a copy; nothing, if nothing does."""
    if os.geteuid() != 0:
        return "only root may install a package"
    missing = [one for one in PROGRAMS if not shutil.which(one)]
    if missing or not os.access(SYSTEMD, os.X_OK):
        return f"{', '.join(missing) or SYSTEMD} is not here"
    if not _hierarchy() or not os.access(_hierarchy(), os.W_OK):
        return "no control groups of version 2 are mounted, or they are read-only"
    with tempfile.TemporaryDirectory(prefix="machine-") as folder:
        done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "/bin/sh", "-c", MAKE, "sh", folder, "true"],
                              capture_output=True, text=True, timeout=60)
    return f"no copy can be made of this machine: {done.stderr.strip()}" if done.returncode else ""


def _hierarchy():
    """Where control groups of version 2 are mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    return None


class Machine:
    """`with` boots it. All other methods do something in it."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        # systemd takes the group that it is in as the root of all.
        self.group = _hierarchy() / self.folder.name
        self.outer = None

    def __enter__(self):
        self.group.mkdir()
        own = ["--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "--net", "--cgroup"]
        enter = 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"'
        self.outer = subprocess.Popen(
            ["/bin/sh", "-c", enter, "sh", str(self.group), "unshare", *own, "/bin/sh", "-c", MAKE, "sh",
             str(self.folder), "env", "-i", "container=sluice-test", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
             SYSTEMD, "--unit=basic.target"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        try:
            wait_until(self._booted, 60, "a systemd that has booted")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.outer.send_signal(signal.SIGKILL)  # --kill-child: and process 1, which takes all others with it
        self.outer.wait()
        groups = sorted((path for path in self.group.rglob("*") if path.is_dir()), reverse=True)
        for group in [*groups, self.group]:
            wait_until(lambda group=group: _removed(group), 20, f"the end of all processes in {group}")
        self.folder.rmdir()

    def _first(self):
        children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children").read_text().split()
        return children[0] if children else None

    def _booted(self):
        expect(self.outer.poll() is None, "the machine did not start")
        if not self._first() or Path(f"/proc/{self._first()}/comm").read_text() != "systemd\n":
            return False
        return self._in("systemctl", "is-active", "basic.target").stdout == "active\n"

    def _enter(self):
        return ["nsenter", "--target", self._first(), "--mount", "--pid", "--net", "--ipc", "--uts", "--root", "--wd",
                "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]

    def _in(self, *command, **more):
        return subprocess.run([*self._enter(), *command], capture_output=True, text=True, timeout=100, **more)

    def run(self, *command, **more):
        """Its output; it must end with 0."""
        done = self._in(*command, **more)
        if done.returncode:
            raise Failure(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def fails(self, *command):
        """Its output, standard error too; it must not end with 0."""
        done = self._in(*command)
        expect(done.returncode != 0, f"{command} should fail, and says {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def code(self, *command):
        """Its exit code."""
        return self._in(*command).returncode

    def put(self, file, path):
        """A file from outside."""
        with file.open("rb") as source:
            done = subprocess.run([*self._enter(), "/bin/sh", "-c", 'cat >"$1"', "sh", path], stdin=source, timeout=100)
        expect(done.returncode == 0, f"{file} could not be put to {path}")

    def read(self, path):
        return self.run("cat", path)

    def write(self, path, text):
        """Whose it is stays as it was, if it was there."""
        self.run("/bin/sh", "-c", 'cat >"$1"', "sh", path, input=text)


def _removed(group):
    try:
        group.rmdir()
    except OSError:
        return not group.exists()
    return True
