"""What the machine does not give: descriptors, and space on the disk."""

import json
import os
import resource
import subprocess
import sys
import threading

from harness import CALM, Sluice, binary, equal, expect, main, refused
from http1 import Client, wait_until
from origin import Origin, pair

FILES = resource.RLIMIT_NOFILE


def event_types(sluice):
    return [event["type"] for event in sluice.admin.show("events")]


def test_descriptor_limit_makes_clients_wait_and_fails_none():
    crowd = 300
    blue, green = pair()
    with blue, green, Sluice(blue, green, service={"split": 50}, limits={FILES: (64, 64)}) as sluice:
        clients = [sluice.client(timeout=60) for _ in range(crowd)]
        wait_until(lambda: "clients_wait" in event_types(sluice), what="an event that says that clients wait")
        for client in clients:
            client.ask("GET", "/", [("Connection", "close")])
        equal(sluice.admin.show("split")[0]["green"], 50.0, "the split, asked for in the crowd")
        for client in clients:
            equal(client.answer().status, 200, "an answer")
            client.close()
        for colour in ("blue", "green"):
            row = sluice.admin.upstream(colour)
            equal(row["attempts_failed"], 0, f"failures of {colour}")
        wait_until(lambda: "clients_admitted" in event_types(sluice), what="the end of the crowd")
        equal(sluice.get("/").status, 200, "an answer afterwards")


def test_descriptors_that_capped_upstreams_cannot_need_are_the_clients():
    files, crowd = 400, 250
    blue, green = pair()
    config = {"service": {"web": {side: {"max_connections": 4} for side in ("blue", "green")}}}
    with blue, green, Sluice(blue, green, config=config, limits={FILES: (files, files)}) as sluice:
        wait_until(lambda: sluice.admin.show("info")[0]["max_connections"] > crowd, what="a place for each")
        clients = [sluice.client(timeout=60) for _ in range(crowd)]
        for client in clients:
            equal(client.get("/").status, 200, "an answer beside all who stay")
        sluice.admin.do("set maxconn web/blue 0")
        wait_until(lambda: sluice.admin.show("info")[0]["max_connections"] < files / 2, what="half for the upstreams")
        for client in clients:
            equal(client.get("/").status, 200, "an answer to who was there")
            client.close()
        wait_until(lambda: sluice.get("/").status == 200, what="an answer to who comes then")


def test_clients_over_the_limit_are_counted_and_told_of_once():
    config = {"overload": {"max_connections": 1}, "admin": {"http": "127.0.0.1:0"}}
    with Origin() as origin, Sluice(origin, config=config, workers=1) as sluice:
        with sluice.client() as client:
            equal(client.get("/").status, 200, "the status of the only one")
            for _ in range(5):
                equal(sluice.get("/").status, 503, "the status of one too many")
            wait_until(lambda: "overload" in event_types(sluice), what="the event")
            equal(sluice.get("/").status, 503, "the status of a further one")
        (info,) = sluice.admin.show("info")
        equal((info["shed_connections"], info["shed_requests"]), (6, 0), "what was refused")
        host, _, port = info["admin_http"].rpartition(":")
        with Client((host, int(port))) as client:
            text = client.get("/metrics", host="localhost").body.decode()
        expect('sluice_shed_total{reason="max_connections"} 6\n' in text, "the metric")
        event = sluice.admin.show("events", type="overload")[0]
        expect(1 <= int(event["fields"]["connections"]) <= 5, f"the event is {event}")
        lines = [json.loads(line) for line in sluice.log().splitlines()]
        equal({line["level"] for line in lines if line["kind"] == "overload"}, {"warning"}, "the level in the log")


def test_too_low_a_descriptor_limit_is_one_clear_line():
    with Origin() as origin:
        sluice = Sluice(origin, limits={FILES: (16, 16)})
        try:
            sluice.write_config()
            run = subprocess.run(
                [binary(), "run", "-c", str(sluice.config_file)],
                capture_output=True,
                text=True,
                timeout=20,
                preexec_fn=sluice._set_limits,
            )
        finally:
            sluice._remove()
        equal(run.returncode, 1, "the exit code")
        (line,) = run.stderr.splitlines()
        expect("open files is 16" in line and "ulimit -n" in line, f"it says {line!r}")


