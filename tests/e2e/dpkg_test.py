"""The Debian package, as dpkg and systemd take it: installed, started, upgraded,
removed and purged, each on a copy of this machine (machine.py)."""

import atexit
import functools
import json
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from documents import fenced  # noqa: E402
from harness import SOURCE, Skipped, binary, equal, expect, main, sanitized  # noqa: E402
from http1 import wait_until  # noqa: E402
from machine import Machine, why_not  # noqa: E402

CONFIGURATION = "/etc/sluice/sluice.toml"
RULE = "/etc/logrotate.d/sluice"
UNITS = ("sluice.service", "sluice.socket")
FOLDERS = ("/var/lib/sluice", "/var/log/sluice")
ADMIN = "/run/sluice/admin.sock"
LOG = "/var/log/sluice/access.log"


def build(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, **more)
    expect(done.returncode == 0, lambda: f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


@functools.cache
def packages():
    """{"new": what is here, "old": the same as an earlier version, with another rule for logrotate}."""
    reason = why_no_package()
    if reason:
        raise Skipped(reason)
    folder = tempfile.mkdtemp(prefix="dpkg-")
    atexit.register(shutil.rmtree, folder)
    rules = Path(binary()).parent / "CPackConfig.cmake"
    build("cpack", "--config", str(rules), "-B", f"{folder}/cpack", cwd=rules.parent)
    (new,) = Path(folder, "cpack").glob("sluice_*.deb")
    tree = Path(folder, "tree")
    build("dpkg-deb", "-R", str(new), str(tree))
    for name, what, other in (("DEBIAN/control", r"^Version: .*$", "Version: 0.0.1"),
                              (RULE[1:], r"^\tdaily$", "\tweekly")):
        text, count = re.subn(what, other, (tree / name).read_text(), flags=re.M)
        equal(count, 1, f"{what} in {name}")
        (tree / name).write_text(text)
    old = Path(folder, "old.deb")
    build("dpkg-deb", "--build", "-Znone", "--root-owner-group", str(tree), str(old))
    return {"new": new, "old": old}


def why_no_package():
    """What keeps a copy of this machine from having the package; nothing, if nothing does."""
    if sanitized():
        return "a binary with a sanitizer is not packaged"
    if Path("/var/lib/dpkg/info/sluice.list").exists():
        return "the package is installed on this machine, whose copy would have it"
    return why_not()


@contextmanager
def machine():
    """A machine with the packages in /new.deb and /old.deb."""
    made = packages()
    with Machine() as one:
        for name, file in made.items():
            one.put(file, f"/{name}.deb")
        yield one


def shown(one, unit, name):
    return one.run("systemctl", "show", "--value", f"--property={name}", unit).strip()


def active(one):
    """Those of the units that are active."""
    return [unit for unit in UNITS if one.code("systemctl", "is-active", "--quiet", unit) == 0]


def enabled(one):
    return [unit for unit in UNITS if one.code("systemctl", "is-enabled", "--quiet", unit) == 0]


def pid(one):
    (info,) = json.loads(one.run("sluice", "ctl", "-s", ADMIN, "--json", "show", "info"))["info"]
    equal(shown(one, "sluice.service", "MainPID"), str(info["pid"]), "the process that systemd follows")
    return info["pid"]


def connects(one):
    """Does anybody listen at the address of the packaged configuration?"""
    return one.code("/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080") == 0


def left_over(one):
    """Whatever is called so where a package, systemd or the daemon may put it."""
    where = ("/etc", "/usr", "/lib/", "/var/lib", "/var/log", "/var/cache", "/run")
    return set(one.run("find", *where, "-xdev", "-name", "*sluice*").split())


def test_the_package_is_as_debian_wants_it():
    package = packages()["new"]
    tree = tempfile.mkdtemp(prefix="dpkg-")
    try:
        build("dpkg-deb", "-x", str(package), tree)
        documents = Path(tree, "usr/share/doc/sluice")
        pages = sorted(path for path in Path(tree, "usr/share/man").rglob("*") if path.is_file())
        equal([path.name for path in pages], ["sluice-ctl.1.gz", "sluice.1.gz", "sluice.toml.5.gz"], "the manual")
        for path in [*pages, documents / "changelog.gz"]:
            # Neither a name nor a time (RFC 1952), and packed as well as it goes.
            equal(path.read_bytes()[:9], b"\x1f\x8b\x08\0\0\0\0\0\x02", f"the beginning of {path.name}")
        expect((documents / "copyright").is_file(), "no copyright")
    finally:
        shutil.rmtree(tree)


def test_lintian_has_no_complaint():
    package = packages()["new"]
    if not shutil.which("lintian"):
        raise Skipped("no lintian is here, which is not among the packages that the tests need")
    build("lintian", "--allow-root", "--fail-on", "error,warning", str(package))


def test_installation_makes_the_user_and_the_folders_and_starts_nothing():
    with machine() as one:
        one.run("dpkg", "-i", "/new.deb")
        equal(one.run("dpkg", "--verify", "sluice"), "", "files that are not as they were packed")
        expect(re.fullmatch(r"sluice:x:\d+:\d+:.*:/var/lib/sluice:/usr/sbin/nologin\n",
                            one.run("getent", "passwd", "sluice")), "no system user")
        for folder in FOLDERS:
            equal(one.run("stat", "--format=%U:%G %a", folder), "sluice:sluice 750\n", folder)
        one.run("sluice", "check", CONFIGURATION)
        conffiles = one.run("dpkg-query", "--show", "--showformat=${Conffiles}", "sluice").split()[::2]
        equal(sorted(conffiles), sorted([CONFIGURATION, RULE]), "the conffiles")
        equal((active(one), enabled(one)), ([], []), "what runs and what would at the next boot")


def test_upgrade_hands_over_and_keeps_what_was_edited():
    with machine() as one:
        one.run("dpkg", "-i", "/old.deb")
        expect("weekly" in one.read(RULE), "the old version has no other rule")
        edited = "# edited\n" + one.read(CONFIGURATION)
        one.write(CONFIGURATION, edited)
        one.run("systemctl", "enable", "--now", "sluice")
        before = pid(one)
        invocation = shown(one, "sluice.service", "InvocationID")
        one.run("dpkg", "-i", "/new.deb")
        expect(pid(one) != before, "the old process goes on")
        # A restart would have another one.
        equal(shown(one, "sluice.service", "InvocationID"), invocation, "the invocation")
        equal(enabled(one), ["sluice.service"], "what is enabled")
        equal(one.read(CONFIGURATION), edited, "the configuration")
        expect("daily" in one.read(RULE), "a conffile that nobody edited is still the old one")
        one.run("systemctl", "reload", "sluice")


def test_logrotate_hands_the_log_over():
    with machine() as one:
        one.run("dpkg", "-i", "/new.deb")
        one.run("systemctl", "start", "sluice")

        def asked():
            """Something is in the log when this returns."""
            one.run("curl", "--silent", "--output", "/dev/null", "http://127.0.0.1:8080/")
            wait_until(lambda: one.read(LOG), 20, "a line in the log")

        asked()
        one.run("logrotate", "--force", RULE)
        expect(one.read(f"{LOG}.1"), "the old log has no lines")
        asked()
        for log in (LOG, f"{LOG}.1"):
            equal(one.run("stat", "--format=%U:%G %a", log), "sluice:sluice 640\n", log)


def test_the_socket_starts_before_the_service():
    with machine() as one:
        one.run("dpkg", "-i", "/new.deb")
        one.run("systemctl", "enable", "--now", "sluice")
        one.fails("systemctl", "start", "sluice.socket")
        # As the runbook has it.
        one.run("systemctl", "stop", "sluice")
        one.run("systemctl", "enable", "--now", "sluice.socket")
        expect(connects(one), "a client is refused while only the socket is there")
        one.run("systemctl", "enable", "--now", "sluice")
        pid(one)
        equal((active(one), enabled(one)), (list(UNITS), list(UNITS)), "what runs and what would at the next boot")


def test_a_unix_listener_lets_in_whom_its_folder_does():
    with machine() as one:
        one.run("dpkg", "-i", "/new.deb")
        # As the runbook has it.
        for block in fenced(SOURCE / "docs/runbook.md", "ini"):
            name, _, text = block.text.removeprefix("# ").partition("\n")
            one.run("mkdir", "-p", str(Path(name).parent))
            one.write(name, text)
        one.run("systemd-tmpfiles", "--create", "sluice-in.conf")
        configuration = one.read(CONFIGURATION)
        listener = "unix:/run/sluice-in/in.sock"
        expect(f'`bind = "{listener}"`' in (SOURCE / "docs/runbook.md").read_text(), "the runbook has another socket")
        one.write(CONFIGURATION, configuration.replace("127.0.0.1:8080", listener))
        one.run("systemctl", "daemon-reload")
        one.run("systemctl", "start", "sluice")
        asks = ("curl", "--silent", "--unix-socket", listener.removeprefix("unix:"), "http://sluice/")
        expect("502" in one.run("runuser", "-u", "www-data", "--", *asks), "no answer for the one with the right")
        one.fails("runuser", "-u", "nobody", "--", *asks)
        one.fails("runuser", "-u", "www-data", "--", "sluice", "ctl", "-s", ADMIN, "show", "info")
        one.run("sluice", "ctl", "-s", ADMIN, "trip", "web")
        equal(one.run("find", *FOLDERS, ADMIN, "-perm", "/007"), "", "what everybody may use with a umask of 0")


def test_removal_keeps_what_is_the_operators_and_a_purge_nothing():
    with machine() as one:
        before = left_over(one)
        one.run("dpkg", "-i", "/new.deb")
        listed = one.run("dpkg", "--listfiles", "sluice").split()
        edited = "# edited\n" + one.read(CONFIGURATION)
        one.write(CONFIGURATION, edited)
        one.run("systemctl", "enable", "--now", "sluice.socket")
        one.run("systemctl", "enable", "--now", "sluice.service")
        one.run("dpkg", "--remove", "sluice")
        equal(active(one), [], "what runs after the removal")
        expect(not connects(one), "somebody listens")
        left = one.run("/bin/sh", "-c", 'for path; do [ -d "$path" ] || ls "$path" 2>&-; done; :', "sh", *listed).split()
        equal(sorted(left), sorted([CONFIGURATION, RULE]), "what is left of the files")
        equal(one.read(CONFIGURATION), edited, "the configuration")
        equal(one.run("find", "/etc/systemd", "-name", "*sluice*"), "", "links to the units")
        expect(one.run("ls", "/var/lib/sluice"), "the state is gone")
        one.run("dpkg", "--purge", "sluice")
        equal(sorted(left_over(one) - before), [], "what is left after the purge")
        # As Debian does it: the number must not become another's.
        one.run("getent", "passwd", "sluice")


if __name__ == "__main__":
    sys.exit(main(globals()))
