"""Nothing is lost when the binary or the configuration is exchanged under load."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from harness import CALM, LATER, Failure, Sluice, binary, equal, expect, main, refused
from http1 import Client, wait_until
from origin import FastOrigin, Origin, pair
from successor import Successor, adopt_successors, upgrade

CLIENTS = 6
PATIENT = {"max_queue": 1000, "queue_timeout": "1m"}  # who must wait does


class Load:
    """Clients that ask as fast as they can and count what does not succeed. A
    connection that was announced to end is made anew."""

    def __init__(self, address, target="/"):
        self.address = address
        self.target = target
        self.done = 0
        self.failures = []
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(CLIENTS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.await_more(50)
        return self

    def __exit__(self, kind, *_):
        self._over.set()
        for thread in self._threads:
            thread.join(30)
        if kind is None:
            equal(self.failures[:5], [], f"failures among {self.done} requests")

    def await_more(self, count):
        """Until so many more have been answered: the load goes on."""
        wanted = self.done + count
        wait_until(lambda: self.done >= wanted or self.failures, 60, f"{count} more answers")

    def _ask(self):
        client = None
        while not self._over.is_set():
            try:
                client = client or Client(self.address, 20)
                answer = client.get(self.target)
                if answer.status != 200:
                    raise Failure(f"status {answer.status}")
                if "close" in answer.options("connection"):
                    client.close()
                    client = None
                with self._lock:
                    self.done += 1
            except Exception as error:
                with self._lock:
                    self.failures.append(repr(error))
                client = None
        if client is not None:
            client.close()


def test_upgrades_under_load_lose_nothing():
    with FastOrigin(b"b") as blue, FastOrigin(b"g") as green:
        config = {"admin": {"http": "127.0.0.1:0"}}
        sluice = Sluice(blue, green, config=config)
        sluice.tree["state_dir"] = f"{sluice.folder}/state"
        os.mkdir(sluice.tree["state_dir"])
        with sluice:
            http = sluice.admin.show("info")[0]["admin_http"]
            sluice.admin.do("set weight web green=30")
            generation = sluice.admin.show("split")[0]["generation"]
            with Load(sluice.address) as load:
                for _ in range(3):
                    upgrade(sluice)
                    load.await_more(100)
            (split,) = sluice.admin.show("split")
            equal((split["green"], split["generation"]), (30.0, generation), "what was saved")
            equal(sluice.admin.show("info")[0]["admin_http"], http, "the address of the probes")
            host, _, port = http.rpartition(":")
            with Client((host, int(port))) as probe:
                equal(probe.get("/ready", host="localhost").status, 200, "the probe")


def until_taken_over(sluice):
    """The old process goes on draining."""

    def another_answers():
        try:
            return sluice.admin.show("info")[0]["pid"] != sluice.process.pid
        except (OSError, ValueError):  # it ends a session that it has not answered
            return False

    wait_until(another_answers, 30, "the new process")


def test_both_processes_together_keep_every_cap():
    """Under load, with a queue, an upstream's own limit and one that two share."""
    with Origin() as shared, Origin() as own:
        service = {**CALM, "split": 50, "blue": PATIENT, "green": PATIENT}
        other = {**CALM, "blue": {**PATIENT, "endpoints": [own.address], "max_connections": 3}}
        config = {"cap": {"database": {"members": ["web/blue", "web/green"], "max_connections": 4}},
                  "service": {"other": other}, "drain_timeout": "30s",
                  "route": [{"path": "/own", "service": "other"}, {"path": "/", "service": "web"}]}
        with Sluice(shared, shared, service=service, config=config) as sluice:
            with Load(sluice.address) as web, Load(sluice.address, "/own") as rest:
                for _ in range(4):
                    upgrade(sluice)
                    web.await_more(100)
                    rest.await_more(100)
            expect(shared.most_open <= 4, f"the shared origin saw {shared.most_open} connections")
            expect(own.most_open <= 3, f"the other origin saw {own.most_open} connections")
            wait_until(lambda: sluice.admin.show("caps")[0]["connections"] <= 4, what="the cap's use")


