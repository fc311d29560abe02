"""A bad neighbourhood for ./dev soak: packets that come late or not at all, a
name server that lies, a small disk that fills, a wall clock that jumps.

All of it lies in a network and a mount namespace of its own, so that the machine
around it notices nothing; enter() needs root for that.
"""

import fcntl
import heapq
import os
import random
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from harness import Failure, expect

ADDRESS = "10.77.0.1"
MIRRORED = "10.77.0.2"  # ADDRESS, by way of the bad network
NAME = "origin.soak.test"
INSIDE = "SLUICE_SOAK_INSIDE"
FAKETIME = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")


def enter():
    """Starts this program again in namespaces of its own, unless it is there."""
    if os.environ.get(INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    expect(os.geteuid() == 0, "the soak needs root, for a network of its own")
    os.environ[INSIDE] = "yes"
    os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv])


class BadNetwork:
    """A tun device behind which each packet to MIRRORED comes back, late or never,
    as one from there to ADDRESS: the two addresses are exchanged, which leaves
    the checksums as they are. It does in any kernel what netem does in some."""

    TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000

    def __init__(self, seed):
        self.delay_s = (0.0005, 0.01)
        self.loss = 0.003
        self.passed = self.lost = 0
        self._dice = random.Random(seed)
        self._tun = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(self._tun, self.TUNSETIFF, struct.pack("16sH22x", b"soak0", self.IFF_TUN | self.IFF_NO_PI))
        for words in (["link", "set", "soak0", "mtu", "9000", "up"], ["addr", "add", f"{ADDRESS}/24", "dev", "soak0"]):
            subprocess.run(["ip", *words], check=True)
        os.set_blocking(self._tun, False)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        late = []
        number = 0
        while True:
            wait = max(0, late[0][0] - time.monotonic()) if late else None
            if select.select([self._tun], [], [], wait)[0]:
                packet = os.read(self._tun, 65536)
                if packet[0] >> 4 != 4 or self._dice.random() < self.loss:
                    self.lost += 1
                    continue
                number += 1
                turned = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
                heapq.heappush(late, (time.monotonic() + self._dice.uniform(*self.delay_s), number, turned))
            while late and late[0][0] <= time.monotonic():
                os.write(self._tun, heapq.heappop(late)[2])
                self.passed += 1


class NameServer:
    """Says where NAME is, on port 53 of this network, in one of MODES."""

    MODES = ("right", "unknown", "empty", "failing", "garbage", "another", "silent")

    def __init__(self, folder, seed):
        self.mode = "right"
        self.asked = dict.fromkeys(self.MODES, 0)
        self._dice = random.Random(seed)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        file = Path(folder, "resolv.conf")
        file.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")
        subprocess.run(["mount", "--bind", str(file), "/etc/resolv.conf"], check=True)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            question, peer = self._socket.recvfrom(4096)
            mode = self.mode
            self.asked[mode] += 1
            if mode != "silent" and len(question) > 12:
                self._socket.sendto(self._answer(question, mode), peer)

    def _answer(self, question, mode):
        """RFC 1035, 4.1."""
        if mode == "garbage":
            return question[:2] + self._dice.randbytes(self._dice.randrange(400))
        end = question.index(b"\0", 12) + 5
        asked = question[12:end]
        code = {"unknown": 3, "failing": 2}.get(mode, 0)
        is_a = asked[-4:-2] == b"\0\1"
        answers = b""
        if mode == "right" and is_a:
            answers = b"\xc0\x0c\0\1\0\1" + struct.pack(">IH", 1, 4) + socket.inet_aton("127.0.0.1")
        if mode == "another" and is_a:  # an address where nobody listens
            answers = b"\xc0\x0c\0\1\0\1" + struct.pack(">IH", 1, 4) + socket.inet_aton("127.9.9.9")
        head = question[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, 1 if answers else 0, 0, 0)
        return head + asked + answers


class SmallDisk:
    """A folder of its own 4 MiB, which can be full."""

    def __init__(self, folder):
        self.path = Path(folder, "disk")
        self.path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0777", "none", str(self.path)], check=True)
        self._ballast = self.path / "ballast"
        self.filled = 0
        self.full = False

    def fill(self):
        self.filled += 1
        self.full = True
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                return
        raise Failure("the disk does not fill")

    def empty(self):
        self.full = False
        self._ballast.unlink(missing_ok=True)

    def leave(self):
        subprocess.run(["umount", str(self.path)], check=True)


class Clock:
    """The wall clock of a process that is started by command(), by libfaketime; a
    jump is seen within a second. Monotonic time goes on: by POSIX it cannot jump."""

    def __init__(self, folder):
        self._library = next(FAKETIME, None)
        expect(self._library, "libfaketime is not installed")
        self._file = Path(folder, "clock")
        self.jumps = 0
        self._set(0)

    def jump(self, offset_s):
        """To `offset_s` from the machine's time."""
        self._set(offset_s)
        self.jumps += 1

    def _set(self, offset_s):
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset_s:+d}\n")
        fresh.rename(self._file)

    def command(self, words):
        return ["env", f"LD_PRELOAD={self._library}", f"FAKETIME_TIMESTAMP_FILE={self._file}",
                "FAKETIME_CACHE_DURATION=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", *words]


class Surroundings:
    """All of it; `folder` is an empty one."""

    def __init__(self, folder, seed):
        self.network = BadNetwork(seed)
        self.names = NameServer(folder, seed)
        self.disk = SmallDisk(folder)
        self.clock = Clock(folder)

    def disturb(self, dice):
        """One change for the worse or the better."""
        what = dice.randrange(4)
        if what == 0:
            self.network.loss = dice.choice((0, 0.003, 0.02))
            self.network.delay_s = dice.choice(((0, 0), (0.0005, 0.01), (0.02, 0.06)))
        elif what == 1:
            self.names.mode = dice.choice(self.names.MODES)
        elif what == 2:
            self.disk.empty() if self.disk.full else self.disk.fill()
        else:
            self.clock.jump(dice.choice((0, 3600, -3600, 86400 * 400, -86400 * 400, dice.randrange(-90, 90))))

    def calm(self):
        self.network.loss, self.network.delay_s = 0, (0, 0)
        self.names.mode = "right"
        self.disk.empty()

    def check_they_happened(self):
        expect(self.network.lost and self.network.passed, "no packet was lost")
        expect(self.disk.filled and self.clock.jumps, "no full disk, or no jump of the clock")
        expect(sum(n for mode, n in self.names.asked.items() if mode != "right"), "no wrong name was told")

    def __str__(self):
        return (
            f"{self.network.passed} packets delayed, {self.network.lost} lost; {self.clock.jumps} jumps of the clock;"
            f" disk full {self.disk.filled} times; name server asked {self.names.asked}"
        )
