"""The image of deploy/docker, without an engine: the step that lays out its root is
run as the Dockerfile has it, on a copy of this machine (machine.py) that has the
package, and what it makes is run as the pod of deploy/kubernetes does: with
nothing else in sight, read-only, and as a user that nobody knows."""

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from dpkg_test import packages  # noqa: E402
from harness import SOURCE, equal, expect, main  # noqa: E402
from http1 import wait_until  # noqa: E402
from machine import Machine  # noqa: E402

DOCKERFILE = (SOURCE / "deploy/docker/Dockerfile").read_text()
ROOT = "/root-fs"

# What an engine does for a container of the pod.
CONTAINER = r"""
set -e
cd "$1"
mkdir -p proc etc/sluice
cat >etc/sluice/sluice.toml
mount --bind . .
cd "$1"
mount -t proc proc proc
for volume in run/sluice var/lib/sluice; do mount -t tmpfs -o mode=2770,gid=65532 tmpfs "$volume"; done
mount -o remount,bind,ro .
"""


def stage(name):
    """Its instructions, each as (WORD, the rest), with the lines that go on joined."""
    (text,) = re.findall(rf"^FROM {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S)
    return re.findall(r"^([A-Z]+) ((?:.*\\\n)*.*)$", text, re.M)


def configuration():
    """The pod's, with origins that are here; green's certificate is to be one that the image's roots know."""
    text = (SOURCE / "deploy/kubernetes/sluice.toml").read_text()
    for old, new in (('"dns:web-blue:8080"]', '"127.0.0.1:9001"]'),
                     ('"dns:web-green:8080"]', '"127.0.0.1:9002"]\ntls = {}')):
        equal(text.count(old), 1, old)
        text = text.replace(old, new)
    return text


def test_the_image_runs_as_the_pod_does():
    image = dict(stage("scratch"))
    enter = ["env", "-i", *image["ENV"].split(), "/usr/sbin/chroot", f"--userspec={image['USER']}", ROOT]
    package = packages()["new"]
    with Machine() as one:
        one.put(package, "/new.deb")
        one.run("dpkg", "-i", "/new.deb")
        *_, (word, layout) = stage("debian:12-slim AS root")
        equal(word, "RUN", "the last instruction of the stage")
        one.run("/bin/sh", "-c", layout)
        equal(one.run("find", ROOT, "-path", "*/bin/*"), f"{ROOT}/usr/bin/sluice\n", "the programs of the image")
        # Where no volume is mounted.
        owned = one.run("stat", "--format=%u:%g", f"{ROOT}/run/sluice", f"{ROOT}/var/lib/sluice")
        equal(owned, f"{image['USER']}\n" * 2, "whose the folders are")
        one.run("/bin/sh", "-c", CONTAINER, "sh", ROOT, input=configuration())
        one.run("systemd-run", "--unit=origin", "python3", "-m", "http.server", "--bind", "127.0.0.1", "9001")
        one.run(*enter, "sluice", "version")
        one.run(*enter, "sluice", "check", "/etc/sluice/sluice.toml")
        arguments = json.loads(image["ENTRYPOINT"]) + json.loads(image["CMD"])
        one.run("systemd-run", "--unit=image", *enter, *arguments)
        wait_until(lambda: one.code(*enter, "sluice", "ctl", "wait", "1", "ready") == 0, 20, "a sluice that is ready")

        def status(url):
            return one.run("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", url)

        wait_until(lambda: status("http://127.0.0.1:8080/") == "200", 20, "an answer of blue")
        for path in ("/live", "/ready"):
            equal(status(f"http://127.0.0.1:9901{path}"), "200", path)
        one.run(*enter, "sluice", "ctl", "set", "weight", "web", "green=1")
        for terminal in ("xterm", "xterm-256color", "screen", "linux"):
            top = " ".join([*enter[:2], f"TERM={terminal}", *enter[2:], "sluice", "top"])
            one.run("script", "--quiet", "--return", "--command", top, "/dev/null", input="q")
        expect(one.read(f"{ROOT}/usr/share/doc/sluice/copyright"), "no licence")
        (process,) = one.run("systemctl", "show", "--value", "--property=MainPID", "image").split()
        equal(re.findall(r"^Uid:\s+(\d+)", one.read(f"/proc/{process}/status"), re.M), ["65532"], "whose process it is")
        one.run("systemctl", "stop", "image")
        equal(one.run("systemctl", "show", "--value", "--property=Result", "image"), "success\n", "how it ended")


if __name__ == "__main__":
    sys.exit(main(globals()))
