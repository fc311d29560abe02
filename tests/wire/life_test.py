"""Starting, reloading, draining and ending."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time

from harness import Failure, Sluice, binary, equal, expect, main, refused
from http1 import Silence, wait_until
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
        equal(sluice.admin.show("split web")[0]["green"], 40.0, "the split")
        sluice.admin.do("set weight web green=0")
        equal(sluice.get("/").get("x-origin"), "third", "who is blue now")


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


def test_sighup_reloads():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        sluice.write_config({"service": {"web": {"blue": {"endpoints": [green.address]}}}})
        sluice.signal(signal.SIGHUP)
        wait_until(lambda: sluice.get("/").get("x-origin") == "green", what="the reload")


def test_sigterm_finishes_what_is_under_way():
    seen, go = threading.Event(), threading.Event()

    def script(connection):
        connection.request()
        seen.set()
        connection.wait(go)
        connection.reply(200, body=b"finished")

    with Origin(script) as origin, Sluice(origin, config={"drain_timeout": "20s"}) as sluice:
        idle = sluice.client()
        client = sluice.client(timeout=30)
        client.ask("GET", "/")
        expect(seen.wait(10), "the request never arrived")
        sluice.signal(signal.SIGTERM)
        expect(idle.at_end(), "an idle connection stays")
        wait_until(lambda: _is_refused(sluice.address), what="the listener's end")
        go.set()
        answer = client.answer()
        equal(answer.body, b"finished", "the answer")
        expect("close" in answer.options("connection") and client.at_end(), "the connection stays")
        sluice.wait_exit(15)


def _is_refused(address):
    with socket.socket() as sock:
        return sock.connect_ex(address) != 0


def test_sigterm_ends_in_time_though_somebody_stays():
    seen = threading.Event()

    def script(connection):
        connection.request()
        seen.set()
        connection.at_end()

    with Origin(script) as origin, Sluice(origin, config={"drain_timeout": "1s"}) as sluice, sluice.client() as client:
        client.ask("GET", "/")
        expect(seen.wait(10), "the request never arrived")
        began = time.monotonic()
        sluice.stop()
        expect(time.monotonic() - began < 10, "the drain took longer than its bound")


def test_drain_command_ends_the_process():
    with Origin() as origin, Sluice(origin) as sluice:
        equal(sluice.admin.json("drain")["ok"], True, "ok")
        sluice.wait_exit(15)


def test_shutdown_command_cuts_off():
    seen = threading.Event()

    def script(connection):
        connection.request()
        seen.set()
        connection.at_end()

    with Origin(script) as origin, Sluice(origin, config={"drain_timeout": "1m"}) as sluice, sluice.client() as client:
        client.ask("GET", "/")
        expect(seen.wait(10), "the request never arrived")
        equal(sluice.admin.json("shutdown")["ok"], True, "ok")
        sluice.wait_exit(15)


def test_waits_end_when_the_process_does():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice, sluice.admin.connect() as client:
        client.send(b"json wait 60 split web green=50\n")
        equal(sluice.admin.json("show split")["ok"], True, "a command meanwhile")
        sluice.stop()
        try:
            reply = client.rest()
        except Silence as error:
            raise Failure("the wait outlived the process") from error
        if reply:
            equal(json.loads(reply)["ok"], False, "ok")


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


def test_occupied_port_is_one_clear_line():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        address = "127.0.0.1:%d" % sock.getsockname()[1]
        check_start_fails(GOOD.replace("127.0.0.1:0", address), address)


if __name__ == "__main__":
    sys.exit(main(globals()))