def test_a_place_of_the_old_process_is_free_for_the_new_one_when_it_ends():
    """Not before, though the old one drains for long, and at once then."""
    go = threading.Event()

    def script(connection):
        while (request := connection.request()) is not None:
            if request.target == "/held":
                connection.wait(go, 60)
            connection.reply(200, body=b"ok")

    with Origin(script) as origin:
        service = {**CALM, "timeouts": LATER, "blue": {**PATIENT, "max_connections": 2}}
        with Sluice(origin, service=service, config={"drain_timeout": "60s"}) as sluice:
            held = [sluice.client(timeout=60) for _ in range(2)]
            for client in held:
                client.ask("GET", "/held")
            origin.wait_for_requests(2)
            old = sluice.process
            sluice.signal(signal.SIGUSR2)
            until_taken_over(sluice)
            late = sluice.client(timeout=60)
            late.ask("GET", "/late")
            wait_until(lambda: sluice.admin.upstream()["queue_depth"] == 1, what="the request in the queue")
            # A plan of its own takes nothing from the old process, nor would a third know of it.
            sluice.admin.do("reload")
            new = sluice.admin.show("info")[0]["pid"]
            os.kill(new, signal.SIGUSR2)
            wait_until(lambda: [event for event in sluice.admin.show("events") if event["type"] == "upgrade_failed"
                                and "still has connections" in event["message"]], what="the refusal of a third process")
            equal(sluice.admin.show("info")[0]["pid"], new, "who serves")
            equal(old.poll(), None, "the old process's exit code while it drains")
            equal(origin.accepted, 2, "connections to the origin")
            go.set()
            for client in (*held, late):
                equal(client.answer().status, 200, "the status")
                client.close()
            expect(origin.most_open <= 2, f"the origin saw {origin.most_open} connections")
            equal(old.wait(40), 0, "the old process's exit code")
            sluice.process = Successor(sluice.admin.show("info")[0]["pid"])


def test_a_request_that_an_old_client_makes_late_finds_a_place():
    """One whose head had begun to come when the new process took over."""
    with Origin() as origin:
        service = {**CALM, "blue": {**PATIENT, "max_connections": 4}}
        with Sluice(origin, service=service, config={"drain_timeout": "60s"}) as sluice:
            client = sluice.client(timeout=60)
            client.send(b"GET /late HTTP/1.1\r\nHost: a\r\n")
            wait_until(lambda: sluice.admin.show("info")[0]["connections"] == 1, what="the client")
            with Load(sluice.address) as load:
                old = sluice.process
                sluice.signal(signal.SIGUSR2)
                until_taken_over(sluice)
                load.await_more(200)
                equal(old.poll(), None, "the old process's exit code while it drains")
                client.send(b"\r\n")
                equal(client.answer().status, 200, "the late answer")
                client.close()
            expect(origin.most_open <= 4, f"the origin saw {origin.most_open} connections")
            equal(old.wait(40), 0, "the old process's exit code")
            sluice.process = Successor(sluice.admin.show("info")[0]["pid"])


def test_what_was_set_by_hand_goes_on_in_the_new_process():
    blue, green = pair()
    with blue, green, Origin() as other, Sluice(blue, [green, other]) as sluice:
        endpoint = sluice.tree["service"]["web"]["green"]["endpoints"][0]
        for command in ("set weight web green=30", "set maxconn web/blue 7", f"set endpoint web/green/{endpoint} drain",
                        "maintenance web on", "freeze on the weekend"):
            sluice.admin.do(command)
        generation = sluice.admin.show("split")[0]["generation"]
        upgrade(sluice)
        (split,) = sluice.admin.show("split")
        equal((split["green"], split["generation"]), (30.0, generation), "the split")
        equal(sluice.admin.upstream()["max_connections"], 7, "the limit")
        (row,) = [one for one in sluice.admin.show("endpoints") if one["endpoint"] == endpoint]
        equal(row["mode"], "drain", "the endpoint's mode")
        equal(sluice.get("/").status, 503, "the answer in maintenance")
        refused(sluice.admin.json("set weight web green=40"), "refused")
        sluice.admin.do("trip web smoke")
        upgrade(sluice)
        (trip,) = sluice.admin.show("trip")
        equal((trip["state"], trip["reason"]), ("tripped", "smoke"), "the trip, without a state_dir")


