"""What the process is allowed, and how its binary is made."""

import mmap
import os
import pwd
import struct
import sys
from pathlib import Path

from harness import Skipped, Sluice, binary, equal, expect, main, sanitized
from http1 import wait_until
from origin import Origin

ET_DYN, PT_GNU_STACK, PT_GNU_RELRO, PT_DYNAMIC = 3, 0x6474E551, 0x6474E552, 2
PF_X, DT_FLAGS, DT_FLAGS_1, DF_BIND_NOW, DF_1_NOW = 1, 30, 0x6FFFFFFB, 8, 1


def segments(elf):
    """{type: (flags, offset, size)} of a 64-bit ELF file."""
    offset, size, count = struct.unpack_from("<Q", elf, 32)[0], *struct.unpack_from("<HH", elf, 54)
    found = {}
    for number in range(count):
        kind, flags, begin, _, _, length = struct.unpack_from("<IIQQQQ", elf, offset + number * size)
        found[kind] = (flags, begin, length)
    return found


def test_binary_is_hardened():
    with open(binary(), "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as elf:
        equal(struct.unpack_from("<H", elf, 16)[0], ET_DYN, "the type: position independent")
        found = segments(elf)
        expect(PT_GNU_RELRO in found, "relocations stay writable")
        expect(not found[PT_GNU_STACK][0] & PF_X, "the stack is executable")
        _, begin, length = found[PT_DYNAMIC]
        entries = dict(struct.iter_unpack("<QQ", elf[begin : begin + length]))
        now = entries.get(DT_FLAGS, 0) & DF_BIND_NOW or entries.get(DT_FLAGS_1, 0) & DF_1_NOW
        expect(now, "symbols are bound late")
        expect(elf.find(b"__stack_chk_fail") >= 0, "no stack protector")
        expect(elf.find(b"_chk\0") >= 0 or sanitized(), "nothing is fortified")


def statuses(sluice):
    """Of each thread what /proc says of it."""
    for thread in Path(f"/proc/{sluice.process.pid}/task").iterdir():
        lines = (thread / "status").read_text().splitlines()
        yield {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def test_nothing_can_be_gained_by_exec():
    with Origin() as origin, Sluice(origin) as sluice:
        for thread in statuses(sluice):
            equal(thread["NoNewPrivs"], ["1"], f"no_new_privs of the thread {thread['Name']}")


def test_root_becomes_the_user_after_binding():
    if os.geteuid() != 0:
        raise Skipped("only root can become somebody")
    nobody = pwd.getpwnam("nobody")
    with Origin() as origin:
        sluice = Sluice(origin, config={"user": "nobody"})
        state = f"{sluice.folder}/state"
        os.mkdir(state)
        sluice.tree["state_dir"] = state
        for path in (sluice.folder, state):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        # Only root may bind this; of all threads none may stay root.
        sluice.tree["listener"] = [{"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:897"}]
        with sluice:
            equal(sluice.client(listener=1).get("/").status, 200, "the status at a low port")
            for thread in statuses(sluice):
                equal(set(thread["Uid"]), {str(nobody.pw_uid)}, "the user of a thread")
                equal(set(thread["Gid"]), {str(nobody.pw_gid)}, "the group of a thread")
                equal(thread["CapEff"][0].strip("0"), "", "capabilities")
            for name in ("admin.sock", "access.log", "state/journal"):
                equal(os.stat(f"{sluice.folder}/{name}").st_uid, nobody.pw_uid, f"the owner of {name}")
            sluice.admin.do("set weight web green=0")


def test_unknown_user_is_one_clear_line():
    if os.geteuid() != 0:
        raise Skipped("only root can become somebody")
    with Origin() as origin:
        sluice = Sluice(origin, config={"user": "no-such-user"})
        try:
            sluice.start()
        except AssertionError as error:
            expect("no user is called 'no-such-user'" in str(error), f"it says {error}")
        else:
            raise AssertionError("it started")
        finally:
            sluice._remove()


def test_changes_are_logged_with_who_made_them():
    with Origin() as origin, Sluice(origin, origin) as sluice:
        sluice.admin.do("set weight web green=10")
        who = f"uid {os.getuid()} pid {os.getpid()}"
        wait_until(lambda: who in sluice.log(), what="the line that says who")


if __name__ == "__main__":
    sys.exit(main(globals()))
