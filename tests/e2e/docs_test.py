"""What the documents say is so: every command in them is run, every
configuration checked, every metric compared."""

import json
import os
import re
import signal
import sys
import threading
import tomllib
import urllib.request
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from documents import Place, fenced  # noqa: E402
from harness import SOURCE, Failure, Sluice, equal, expect, free_port, main  # noqa: E402
from http1 import Incomplete, wait_until  # noqa: E402
from origin import pair  # noqa: E402
from successor import Successor, adopt_successors  # noqa: E402
from tls import authority  # noqa: E402

README = SOURCE / "README.md"
FIRST_SPLIT = SOURCE / "docs/first-split.md"
METRICS = SOURCE / "docs/metrics.md"
DOCUMENTS = [README, *sorted((SOURCE / "docs").glob("*.md"))]

# Commands that are not run, by how they begin, and why.
SKIPPED = {
    "./dev demo": "builds; the demo has a test of its own",
    "./dev test": "runs this test",
    "./dev build": "builds; there is a binary already",
    "./dev package": "builds",
    "testssl": "takes minutes, and has a package of its own",
    "sudo apt-get install": "changes the machine",
}
# Commands that do not end by themselves: they must say something and go on.
GOES_ON = re.compile(r"\bsluice run\b|\s-w$")
# Nothing here depends on how fast the machine is: no latency is too high.
PLAN = {"steps": [10, 50, 100], "hold": "100ms", "min_requests": 50, "max_latency_ratio": 1000}

skipped = set()


def commands(block):
    """The lines of a block without comments, those that were broken joined, each
    with its here-document."""
    lines = iter(block.text.replace("\\\n", " ").splitlines())
    for line in lines:
        line = re.sub(r"(^|\s+)#.*$", "", line).strip()
        if here := re.search(r"<<'(\w+)'$", line):
            line = "\n".join([line, *iter(lambda: next(lines), here[1]), here[1]])
        if line:
            yield line


def skip(command):
    found = [beginning for beginning in SKIPPED if command.startswith(beginning)]
    skipped.update(found)
    return bool(found)


def run_block(place, block):
    """Runs it line by line; what it exports and where it goes is for the blocks
    after it, too. The processes that go on."""
    going_on = []
    for command in commands(block):
        if skip(command):
            continue
        command = place.moved(command)
        if export := re.fullmatch(r"export (\w+)=\S+", command):
            place.environment[export[1]] = place.run(f"{command}; printenv {export[1]}").rstrip("\n")
        elif command.startswith("cd "):
            place.folder /= command[3:]
        elif GOES_ON.search(command):
            process = place.start(command)
            wait_until(lambda: process.output.stat().st_size or process.poll(), 60, f"{block.where}: {command}")
            expect(process.poll() in (None, 0), lambda: f"{block.where}: {command} ended with {process.returncode}:\n"
                   f"{process.output.read_text()}")
            going_on.append(process)
        else:
            try:
                place.said += place.run(command)
            except Failure as failure:
                raise Failure(f"{block.where}: {failure}") from None
    return going_on


class Traffic:
    """One client that asks until it is told to stop."""

    def __init__(self, sluice):
        self.sluice = sluice
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join(20)

    def _run(self):
        client = None
        while not self.ending.is_set():
            try:
                client = client or self.sluice.client()
                if "close" in client.get("/").options("connection"):
                    raise Incomplete("its last answer")
            except (Incomplete, OSError):
                client = None


@contextmanager
def reader():
    """Somebody with a running sluice that is named in the environment, in a
    folder with its configuration, and with a newer certificate than it has:
    (place, sluice)."""
    with Place() as place, authority() as root:
        pairs = place.root / "etc/sluice"
        pairs.mkdir(parents=True)
        for folder, days in ((pairs, 3), (place.root, 30)):
            issued = root.issue("shop", days=days)
            Path(issued.cert).rename(folder / "shop.crt")
            Path(issued.key).rename(folder / "shop.key")
        secure = {"bind": "127.0.0.1:0", "tls": {"cert": f"{pairs}/shop.crt", "key": f"{pairs}/shop.key"}}
        config = {"state_dir": f"{place.root}/tmp/state", "listener": [{"bind": "127.0.0.1:0"}, secure]}
        with Sluice(*pair(), {"rollout": PLAN}, config) as sluice:
            place.environment.update(SLUICE_SOCKET=sluice.socket, SLUICE_CONFIG=str(sluice.config_file))
            (place.root / "sluice.toml").symlink_to(sluice.config_file)
            yield place, sluice
            follow(sluice)