def test_questions_are_answered_across_an_upgrade():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        def ctl(*words):
            command = [binary(), "ctl", "-s", sluice.socket, *words]
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        waiting = ctl("wait", "60", "split", "web", "green=40")
        for _ in range(3):
            asking = [ctl("show", "split") for _ in range(4)]
            upgrade(sluice)
            for one in asking:
                out, error = one.communicate(timeout=60)
                equal((one.returncode, error), (0, ""), "what who asked meanwhile got")
                expect("web" in out, f"the answer: {out}")
        sluice.admin.do("set weight web green=40")
        _, error = waiting.communicate(timeout=60)
        equal((waiting.returncode, error), (0, ""), "the wait that began in the first process")


def test_a_drain_that_waits_for_its_turn_when_the_new_process_asks_for_the_state():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        clients = [sluice.admin.connect() for _ in range(48)]
        for client in clients:
            client.send(b"show upstreams; " * 30 + b"drain\n")
        sluice.signal(signal.SIGUSR2)
        equal(sluice.process.wait(40), 0, "the exit code")
        said = [line["kind"] for line in map(json.loads, sluice.log().splitlines())]
        expect("draining" in said and "upgraded" not in said, f"what the log says: {said}")


def test_upgrade_waits_for_healthy_endpoints():
    health = {"path": "/health", "interval": "100ms"}
    with Origin() as origin, Sluice(origin, service={"health": health}) as sluice, Load(sluice.address) as load:
        upgrade(sluice)
        load.await_more(100)


def test_a_trip_while_the_new_process_starts_is_not_lost():
    """The new one has the state, and waits for its first checks; the old one still serves and judges."""
    slow, bad, over = threading.Event(), threading.Event(), threading.Event()

    def green_script(connection):
        while (request := connection.request()) is not None:
            if request.target == "/health" and slow.is_set():
                over.wait(30)
            broken = bad.is_set() and request.target != "/health"
            connection.reply(500 if broken else 200)

    def blue_script(connection):
        while (request := connection.request()) is not None:
            if request.target == "/health" and slow.is_set():
                over.wait(30)
            connection.reply(200)

    health = {"path": "/health", "interval": "200ms", "timeout": "30s"}
    with Origin(blue_script) as blue, Origin(green_script) as green:
        sluice = Sluice(blue, green, service={"health": health})
        sluice.tree["state_dir"] = f"{sluice.folder}/state"
        with sluice:
            sluice.admin.do("rollout start web steps=50,100 hold=1h")
            wait_until(lambda: sluice.admin.show("rollout")[0]["state"] == "holding", 10, "the first step")
            generation = sluice.admin.show("split")[0]["generation"]
            old = sluice.process
            slow.set()
            sluice.signal(signal.SIGUSR2)
            wait_until(lambda: "upgrading" in sluice.log(), 10, "the upgrade")
            # It has taken the state before it says so.
            wait_until(lambda: sluice.log().count('"kind":"started"') == 2, 20, "the new process")
            bad.set()
            with Client(sluice.address, 20) as client:
                wait_until(lambda: client.get("/") is not None and '"tripped"' in sluice.log(), 20, "the trip")
            bad.clear()
            over.set()
            slow.clear()
            equal(old.wait(40), 0, "the old process's exit code")
            sluice.process = Successor(sluice.admin.show("info")[0]["pid"])
            expect(sluice.process.pid != old.pid, "the old process answers")
            (split,) = sluice.admin.show("split")
            equal((split["green"], split["generation"]), (0.0, generation + 1), "the split")
            equal(sluice.admin.show("trip")[0]["state"], "tripped", "the latch")
            equal(sluice.admin.show("rollout")[0]["state"], "tripped", "the rollout")
            sluice.process.kill()
            sluice.process.wait()
            sluice.start()
            equal(sluice.admin.show("trip")[0]["state"], "tripped", "the latch after a restart")


def test_upgrade_keeps_unix_sockets():
    with Origin() as origin:
        sluice = Sluice(origin)
        path = f"{sluice.folder}/in.sock"
        sluice.tree["listener"] = [{"bind": f"unix:{path}"}]
        with sluice:
            upgrade(sluice)
            equal(sluice.get("/").status, 200, "an answer over the old path")
            sluice.stop()
            expect(not os.path.exists(path) and not os.path.exists(sluice.socket), "a path stays behind")