def test_unreadable_page_is_one_clear_line_and_a_reload_of_it_changes_nothing():
    missing = {"maintenance": True, "maintenance_page": "/nonexistent/page.html"}
    with Origin() as origin, Sluice(origin) as sluice:
        sluice.write_config({"service": {"web": missing}})
        reply = sluice.admin.json("reload")
        refused(reply, "io")
        expect("/nonexistent/page.html" in reply["error"]["message"], f"the file is not named: {reply}")
        equal(sluice.get("/").status, 200, "the answer")
        run = subprocess.run(
            [binary(), "run", "-c", str(sluice.config_file)], capture_output=True, text=True, timeout=20
        )
        equal((run.returncode, len(run.stderr.splitlines())), (1, 1), f"code and lines of {run.stderr!r}")


def limit_files(sluice, size):
    """A disk that takes nothing more, or takes all again."""
    resource.prlimit(sluice.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def kill_and_start(sluice):
    sluice.process.kill()
    sluice.process.wait()
    sluice.start()


def with_state(sluice):
    sluice.tree["state_dir"] = f"{sluice.folder}/state"
    return sluice


def test_full_disk_is_told_with_each_change_and_traffic_goes_on():
    blue, green = pair()
    with blue, green, with_state(Sluice(blue, green, service=CALM)) as sluice:
        limit_files(sluice, 0)
        equal(sluice.admin.do("set weight web green=50").get("saved"), False, "what the answer says about saving")
        expect("NOT saved" in sluice.admin.text("set weight web green=100"), "the text does not say so")
        expect("state_not_saved" in event_types(sluice), "no event says so")
        equal(sluice.get("/").get("x-origin"), "green", "who answers")
        limit_files(sluice, resource.RLIM_INFINITY)
        reply = sluice.admin.do("set weight web green=42")
        expect("saved" not in reply, f"with space again the answer is {reply}")
        kill_and_start(sluice)
        equal(sluice.admin.show("split")[0]["green"], 42.0, "the split after a restart")


def test_what_a_full_disk_refused_is_saved_when_there_is_room():
    """Also where another service is saved meanwhile, and nobody touches this one again."""
    blue, green = pair()
    with blue, green:
        other = {"blue": {"endpoints": [blue.address]}, "green": {"endpoints": [green.address]}}
        config = {"service": {"other": other},
                  "route": [{"host": "other.test", "service": "other"}, {"path": "/", "service": "web"}]}
        with with_state(Sluice(blue, green, service=CALM, config=config)) as sluice:
            sluice.admin.do("set weight web green=50")
            limit_files(sluice, 0)
            equal(sluice.admin.do("trip web bad").get("saved"), False, "what the trip's answer says")
            equal(sluice.admin.do("freeze on the weekend").get("saved"), False, "what the freeze's answer says")
            limit_files(sluice, resource.RLIM_INFINITY)
            sluice.admin.do("set weight other green=0")
            wait_until(lambda: "state_saved_again" in event_types(sluice), 10, "the state to be whole again")
            equal(event_types(sluice).count("state_saved_again"), 1, "how often it was told")
            kill_and_start(sluice)
            equal(sluice.admin.show("trip web")[0]["state"], "tripped", "the latch after a restart")
            equal(sluice.admin.show("split web")[0]["green"], 0.0, "the split after a restart")
            equal(sluice.admin.show("info")[0]["frozen"], True, "the freeze after a restart")


def test_a_rollout_that_began_on_a_full_disk_goes_on_when_there_is_room():
    blue, green = pair()
    with blue, green, with_state(Sluice(blue, green, service=CALM)) as sluice:
        def rollout():
            return sluice.admin.show("rollout web")[0]

        limit_files(sluice, 0)
        sluice.admin.do("rollout start web steps=10,50 hold=1h")
        wait_until(lambda: [one["what"] for one in rollout()["waiting_for"]] == ["journal"], 10, "what it waits for")
        limit_files(sluice, resource.RLIM_INFINITY)
        wait_until(lambda: rollout()["state"] == "holding", 10, "the first step")


def test_a_disk_that_is_stuck_holds_up_neither_the_judge_nor_who_asks():
    def green_script(connection):
        while connection.request() is not None:
            connection.reply(500 if bad.is_set() else 200)

    bad = threading.Event()
    with Origin() as blue, Origin(green_script) as green:
        other = {"blue": {"endpoints": [blue.address]}, "green": {"endpoints": [green.address]}}
        config = {"service": {"other": other},
                  "route": [{"host": "other.test", "service": "other"}, {"path": "/", "service": "web"}]}
        with with_state(Sluice(blue, green, config=config)) as sluice:
            sluice.admin.do("set weight web green=50")
            # A journal that met a full disk is written anew, and to open a fifo takes two.
            fifo = f"{sluice.tree['state_dir']}/journal.new"
            os.mkfifo(fifo)
            limit_files(sluice, 0)
            equal(sluice.admin.do("freeze on the weekend").get("saved"), False, "what the freeze's answer says")
            limit_files(sluice, resource.RLIM_INFINITY)
            with sluice.admin.connect() as waiting:
                waiting.send(b"set weight other green=0\n")
                bad.set()
                with sluice.client(timeout=20) as client:
                    wait_until(lambda: client.get("/") and "tripped" in event_types(sluice), 20, "the trip")
                    equal(client.get("/").status, 200, "an answer after the trip")
                expect("saved" not in sluice.admin.show("split other")[0], "a question about what is being saved")
                drain_fifo(fifo)
                reply = waiting.rest().decode()
                expect(reply.startswith("other: green has 0 %"), f"the answer when the disk goes on: {reply!r}")
            wait_until(lambda: "state_saved_again" in event_types(sluice), 20, "the state to be whole again")
            wait_until(lambda: "report_written" in event_types(sluice), 20, "the trip's report")
            kill_and_start(sluice)
            equal(sluice.admin.show("trip web")[0]["state"], "tripped", "the latch after a restart")


def test_the_end_does_not_wait_for_a_disk_that_is_stuck():
    blue, green = pair()
    with blue, green, with_state(Sluice(blue, green, service=CALM)) as sluice:
        fifo = f"{sluice.tree['state_dir']}/journal.new"
        os.mkfifo(fifo)
        limit_files(sluice, 0)
        sluice.admin.do("set weight web green=50")
        limit_files(sluice, resource.RLIM_INFINITY)
        sluice.stop(15)


def drain_fifo(path):
    """Lets those go on who wait for a reader, until nobody is left."""
    with open(path, "rb") as reader:
        reader.read()


def beside(origin, **settings):
    """A second service, with settings of its own, so that no setting is that of all clients."""
    return {"service": {"other": {"blue": {"endpoints": [origin.address]}, **settings}},
            "route": [{"host": "other.test", "service": "other"}, {"path": "/", "service": "web"}]}


def test_a_service_holds_its_clients_to_its_own_time_for_a_body():
    with Origin() as origin:
        config = beside(origin, timeouts={"client_body": "1h"})
        with Sluice(origin, service={"timeouts": {"client_body": "200ms"}}, config=config) as sluice:
            with sluice.client(timeout=30) as client:
                client.send(b"POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 10\r\n\r\nabc")
                equal(client.answer("POST").status, 408, "the status")


def test_a_service_holds_its_clients_to_its_own_idle_time():
    with Origin() as origin:
        config = beside(origin, timeouts={"client_idle": "1h"})
        with Sluice(origin, service={"timeouts": {"client_idle": "300ms"}}, config=config) as sluice:
            with sluice.client(timeout=30) as client:
                equal(client.get("/").status, 200, "the status")
                equal(client.rest(), b"", "what an idle client of the hasty service is told")


def test_what_is_over_a_limit_of_its_service_ends_the_connection():
    with Origin() as origin:
        config = beside(origin)
        limits = {"limits": {"uri_bytes": "256B", "header_bytes": "1KiB"}}
        with Sluice(origin, service=limits, config=config) as sluice:
            for target, fields, status in (("/" + "a" * 300, [], 414), ("/", [("X-Long", "a" * 1500)], 431)):
                with sluice.client(timeout=30) as client:
                    answer = client.get(target, fields)
                    equal(answer.status, status, "the status")
                    equal(answer.get("connection"), "close", f"the connection after a {status}")
                    expect(client.at_end(), f"the connection stayed open after a {status}")


if __name__ == "__main__":
    sys.exit(main(globals()))