def answering_pid(sluice):
    """None while one process hands over to the next."""
    try:
        return sluice.admin.show("info")[0]["pid"]
    except (OSError, ValueError):
        return None


def follow(sluice):
    """After an upgrade the newer process is the one to end."""
    pid = answering_pid(sluice)
    if pid != sluice.process.pid:
        equal(sluice.process.wait(40), 0, "the exit code of the process that was followed by another")
        sluice.process = Successor(pid)


def test_the_readme_from_its_first_command_to_its_last():
    blue, green = pair()
    with Place() as place, blue, green:
        (configuration,) = fenced(README, "toml")
        place.use_free_ports(configuration.text)
        place.ports.update({"9001": blue.address.split(":")[1], "9002": green.address.split(":")[1]})
        (place.root / "sluice.toml").write_text(place.moved(configuration.text))
        (place.root / "build").mkdir()
        (place.root / "build/release").symlink_to("../bin")
        daemon = admin = None
        for block in fenced(README, "sh"):
            for process in run_block(place, block):
                if "sluice run" in process.script:
                    daemon = process
                    admin = place.wait_ready(daemon, place.root / "tmp/sluice.sock")
        expect(daemon, "no command of the README runs sluice")
        (trip,) = admin.show("trip web")
        equal((trip["state"], admin.show("split")[0]["green"]), ("tripped", 0.0), "where the README ends")
        equal(place.end(daemon), 0, f"the exit code of `sluice run`:\n{daemon.output.read_text()}")