def check_upgrade_by_name(name):
    with Origin() as origin:
        sluice = Sluice(origin)
        real = os.path.abspath(binary())
        old, new = Path(sluice.folder, "old"), Path(sluice.folder, "new")
        for release in (old, new):
            release.mkdir()
        (old / "sluice").symlink_to(real)
        (new / "sluice").write_text(f'#!/bin/sh\necho "$0" > {new}/started\nexec {real} "$@"\n')
        (new / "sluice").chmod(0o755)
        current = Path(sluice.folder, "current")
        current.symlink_to(old)
        path = os.environ["PATH"]
        os.environ["PATH"] = f"{current}:{path}"
        sluice.command = lambda: [name.format(current=current), "run", "-c", str(sluice.config_file)]
        try:
            with sluice:
                Path(sluice.folder, "next").symlink_to(new)
                Path(sluice.folder, "next").rename(current)
                upgrade(sluice)
                equal(Path(new, "started").read_text().strip(), str(current / "sluice"), "what was started")
                equal(sluice.get("/").status, 200, "the status")
                current.unlink()  # what was started is still there
                upgrade(sluice)
                equal(sluice.get("/").status, 200, "the status without the name")
        finally:
            os.environ["PATH"] = path


def test_upgrade_starts_what_its_name_leads_to_now():
    """The usual layout of releases: a symlink that is pointed at the next one."""
    for name in ("{current}/sluice", "current/sluice", "sluice"):
        check_upgrade_by_name(name)


def check_failed_upgrade(spoil, message):
    blue, green = pair()
    with blue, green:
        sluice = Sluice(blue, green)
        sluice.tree["state_dir"] = f"{sluice.folder}/state"
        os.mkdir(sluice.tree["state_dir"])
        with sluice:
            good = sluice.config_file.read_text()
            with Load(sluice.address):
                sluice.config_file.write_text(spoil(good))
                sluice.signal(signal.SIGUSR2)
                wait_until(lambda: "upgrade_failed" in sluice.log(), 40, "the failure's event")
            expect(message in sluice.log(), lambda: f"the log does not say {message!r}:\n{sluice.log()[-2000:]}")
            pid = sluice.process.pid
            wait_until(lambda: _answers(sluice), 10, "the admin socket")
            equal(sluice.admin.show("info")[0]["pid"], pid, "who serves")
            sluice.admin.do("set weight web green=12.5")
            sluice.config_file.write_text(good)
            upgrade(sluice)
            equal(sluice.admin.show("split")[0]["green"], 12.5, "what was set after the failure")


def _answers(sluice):
    try:
        return sluice.admin.json("show info")["ok"]
    except OSError:
        return False


def test_upgrade_with_a_wrong_configuration_changes_nothing():
    check_failed_upgrade(lambda good: "wrokers = 1\n" + good, "exit code 1")


def test_upgrade_that_fails_after_the_state_was_let_go_takes_it_back():
    def spoil(good):
        return "\n".join('access = "/nonexistent/access.log"' if line.startswith("access =") else line
                         for line in good.splitlines())

    check_failed_upgrade(spoil, "exit code 1")


def test_upgrade_with_more_and_fewer_workers_loses_nothing():
    with FastOrigin(b"b") as blue, Sluice(blue, workers=2) as sluice:
        with Load(sluice.address) as load:
            for workers in (4, 1):
                sluice.write_config({"workers": workers})
                upgrade(sluice)
                equal(sluice.admin.show("info")[0]["workers"], workers, "the workers")
                load.await_more(100)


def test_reload_100_times_under_load_loses_nothing():
    with FastOrigin(b"b") as blue, FastOrigin(b"g") as green:
        with Sluice(blue, green, service={"split": 50}) as sluice, Load(sluice.address) as load:
            for number in range(100):
                sluice.write_config({"service": {"web": {"timeouts": {"idle": f"{number + 10}s"}}}})
                expect(sluice.admin.do("reload")["applied"], "nothing was applied")
                load.await_more(5)


if __name__ == "__main__":
    adopt_successors()
    sys.exit(main(globals()))
