"""Starting and reloading."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from harness import Sluice, binary, equal, expect, main, merge, refused, to_toml
from http1 import Client, is_refused, proxy_error, wait_until
from origin import Origin, pair


def test_reload_applies_what_changed_and_keeps_what_was_set():
    blue, green = pair()
    third = Origin(name="third")
    with blue, green, third, Sluice(blue, green) as sluice:
        sluice.admin.do("set weight web green=40")
        web = {"split": 20, "blue": {"endpoints": [third.address]}}
        sluice.write_config({"service": {"web": web}})
        reply = sluice.admin.do("reload")
        expect(any("endpoints" in change["key"] for change in reply["applied"]), f"the reply is {reply}")
        expect("40" in "".join(reply["kept"]), f"the split set at run time is not named: {reply}")
        expect(not any(change["key"].endswith(".split") for change in reply["applied"]),
               f"a split that is not in force is told as applied: {reply}")
        equal(sluice.admin.show("split web")[0]["green"], 40.0, "the split")
        sluice.admin.do("set weight web green=0")
        equal(sluice.get("/").get("x-origin"), "third", "who is blue now")


def test_reload_moves_a_split_that_nobody_else_has_set():
    blue, green = pair()
    with blue, green, Sluice(blue, green, {"split": 10}) as sluice:
        sluice.write_config({"service": {"web": {"split": 30}}})
        reply = sluice.admin.do("reload")
        equal(reply["applied"], [{"key": "service.web.split", "before": "10", "after": "30"}], "what is applied")
        equal(reply["kept"], [], "what is kept")
        equal(sluice.admin.show("split web")[0]["green"], 30.0, "the split")


def test_wrong_reload_changes_nothing_and_names_each_error():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        good = sluice.config_file.read_text()
        sluice.config_file.write_text(good.replace("workers", "wrokers") + "\n[service.other]\nsplitt = 1\n")
        reply = sluice.admin.json("reload")
        refused(reply, "invalid")
        message = reply["error"]["message"]
        expect("sluice.toml:1:" in message and "workers" in message, f"no hint with line and column: {message}")
        expect("splitt" in message, f"only one error is named: {message}")
        equal(sluice.get("/").get("x-origin"), "blue", "who answers")
        sluice.config_file.write_text(good)
        sluice.admin.do("reload")


def test_reload_keeps_and_names_what_was_set_by_hand():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        sluice.admin.do("set maxconn web/blue 7")
        sluice.admin.do("maintenance web on")
        sluice.admin.do(f"set endpoint web/green/{green.address} drain")
        kept = "\n".join(sluice.admin.do("reload")["kept"])
        for part in ("web.blue.max_connections is 7", "web.maintenance is on", f"{green.address} is in drain"):
            expect(part in kept, f"{part!r} is not in {kept!r}")
        equal(sluice.admin.upstream()["max_connections"], 7, "the limit")
        equal(sluice.get("/").status, 503, "the answer under maintenance")
        # The file says the same from now on, and is followed again.
        sluice.write_config({"service": {"web": {"maintenance": True, "blue": {"max_connections": 7}}}})
        equal(len(sluice.admin.do("reload")["kept"]), 1, "what is still kept")
        sluice.write_config({"service": {"web": {"maintenance": False, "blue": {"max_connections": 8}}}})
        sluice.admin.do("reload")
        equal(sluice.admin.upstream()["max_connections"], 8, "the limit of the file")
        equal(sluice.get("/").status, 200, "the answer after maintenance")


def test_reload_that_takes_green_away_leaves_no_split_for_the_next_green():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        sluice.admin.do("set weight web green=100")
        without = sluice.tree["service"]["web"].pop("green")
        sluice.write_config()
        equal(sluice.admin.do("reload")["kept"], [], "what was kept")
        sluice.write_config({"service": {"web": {"green": without}}})
        sluice.admin.do("reload")
        equal(sluice.admin.show("split web")[0]["green"], 0.0, "the split")
        equal(sluice.get("/").get("x-origin"), "blue", "who answers")


def test_a_trip_outlives_a_configuration_without_its_service():
    blue, green = pair()
    with blue, green, Sluice(blue, green, service={"split": 25}) as sluice:
        sluice.admin.do("trip web smells of smoke")
        generation = sluice.admin.show("split")[0]["generation"]
        sluice.lack_web(sluice.reload)
        (trip,) = sluice.admin.show("trip")
        equal((trip["state"], trip["reason"]), ("tripped", "smells of smoke"), "the trip")
        (split,) = sluice.admin.show("split")
        equal(split["green"], 0.0, "green's share")
        expect(split["generation"] >= generation, "the generation began anew")
        refused(sluice.admin.json("set weight web green=10"), "refused")
        equal({sluice.get("/").get("x-origin") for _ in range(30)}, {"blue"}, "who answers")
        sluice.admin.do("reset web")
        sluice.admin.do("set weight web green=10")


def test_clients_that_come_before_the_first_check_are_served():
    checked = threading.Event()

    def script(connection):
        while (request := connection.request()) is not None:
            if request.target == "/health":
                connection.wait(checked)
            connection.reply(200, body=b"ok")

    service = {"health": {"path": "/health", "interval": "100ms", "timeout": "30s"}}
    with Origin(script) as origin, Sluice(origin, service=service, ready=False) as sluice:
        equal(sluice.admin.json("show info")["ok"], True, "the admin socket before the first check")
        with sluice.client(timeout=30) as client:
            client.ask("GET", "/")
            # Taken from the socket's queue after a second, it waits in sluice's.
            wait_until(lambda: sluice.admin.show("info")[0]["queued"] == 1, 20, what="a request that waits")
            checked.set()
            equal(client.answer().status, 200, "the status")


def test_clients_are_told_once_the_first_check_has_failed():
    checked = threading.Event()

    def script(connection):
        while connection.request() is not None:
            connection.wait(checked)
            connection.reply(500)

    service = {"health": {"path": "/health", "interval": "60s", "timeout": "30s"}}
    with Origin(script) as origin, Sluice(origin, service=service, ready=False) as sluice:
        with sluice.client(timeout=30) as client:
            client.ask("GET", "/")
            checked.set()
            answer = client.answer()
            equal((answer.status, proxy_error(answer)), (503, "destination_unavailable"), "what the client sees")


def test_reload_to_an_endpoint_that_was_never_checked_refuses_nobody():
    checked = threading.Event()

    def script(connection):
        while (request := connection.request()) is not None:
            if request.target == "/health":
                connection.wait(checked)
            connection.reply(200, [("x-origin", "new")], b"ok")

    service = {"health": {"path": "/health", "timeout": "30s"}}
    with Origin(name="old") as old, Origin(script) as new, Sluice(old, service=service) as sluice:
        sluice.write_config({"service": {"web": {**service, "blue": {"endpoints": [new.address]}}}})
        sluice.admin.do("reload")
        with sluice.client(timeout=30) as client:
            client.ask("GET", "/")
            wait_until(lambda: sluice.admin.show("info")[0]["queued"] == 1, 20, what="a request that waits")
            checked.set()
            answer = client.answer()
            equal((answer.status, answer.get("x-origin")), (200, "new"), "what the client sees")


def has_open(sluice, path):
    """Has the daemon the file open?"""
    descriptors = Path(f"/proc/{sluice.process.pid}/fd").iterdir()
    return str(path.resolve()) in [os.path.realpath(one) for one in descriptors]


def check_opens_the_access_log_anew(sluice, number):
    log = Path(sluice.folder, "access.log")
    old = log.with_suffix(".1")
    sluice.get("/before")
    wait_until(lambda: log.exists() and "/before" in log.read_text(), what="the first line")
    log.rename(old)
    sluice.signal(number)
    wait_until(log.exists, what="the new file")
    wait_until(lambda: not has_open(sluice, old), what="the end of the old file")
    sluice.get("/after")
    wait_until(lambda: "/after" in log.read_text(), what="the line in the new file")
    asked = [[json.loads(line)["path"] for line in file.read_text().splitlines()] for file in (old, log)]
    equal(asked, [["/before"], ["/after"]], "requests in the old file and in the new one")


def test_sigusr1_opens_the_access_log_anew():
    with Origin() as origin, Sluice(origin) as sluice:
        check_opens_the_access_log_anew(sluice, signal.SIGUSR1)


def test_sighup_opens_the_access_log_anew_also_where_the_configuration_is_refused():
    for wrong in ("", "wrokers = 1\n"):
        with Origin() as origin, Sluice(origin) as sluice:
            sluice.config_file.write_text(wrong + sluice.config_file.read_text())
            check_opens_the_access_log_anew(sluice, signal.SIGHUP)
            kind = "reload_failed" if wrong else "reloaded"
            wait_until(lambda: any(one["type"] == kind for one in sluice.admin.show("events")), what=kind)


def test_closed_standard_streams_are_no_reason_to_abort():
    with Origin() as origin:
        for stream in ("0<&-", "1>&-", "2>&-"):
            with Sluice(origin) as sluice:
                sluice.stop()
                command = f'exec "$@" {stream}'
                sluice.command = lambda: ["/bin/sh", "-c", command, "sh", binary(), "run", "-c", str(sluice.config_file)]
                sluice.start()
                equal(sluice.get("/").status, 200, "the answer")
                sluice.signal(signal.SIGTERM)
                equal(sluice.process.wait(30), 0, f"the exit code with {stream}")


def test_a_state_dir_may_be_a_link_and_its_journal_empty():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        real, link = Path(sluice.folder, "real"), Path(sluice.folder, "state")
        real.mkdir()
        link.symlink_to(real)
        Path(real, "journal").touch()
        sluice.tree["state_dir"] = str(link)
        sluice.write_config()
        sluice.stop()
        sluice.start()
        expect("saved" not in sluice.admin.do("set weight web green=5"), "the change was not saved")
        sluice.process.kill()
        sluice.process.wait()
        with Path(real, "journal").open("r+b") as journal:
            journal.seek(-3, os.SEEK_END)
            journal.truncate()
        sluice.start()
        events = [row["message"] for row in sluice.admin.do("show events")["events"] if row["type"] == "state_damaged"]
        expect(len(events) == 1 and "journal" in events[0], f"what is said of the damage: {events}")


def test_a_journal_that_may_have_lost_a_trip_begins_on_blue():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        sluice.tree["state_dir"] = f"{sluice.folder}/state"
        sluice.write_config()
        sluice.stop()
        sluice.start()
        sluice.admin.do("set weight web green=50")
        sluice.admin.do("trip web")
        sluice.process.kill()
        sluice.process.wait()
        with Path(sluice.folder, "state", "journal").open("r+b") as journal:
            journal.seek(-1, os.SEEK_END)
            last = journal.read(1)
            journal.seek(-1, os.SEEK_END)
            journal.write(bytes([last[0] ^ 1]))
        sluice.start()
        (split,) = sluice.admin.show("split")
        equal((split["green"], split["source"]), (0.0, "recovery"), "the split")
        events = [row["message"] for row in sluice.admin.do("show events")["events"] if row["type"] == "state_damaged"]
        expect(len(events) == 1 and "begins on blue" in events[0], f"what is said of the damage: {events}")
        sluice.admin.do("set maxconn web/green 50")  # what is answered is on the disk, and what was before it
        sluice.process.kill()
        sluice.process.wait()
        sluice.start()
        equal(sluice.admin.show("split")[0]["green"], 0.0, "the split after another start")


def test_a_peer_on_a_unix_socket_is_believed():
    with Origin() as origin, Sluice(origin) as sluice:
        path = f"{sluice.folder}/in.sock"
        sluice.write_config({"listener": [*sluice.tree["listener"], {"bind": f"unix:{path}"}]})
        sluice.admin.do("reload")
        with Client(path) as client:
            fields = [("X-Forwarded-For", "9.9.9.9"), ("X-Forwarded-Proto", "https")]
            equal(client.get("/", fields).status, 200, "the answer")
        request = origin.requests[-1]
        equal(request.get("x-forwarded-for"), "9.9.9.9", "for whom")
        equal(request.get("x-forwarded-proto"), "https", "how")


def test_reload_adds_changes_and_removes_listeners():
    with Origin() as origin, Sluice(origin) as sluice:
        first = "127.0.0.1:%d" % sluice.address[1]
        path = f"{sluice.folder}/in.sock"
        sluice.tree["listener"] = [{"bind": first}, {"bind": f"unix:{path}"}]

        def reload():
            sluice.write_config()
            reply = sluice.admin.do("reload")
            equal(reply["needs_restart"], [], "what needs a restart")
            return [change["key"] for change in reply["applied"]]

        sluice.write_config()
        # The port of the kernel's choice has become an address of its own.
        sluice.stop()
        sluice.start()
        for trusted, forwarded in (["127.0.0.0/8"], "9.9.9.9, 127.0.0.1"), ([], "127.0.0.1"):
            sluice.tree["listener"][0]["trusted"] = trusted
            equal(reload(), [f"listener[{first}].trusted"], "what changed")
            sluice.get("/", [("X-Forwarded-For", "9.9.9.9")])
            equal(origin.requests[-1].get("x-forwarded-for"), forwarded, "what is believed")
        sluice.tree["listener"][1]["trusted"] = ["10.0.0.0/8"]
        equal(reload(), [f"listener[unix:{path}].trusted"], "what changed")
        equal(sluice.get("/", listener=1).status, 200, "the answer on the unix socket")
        sluice.tree["listener"].pop()
        equal(reload(), [f"listener[unix:{path}]"], "what changed")
        expect(not os.path.exists(path), "the socket is still there")
        sluice.tree["listener"].append({"bind": f"unix:{path}"})
        equal(reload(), [f"listener[unix:{path}]"], "what changed")
        equal(sluice.get("/", listener=1).status, 200, "the answer on the new unix socket")


def test_reload_tells_listeners_of_one_address_apart():
    """Port 0 may occur several times; each keeps what it was, and its clients."""
    with Origin() as origin, Sluice(origin) as sluice:
        believing, other = {"bind": "127.0.0.1:0", "trusted": ["127.0.0.0/8"]}, {"bind": "127.0.0.1:0"}
        sluice.tree["listener"] = [other, believing]
        sluice.stop()
        sluice.write_config()
        sluice.start()

        def believed(listener):
            sluice.get("/", [("X-Forwarded-For", "9.9.9.9")], listener=listener)
            return origin.requests[-1].get("x-forwarded-for") == "9.9.9.9, 127.0.0.1"

        equal([believed(0), believed(1)], [False, True], "who is believed")
        sluice.admin.do("reload")
        equal([believed(0), believed(1)], [False, True], "who is believed after a reload that changes nothing")
        gone, kept = sluice.listeners[:2]
        sluice.tree["listener"] = [believing]
        sluice.write_config()
        sluice.admin.do("reload")
        wait_until(lambda: is_refused(gone), 10, "the end of the listener that was removed")
        expect(not is_refused(kept), "the one that stays was closed")
        sluice.stop()


def test_reload_moves_a_listener_to_another_address_of_its_port():
    with Origin() as origin, Sluice(origin) as sluice:
        port = sluice.address[1]
        for bind in (f"127.0.0.1:{port}", f"0.0.0.0:{port}", f"127.0.0.2:{port}"):
            sluice.tree["listener"] = [{"bind": bind}]
            sluice.write_config()
            sluice.admin.do("reload")
            (listener,) = sluice.admin.show("info")[0]["listeners"]
            equal(listener["address"], bind, "where it listens")
        wait_until(lambda: is_refused(("127.0.0.1", port)), what="the old listener's end")
        with Client(("127.0.0.2", port)) as client:
            equal(client.get("/").status, 200, "the answer at the new address")


def test_reload_that_cannot_listen_changes_nothing():
    with Origin() as origin, Sluice(origin) as sluice, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path = f"{sluice.folder}/in.sock"
        sluice.tree["listener"] += [{"bind": f"unix:{path}"}, {"bind": "127.0.0.1:%d" % taken.getsockname()[1]}]
        sluice.tree["service"]["web"]["maintenance"] = True
        sluice.write_config()
        refused(sluice.admin.json("reload"), "io")
        equal(sluice.get("/").status, 200, "the answer")
        equal(len(sluice.admin.show("info")[0]["listeners"]), 1, "listeners")
        wait_until(lambda: not os.path.exists(path), what="the end of the socket opened in vain")


def test_a_file_that_would_have_to_be_waited_foris_refused():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        pipe = f"{sluice.folder}/pipe"
        os.mkfifo(pipe)
        refused(sluice.admin.json(f"check {pipe}"), "invalid")
        os.replace(pipe, f"{sluice.folder}/sluice.toml")
        reply = sluice.admin.json("reload")
        refused(reply, "invalid")
        expect("no regular file" in reply["error"]["message"], f"the reply is {reply}")
        equal(sluice.get().status, 200, "the answer after it")
        sluice.admin.do("shutdown")
        equal(sluice.process.wait(20), 0, "the exit code")


def test_changed_file_reloads_itself_where_that_is_wanted():
    with Origin() as origin, Sluice(origin, config={"reload_on_change": True}) as sluice:
        def events(kind):
            return [one for one in sluice.admin.do("show events")["events"] if one["type"] == kind]

        def swap(number, change):
            """As Kubernetes does it: the name is a link, and another is moved over it."""
            target = sluice.config_file.with_name(f"version-{number}.toml")
            target.write_text(to_toml(merge(sluice.tree, change)))
            link = sluice.config_file.with_name("link")
            link.symlink_to(target)
            link.rename(sluice.config_file)

        swap(0, {"service": {"web": {"timeouts": {"idle": "21s"}}}})
        wait_until(lambda: len(events("reloaded")) == 1, what="the first reload")
        equal(events("reloaded")[0]["fields"]["source"], "file", "who asked for it")
        swap(1, {"wrokers": 1})
        wait_until(lambda: events("reload_failed"), what="the refusal")
        expect("wrokers" in events("reload_failed")[-1]["message"], "no word of the mistake")
        swap(2, {"reload_on_change": False})
        wait_until(lambda: len(events("reloaded")) == 2, what="the second reload")
        equal(sluice.get("/").status, 200, "the answer")


def test_sighup_reloads():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        sluice.write_config({"service": {"web": {"blue": {"endpoints": [green.address]}}}})
        sluice.signal(signal.SIGHUP)
        wait_until(lambda: sluice.get("/").get("x-origin") == "green", what="the reload")
        (event,) = wait_until(lambda: [one for one in sluice.admin.show("events") if one["type"] == "reloaded"],
                              what="the event, which comes when all workers have the plan")
        expect("service.web.blue.endpoints" in event["fields"]["applied"], f"the event: {event}")


def test_a_service_that_comes_back_begins_as_the_file_says():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        sluice.admin.do("set weight web green=40")
        sluice.admin.do("set maxconn web/blue 3")
        web = sluice.tree["service"].pop("web")
        sluice.tree["service"]["other"] = {"blue": web["blue"]}
        sluice.write_config()
        sluice.admin.do("reload")
        sluice.tree["service"] = {"web": web}
        sluice.write_config()
        equal(sluice.admin.do("reload")["kept"], [], "what was kept")
        (split,) = sluice.admin.show("split")
        equal((split["green"], split["source"]), (0.0, "config"), "the split")
        equal(sluice.admin.upstream("blue")["max_connections"], None, "the limit")


def test_a_signal_that_comes_too_early_waits():
    with Origin() as origin:
        sluice = Sluice(origin)
        try:
            sluice.write_config()
            sluice.process = subprocess.Popen(sluice.command(), stdin=subprocess.DEVNULL, cwd=sluice.folder)

            def is_prepared():
                states = dict(
                    line.split(":", 1)
                    for line in Path(f"/proc/{sluice.process.pid}/status").read_text().splitlines()
                )
                mine = int(states["SigBlk"], 16) | int(states["SigCgt"], 16)
                return states["Name"].strip() == "sluice" and mine & 1 << signal.SIGHUP - 1

            wait_until(is_prepared, 20, what="a process that expects a SIGHUP")
            sluice.signal(signal.SIGHUP)
            sluice._wait_for_socket()
            kinds = lambda: [one["type"] for one in sluice.admin.do("show events")["events"]]
            wait_until(lambda: "reloaded" in kinds(), 20, what="the reload that was asked for")
            sluice.stop()
        finally:
            sluice._remove()


def check_start_fails(text, *wanted):
    with Origin() as origin:
        sluice = Sluice(origin)
        try:
            sluice.config_file.write_text(text.replace("BLUE", origin.address).replace("FOLDER", sluice.folder))
            run = subprocess.run(
                [binary(), "run", "-c", str(sluice.config_file)], capture_output=True, text=True, timeout=20
            )
            said = run.stdout + run.stderr
            expect(run.returncode != 0, f"it started: {said}")
            expect(len(said.splitlines()) == len(wanted) or "error:" in said, f"more than is to be said: {said}")
            for part in wanted:
                expect(part in said, f"{part!r} is not in: {said}")
        finally:
            sluice._remove()


GOOD = '[[listener]]\nbind = "127.0.0.1:0"\n[service.web]\n[service.web.blue]\nendpoints = ["BLUE"]\n'


def test_wrong_configuration_starts_nothing_and_names_every_error():
    wrong = GOOD + 'balanse = "p2c"\nmax_queue = "many"\n'
    check_start_fails(wrong, "sluice.toml:6:1: error: ", "sluice.toml:7:", "balance")


def test_missing_configuration_is_one_clear_line():
    run = subprocess.run([binary(), "run", "-c", "/nonexistent.toml"], capture_output=True, text=True, timeout=20)
    expect(run.returncode != 0 and "/nonexistent.toml" in run.stderr + run.stdout, f"it says: {run}")


def told_in_json(*words, code):
    run = subprocess.run([binary(), *words, "--json"], capture_output=True, text=True, timeout=20)
    equal((run.returncode, run.stderr), (code, ""), f"the exit code and the complaints of {words}")
    (line,) = run.stdout.splitlines()
    return json.loads(line)


def test_check_and_version_answer_in_json():
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'sluice "\N{DIAERESIS}".toml')
        file.write_text(GOOD.replace("BLUE", "127.0.0.1:1"))
        equal(told_in_json("check", str(file), code=0), {"ok": True, "file": str(file), "services": 1}, "no errors")
        file.write_text(GOOD.replace("BLUE", "127.0.0.1:1") + 'balanse = "p2c"\nmax_queue = "many"\n')
        found = told_in_json("check", str(file), code=1)
        equal((found["ok"], found["error"]["code"], found["file"]), (False, "invalid", str(file)), "two errors")
        first, second = found["errors"]
        equal((first["line"], first["column"], second["line"]), (6, 1, 7), "where they are")
        expect("balanse" in first["message"] and "balance" in first["hint"], f"the first says {first}")
        expect(second["message"] and second["hint"] is None, f"the second says {second}")
        (missing,) = told_in_json("check", f"{folder}/none.toml", code=1)["errors"]
        expect("cannot be opened" in missing["message"], f"of a file that is not there: {missing}")
    told = told_in_json("version", code=0)
    run = subprocess.run([binary(), "version"], capture_output=True, text=True, timeout=20)
    equal(run.stdout, f"sluice {told['version']}\n", "the version in words")


def test_occupied_port_is_one_clear_line():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        address = "127.0.0.1:%d" % sock.getsockname()[1]
        check_start_fails(GOOD.replace("127.0.0.1:0", address), address)
        check_start_fails(f'[admin]\nhttp = "{address}"\n' + GOOD, address)
        check_start_fails('[admin]\nsocket = "FOLDER/none/admin.sock"\n' + GOOD, "make its directory first")


if __name__ == "__main__":
    sys.exit(main(globals()))
