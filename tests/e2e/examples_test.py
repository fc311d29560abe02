"""deploy/examples: the commands of each README are run as they stand, but for
ports and paths, and say what the README says; the split is in force."""

import re
import shutil
import ssl
import sys
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from documents import Place, fenced  # noqa: E402
from harness import SOURCE, equal, expect, main  # noqa: E402
from http1 import Client, wait_until  # noqa: E402
from tls import TlsClient  # noqa: E402

EXAMPLES = SOURCE / "deploy/examples"
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")


class Example:
    """A copy of an example's folder, with free ports and `more` at the end of
    its configuration, that runs."""

    def __init__(self, place, name, more):
        self.place = place
        self.name = name
        self.folder = place.root / "deploy/examples" / name
        shutil.copytree(EXAMPLES / name, self.folder)
        self.run_folder = place.root / f"tmp/sluice-{name}"
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        place.use_free_ports(*(path.read_text() for path in files))
        for path in files:
            path.write_text(place.moved(path.read_text()))
        with (self.folder / "sluice.toml").open("a") as file:
            file.write(more)
        self.files = self.listing()
        start, *self.blocks = [one.text for one in fenced(self.folder / "README.md", "sh")]
        self.process = place.start(start)
        self.admin = place.wait_ready(self.process, self.run_folder / "admin.sock")

    def listing(self):
        """What lies in the folder, with times: nothing may be written there, as
        nothing can be where the package puts it."""
        return sorted((str(path), path.stat().st_mtime_ns) for path in self.folder.rglob("*"))

    def port(self, number):
        return "127.0.0.1", int(self.place.ports[str(number)])

    def run(self, number=0):
        """The output of a block that is for another terminal."""
        return self.place.run(self.blocks[number], self.folder)

    def says_what_the_readme_says(self):
        (wanted,) = fenced(self.folder / "README.md", "text")
        equal(_comparable(self.run()), _comparable(wanted.text), f"what the commands of {self.name} print")


def _comparable(text):
    return [TIME.sub("TIME", line).split() for line in text.splitlines()]


@contextmanager
def example(name, more=""):
    with Place() as place:
        one = Example(place, name, more)
        yield one
        equal(place.end(one.process), 0, f"the exit code of run.sh:\n{one.process.output.read_text()}")
        equal(one.listing(), one.files, "the example's own folder, after it ran")


def expect_split(one, service, ask):
    """`ask` gives the colour that answered: all of one at 0 and at 100, both at 50."""
    for green, wanted in ((0, {"blue"}), (100, {"green"}), (50, {"blue", "green"})):
        one.admin.do(f"set weight {service} green={green}")
        equal({ask() for _ in range(64)}, wanted, f"who answers at {green} %")


def body(client, target="/", **more):
    with client:
        answer = client.get(target, **more)
        equal(answer.status, 200, "status")
        return answer.body.decode().strip()


def test_every_example_is_in_the_list_and_here():
    folders = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
    listed = re.findall(r"^\| \[(\w+)\]\(\1\) \|", (EXAMPLES / "README.md").read_text(), re.M)
    equal(sorted(listed), folders, "the examples in the list")
    equal(sorted(re.findall(r"example\(\"(\w+)\"[,)]", Path(__file__).read_text())), folders, "the examples tested")


def test_one_machine_with_two_processes():
    with example("vm") as one:
        one.says_what_the_readme_says()
        expect_split(one, "web", lambda: body(Client(one.port(8080))))


def test_unix_sockets_only():
    with example("sidecar") as one:
        equal(one.place.ports, {}, "ports")
        one.says_what_the_readme_says()
        expect_split(one, "web", lambda: body(Client(str(one.run_folder / "in.sock"))))


def test_several_services():
    with example("services") as one:
        one.says_what_the_readme_says()

        def ask(service, target):
            answer = body(Client(one.port(8080)), target, host="shop.example.com")
            expect(answer.startswith(service + " "), f"{target} is answered by {answer}")
            return answer.split()[1]

        expect_split(one, "shop", lambda: ask("shop", "/"))
        expect_split(one, "api", lambda: ask("api", "/api/orders"))


def test_tls_on_both_sides():
    with example("tls") as one:
        one.says_what_the_readme_says()
        context = ssl.create_default_context(cafile=one.run_folder / "public.crt")

        def ask():
            answer = body(TlsClient(one.port(8443), context, "shop.example.com"), host="shop.example.com")
            return answer.removesuffix(", asked by CN=sluice")

        expect_split(one, "web", ask)


def test_rollouts_from_a_job():
    # Nothing here depends on how fast the machine is: no latency is too high.
    with example("ci", "max_latency_ratio = 1000\n") as one:
        one.run(0)
        equal(one.admin.show("split")[0]["green"], 100.0, "green's share after the good release")
        expect("exit code 1\n" in one.run(1), "the job did not fail")
        equal(one.admin.show("split")[0]["green"], 0.0, "green's share after the bad release")
        reports = lambda: list((one.run_folder / "reports").glob("*-trip-web.json"))  # noqa: E731
        wait_until(reports, 20, "a report of the trip")
        equal(len(reports()), 1, "reports of trips")
        one.place.environment["SLUICE_SOCKET"] = "/nonexistent"
        one.place.run("./rollout.sh web 5", one.folder, code=2)


sys.exit(main(globals()))