def comparable(text):
    """Without what differs from run to run: times, and how many got what."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    return [re.sub(r"^\s+\d+ ", "COUNT ", line).split() for line in text.splitlines()]


@contextmanager
def no_nginx_left(place):
    """nginx leaves the process group of whoever starts it."""
    try:
        yield
    finally:
        for path in place.root.rglob("*.pid"):
            os.kill(int(path.read_text()), signal.SIGTERM)


def test_the_first_split_from_its_first_command_to_its_last():
    with Place() as place, no_nginx_left(place):
        # nginx's workers may be another user than the one who started them.
        place.root.chmod(0o755)
        (place.root / "build").mkdir()
        (place.root / "build/release").symlink_to("../bin")
        clone = place.folder
        blocks = fenced(FIRST_SPLIT, "sh", "text")
        place.use_free_ports(*(block.text for block in blocks))
        daemon = None
        for block in blocks:
            if block.language == "text":
                equal(comparable(place.said), comparable(block.text), f"{block.where}: what the commands print")
                continue
            place.said = ""
            for process in run_block(place, block):
                place.wait_ready(process, place.folder / "admin.sock")
                daemon, place.folder = process, clone  # and the reader goes to another terminal
        expect(daemon, "no command runs sluice")
        equal(daemon.wait(40), 0, f"the exit code of `sluice run`:\n{daemon.output.read_text()}")
        wait_until(lambda: not list(place.root.rglob("*.pid")), 20, "the end of both nginx")


def test_commands_of_the_other_documents():
    for path in DOCUMENTS[1:]:
        if path == FIRST_SPLIT:
            continue
        blocks = fenced(path, "sh")
        if not blocks:
            continue
        with reader() as (place, sluice), Traffic(sluice):
            for block in blocks:
                for process in run_block(place, block):
                    place.end(process)
            if path.name == "runbook.md":
                (certificate,) = sluice.admin.show("certs")
                equal(certificate["state"], "valid", "the certificate, which was to be rotated")
                wait_until(lambda: answering_pid(sluice) not in (None, sluice.process.pid), 40, "another process")


def test_every_skipped_command_is_in_a_document():
    for path in DOCUMENTS:
        for block in fenced(path, "sh"):
            for command in commands(block):
                skip(command)
    equal(sorted(skipped), sorted(SKIPPED), "the commands that are skipped")


def test_commands_in_sentences_and_tables_are_known():
    """They need not make sense at this moment, so that a refusal is good."""
    with reader() as (place, sluice):
        address = sluice.admin.show("endpoints", upstream="blue")[0]["endpoint"]

        def known(where, command):
            for old, new in (("SVC", "web"), ("ADDRESS", address), ("10.0.0.5:8080", address), ("3600", "0"),
                             (" -w", "")):
                command = command.replace(old, new)
            script = f"{command} || [ $? = 1 ]"
            try:
                place.run(script)
            except Failure as failure:
                raise Failure(f"{where}: {failure}") from None

        found = 0
        for path in DOCUMENTS:
            for command in re.findall(r"`(sluice ctl [^`]+)`", path.read_text()):
                if not re.search(r"…|\bCMD\b|\bctl (drain|shutdown)$", command):
                    known(path.name, command)
                    found += 1
        migrating = (SOURCE / "docs/migrating.md").read_text()
        for cell in re.findall(r"^\|.*? \| (.*) \|$", migrating, re.M):
            for command in re.findall(r"`((?:set|show|rollout) [^`…]+)`", cell):
                known("migrating.md", f"sluice ctl {command}")
                found += 1
        expect(found > 20, f"only {found} commands were found")


def completed(fragment):
    """A whole configuration with this in it."""
    tree = tomllib.loads(fragment)
    more = [] if "listener" in tree else ['[[listener]]\nbind = "127.0.0.1:0"\n']
    for name, service in (tree.get("service") or {"web": {}}).items():
        for colour in {"blue", "green"} - set(service):
            more.append(f'[service.{name}.{colour}]\nendpoints = ["127.0.0.1:9001"]\n')
    return "\n".join([fragment, *more])


def test_configurations_are_valid():
    found = 0
    with Place() as place:
        for path in DOCUMENTS:
            for block in fenced(path, "toml"):
                (place.root / "sluice.toml").write_text(completed(block.text))
                try:
                    place.run("sluice check sluice.toml")
                except Failure as failure:
                    raise Failure(f"{block.where}: {failure}") from None
                found += 1
    expect(found > 4, f"only {found} configurations were found")


def test_json_is_json():
    for path in DOCUMENTS:
        for block in fenced(path, "json"):
            json.loads(block.text)


def test_links_lead_somewhere():
    for path in [*DOCUMENTS, *SOURCE.glob("deploy/**/*.md"), *SOURCE.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            expect((path.parent / target).exists(), f"{path.name}: there is no {target}")


def running_metrics():
    """{name: (type, labels)} of a process that has everything that is counted."""
    port = free_port()
    with authority() as root:
        config = {
            "admin": {"http": f"127.0.0.1:{port}"},
            "listener": [{"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:0", "tls": root.issue("front").tls()}],
            "cap": {"database": {"members": ["web/blue", "web/green"], "max_connections": 10}},
        }
        with Sluice(*pair(), {"rollout": PLAN}, config) as sluice:
            equal(sluice.get("/").status, 200, "status")
            equal(sluice.get("no path").status, 400, "status of what leads to no service")
            sluice.admin.do("trip web")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
                text = answer.read().decode()
    found = {}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M):
        suffix = "_count" if kind == "histogram" else ""
        sample = re.search(rf"^{name}{suffix}(?:{{(.*)}})? ", text, re.M)
        expect(sample, f"{name} has no value")
        found[name] = (kind, tuple(re.findall(r'(\w+)="', sample[1] or "")))
    return found


def test_metrics_are_those_of_a_running_process():
    rows = re.findall(r"^\| `(sluice_\w+)(?:\{(\S+)\})?` \| (\w+) \| \S", METRICS.read_text(), re.M)
    told = {name: (kind, tuple(labels.split(",")) if labels else ()) for name, labels, kind in rows}
    equal(len(rows), len(told), "metrics, without those that are told twice")
    there = running_metrics()
    equal(sorted(told.keys() - there.keys()), [], "what docs/metrics.md has and the process has not")
    equal(sorted(there.keys() - told.keys()), [], "what the process has and docs/metrics.md has not")
    for name in told:
        equal(told[name], there[name], f"type and labels of {name} in docs/metrics.md")


def test_queries_are_queries_on_metrics_that_there_are():
    (block,) = fenced(METRICS, "promql")
    queries = list(commands(block))
    told = set(re.findall(r"^\| `(sluice_\w+)", METRICS.read_text(), re.M))
    for name in re.findall(r"\bsluice_\w+", "\n".join(queries)):
        expect(name.removesuffix("_bucket") in told, f"{block.where}: nothing is called {name}")
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    with Place() as place:
        (place.root / "rules.yaml").write_text(json.dumps({"groups": [{"name": "docs", "rules": rules}]}))
        place.run("promtool check rules rules.yaml")


def test_the_list_of_alerts_is_that_of_the_rules():
    rules = (SOURCE / "deploy/prometheus/alerts.yaml").read_text()
    equal(sorted(re.findall(r"^\| (Sluice\w+) \|", METRICS.read_text(), re.M)),
          sorted(re.findall(r"- alert: (\w+)", rules)), "the alerts in docs/metrics.md")


if __name__ == "__main__":
    adopt_successors()
    sys.exit(main(globals()))
