"""The Debian package: that what is here is in it, that an upgrade loses nothing, and
that a removal leaves nothing behind."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from harness import SOURCE, Skipped, Sluice, equal, expect, main  # noqa: E402
from origin import pair  # noqa: E402
from successor import Successor, adopt_successors  # noqa: E402
from upgrade_test import Load  # noqa: E402

DEPLOY = SOURCE / "deploy"
FOLDERS = {"${CMAKE_INSTALL_BINDIR}": "bin", "${CMAKE_INSTALL_MANDIR}": "share/man",
           "${CMAKE_INSTALL_DOCDIR}": "share/doc/sluice"}


def installed():
    """{where the package puts a file: the file}, as cmake/Package.cmake says."""
    found = {}
    rules = re.findall(r"^install\((FILES|DIRECTORY) ([^)]*)\)", (SOURCE / "cmake/Package.cmake").read_text(), re.M)
    for kind, rule in rules:
        sources, _, target = rule.replace(" USE_SOURCE_PERMISSIONS", "").partition(" DESTINATION ")
        target, _, name = target.partition(" RENAME ")
        for variable, folder in FOLDERS.items():
            target = target.replace(variable, folder)
        for source in map(SOURCE.joinpath, sources.split()):
            files = source.rglob("*") if kind == "DIRECTORY" else [source]
            for file in files:
                if not file.is_dir():
                    path = Path("/usr", target, name or file.relative_to(source.parent))
                    found[str(path)] = file
    return found


def test_the_package_has_what_is_here_where_it_belongs():
    files = installed()
    for path, file in files.items():
        expect(file.is_file(), f"{path} is made of {file}, which is not here")
    for path in (DEPLOY / "debian/conffiles").read_text().split():
        expect(path in files, f"no rule installs the conffile {path}")
    # Every page of the manual, every completion and every example is in it.
    whole = [*(SOURCE / "docs/man").iterdir(), *(DEPLOY / "completion").iterdir(),
             *(one for one in (DEPLOY / "examples").rglob("*") if one.is_file())]
    equal(sorted(set(whole) - set(files.values())), [], "what no rule installs")
    equal(files["/usr/share/doc/sluice/examples/vm/run.sh"], DEPLOY / "examples/vm/run.sh", "an example")


def test_the_changelog_begins_with_this_version():
    (version,) = re.findall(r"^project\(sluice VERSION (\S+)", (SOURCE / "CMakeLists.txt").read_text(), re.M)
    _, latest, *_ = (DEPLOY / "debian/changelog").read_text().split()
    equal(latest, f"({version})", "the latest version that deploy/debian/changelog has")


def test_all_agree_whose_the_folders_and_the_log_are():
    unit = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "systemd/sluice.service").read_text(), re.M))
    user, group = unit["User"], unit["Group"]
    # systemd hands a folder that is another's to the unit's user and group, at each start.
    folders = {f"{root}/sluice": (unit[f"{kind}DirectoryMode"], user, group)
               for kind, root in (("Runtime", "/run"), ("State", "/var/lib"), ("Logs", "/var/log"))}
    tmpfiles = (DEPLOY / "systemd/sluice.tmpfiles").read_text()
    equal({path: tuple(rest) for path, *rest in re.findall(r"^d (\S+) (\S+) (\S+) (\S+) -$", tmpfiles, re.M)},
          folders, "the folders that tmpfiles.d makes")
    ((names, *made),) = re.findall(r"for folder in (.*); do\n +install -d -o (\w+) -g (\w+) -m (\d+) \"\$folder\"",
                                   (DEPLOY / "debian/postinst").read_text())
    for folder in names.split():
        equal((made[2], made[0], made[1]), folders[folder], f"{folder}, which postinst makes")
    rule = (DEPLOY / "systemd/sluice.logrotate").read_text()
    equal(re.findall(r"^\tsu (.*)$", rule, re.M), [f"{user} {group}"], "as whom logrotate works in sluice's folder")
    with Sluice(*pair()) as sluice:
        sluice.get("/")
        mode = Path(sluice.folder, "access.log").stat().st_mode & 0o777
    mode &= ~int(unit["UMask"], 8)
    equal(re.findall(r"^\tcreate (.*)$", rule, re.M), [f"{mode:04o} {user} {group}"], "the log that logrotate makes")


def test_the_sandbox_of_the_unit_is_tight():
    if not shutil.which("systemd-analyze"):
        raise Skipped("no systemd-analyze is here (Debian: systemd)")
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(DEPLOY / "systemd/sluice.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    score = re.search(r"Overall exposure level for sluice\.service: (\d+\.\d)", done.stdout)
    expect(score, lambda: f"no score in:\n{done.stdout[-500:]}{done.stderr}")
    # What docs/runbook.md says, and some room for what later releases of systemd look at.
    expect(float(score[1]) <= 2.0, f"the exposure is {score[1]}, 2.0 at most")


class Manager:
    """systemd, as far as a package's script asks it: it follows a process whose
    main process says MAINPID=, and notes what it is told to do."""

    def __init__(self, kind="notify"):
        self.folder = Path(tempfile.mkdtemp(prefix="manager-"))
        self.pid_file = self.folder / "pid"
        self.pid_file.write_text("0")
        self.done = self.folder / "done"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.listener.bind(f"{self.folder}/notify")
        self.command("systemctl", f"""
            case "$*" in
              "show --property=Type --value sluice.service") echo {kind} ;;
              "show --property=MainPID --value sluice.service") cat {self.pid_file} ;;
              *) echo "$*" >>{self.done} ;;
            esac""")
        # What else it runs is for root, and for the whole machine.
        for other in ("systemd-sysusers", "install"):
            self.command(other, ":")

    def command(self, name, script):
        file = self.folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def __enter__(self):
        os.environ["NOTIFY_SOCKET"] = f"{self.folder}/notify"
        threading.Thread(target=self._follow, daemon=True).start()
        return self

    def __exit__(self, *_):
        del os.environ["NOTIFY_SOCKET"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", f"{self.folder}/notify")
        shutil.rmtree(self.folder)

    def _follow(self):
        while letter := self.listener.recv(4096):
            if letter.startswith(b"MAINPID="):
                self.main(int(letter[8:]))

    def main(self, pid):
        file = self.folder / "pid.new"
        file.write_text(str(pid))
        file.rename(self.pid_file)

    def run(self, script, *arguments, running=True):
        """A script of the package; what it told the manager to do, and what it said."""
        self.done.write_text("")
        text = (DEPLOY / "debian" / script).read_text()
        # A folder that is there while systemd runs; and it waits less long.
        text = text.replace("/run/systemd/system", str(self.folder if running else self.folder / "none"))
        text = text.replace("seq 40", "seq 4")
        environment = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"}
        done = subprocess.run(["sh", "-c", text, script, *arguments], env=environment,
                              capture_output=True, text=True, timeout=60)
        equal(done.returncode, 0, f"the exit code of {script}, which said {done.stderr}")
        return self.done.read_text().splitlines(), done.stderr

    def configure(self, *version):
        """postinst after an upgrade from a version, or after a first installation."""
        return self.run("postinst", "configure", *version)


def test_a_package_upgrade_loses_nothing():
    with Manager() as manager, Sluice(*pair()) as sluice, sluice.client() as kept:
        old = sluice.process
        manager.main(old.pid)
        equal(kept.get("/").status, 200, "status before")
        with Load(sluice.address) as load:
            equal(manager.configure("0.0.9"), (["daemon-reload"], ""), "what the script did and said")
            load.await_more(50)
        equal(old.wait(40), 0, "the exit code of the old process")
        (info,) = sluice.admin.show("info")
        equal(int(manager.pid_file.read_text()), info["pid"], "the process that the manager follows")
        expect(info["pid"] != old.pid, "the old process answers")
        sluice.process = Successor(info["pid"])


def test_a_package_upgrade_that_fails_leaves_the_old_process():
    with Manager() as manager, Sluice(*pair()) as sluice:
        manager.main(sluice.process.pid)
        good = sluice.config_file.read_text()
        sluice.config_file.write_text("nonsense = true\n" + good)
        done, said = manager.configure("0.0.9")
        equal(done, ["daemon-reload"], "what the script did")
        expect(f"process {sluice.process.pid} of the old one goes on" in said, f"it said {said!r}")
        equal(sluice.admin.show("info")[0]["pid"], sluice.process.pid, "the process that answers")
        expect("upgrade_failed" in sluice.admin.text("show log"), "the log does not say why")
        equal(sluice.get("/").status, 200, "status")
        sluice.config_file.write_text(good)


def test_a_package_upgrade_restarts_what_cannot_hand_over():
    restart = ["daemon-reload", "try-restart sluice.service"]
    with subprocess.Popen(["sleep", "1000"]) as other:
        try:
            with Manager() as manager:
                equal(manager.configure("0.0.9"), (restart, ""), "without a process")
                manager.main(other.pid)
                equal(manager.configure("0.0.9"), (restart, ""), "a process that SIGUSR2 would end")
                equal(manager.configure(), (["daemon-reload"], ""), "a first installation")
            with Manager("simple") as manager, Sluice(*pair()) as sluice:
                manager.main(sluice.process.pid)
                equal(manager.configure("0.0.9"), (restart, ""), "a unit that follows no process")
                equal(sluice.admin.show("info")[0]["pid"], sluice.process.pid, "the process that answers")
            equal(other.poll(), None, "the exit code of the other process")
        finally:
            other.kill()


def test_a_package_removal_stops_the_socket_before_the_service():
    with Manager() as manager:
        stopped = ["disable --now sluice.socket", "disable --now sluice.service"]
        equal(manager.run("prerm", "remove"), (stopped, ""), "what a removal does")
        # In the image of a machine that does not run yet.
        disabled = ["disable sluice.socket", "disable sluice.service"]
        equal(manager.run("prerm", "remove", running=False), (disabled, ""), "what it does where nothing runs")
        equal(manager.run("prerm", "upgrade", "0.2.0"), ([], ""), "what an upgrade does")
        manager.command("systemctl", 'echo "cannot stop $3" >&2; exit 1')
        said = "cannot stop sluice.socket\ncannot stop sluice.service\n"
        equal(manager.run("prerm", "remove"), ([], said), "what a removal does when nothing can be stopped")


if __name__ == "__main__":
    adopt_successors()
    sys.exit(main(globals()))
