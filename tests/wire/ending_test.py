"""Draining and ending."""

import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time

from harness import CALM, Failure, Sluice, equal, expect, main
from http1 import Silence, is_refused, wait_until
from origin import Origin, pair


def silent(seen):
    """An origin that sets `seen` at a request and never answers."""
    def script(connection):
        connection.request()
        seen.set()
        connection.at_end()
    return script


def test_sigterm_while_draining_changes_nothing():
    gate = threading.Event()

    def script(connection):
        while connection.request() is not None:
            connection.wait(gate)
            connection.reply(200, body=b"late")

    with Origin(script) as origin, Sluice(origin, config={"drain_timeout": "30s"}) as sluice:
        with sluice.client(timeout=30) as client:
            client.ask("GET", "/")
            origin.wait_for_requests(1)
            sluice.admin.do("drain")
            for _ in range(2):
                sluice.signal(signal.SIGTERM)
            wait_until(lambda: is_refused(sluice.address), what="the listener's end")
            gate.set()
            equal(client.answer().body, b"late", "the answer that was under way")
        equal(sluice.process.wait(30), 0, "the exit code")


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
        wait_until(lambda: is_refused(sluice.address), what="the listener's end")
        go.set()
        answer = client.answer()
        equal(answer.body, b"finished", "the answer")
        expect("close" in answer.options("connection") and client.at_end(), "the connection stays")
        sluice.wait_exit(15)


def test_sigterm_serves_who_was_connected_already():
    """The kernel connects clients while the process stands still, which is how
    those look that connect a moment before the end."""
    with Origin() as origin, Sluice(origin) as sluice:
        sluice.signal(signal.SIGSTOP)
        clients = [sluice.client(timeout=30) for _ in range(50)]
        for client in clients:
            client.ask("GET", "/")
        sluice.signal(signal.SIGTERM)
        sluice.signal(signal.SIGCONT)
        for client in clients:
            equal(client.answer().status, 200, "an answer")
        sluice.wait_exit(15)


def test_sigterm_finishes_a_request_of_which_half_has_come():
    with Origin() as origin, Sluice(origin, config={"drain_timeout": "20s"}) as sluice, sluice.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHo")
        wait_until(lambda: sluice.admin.show("sessions"), what="the connection")
        sluice.signal(signal.SIGTERM)
        wait_until(lambda: is_refused(sluice.address), what="the listener's end")
        client.send(b"st: a\r\n\r\n")
        equal(client.answer().status, 200, "the answer")
        sluice.wait_exit(15)


def test_sigterm_ends_in_time_though_somebody_stays():
    seen = threading.Event()
    with Origin(silent(seen)) as origin, Sluice(origin, config={"drain_timeout": "1s"}) as sluice, sluice.client() as client:
        client.ask("GET", "/")
        expect(seen.wait(10), "the request never arrived")
        began = time.monotonic()
        sluice.stop()
        expect(time.monotonic() - began < 10, "the drain took longer than its bound")
        expect('"kind":"drain_timeout"' in sluice.log(), "no word of who was cut off")


def test_drain_command_ends_the_process():
    with Origin() as origin, Sluice(origin) as sluice:
        equal(sluice.admin.json("drain")["ok"], True, "ok")
        sluice.wait_exit(15)


def test_nothing_is_left_of_a_unix_listener():
    with Origin() as origin, tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/in.sock"
        config = {"listener": [{"bind": "127.0.0.1:0"}, {"bind": f"unix:{path}"}]}
        with Sluice(origin, config=config) as sluice:
            expect(os.path.exists(path), "the socket")
            sluice.admin.do("shutdown")
            equal(sluice.process.wait(20), 0, "the exit code")
            expect(not os.path.exists(path), "the socket is still there after the end")
        with Sluice(origin) as other:
            sluice = Sluice(origin, config=config)
            sluice.tree["admin"] = {"socket": other.socket}
            try:
                sluice.start()
                raise AssertionError("it started")
            except Failure as error:
                expect(other.socket in str(error), f"it says {error}")
            finally:
                sluice._remove()
            expect(not os.path.exists(path), "the socket is there after a start that failed")


def test_a_path_that_another_process_has_bound_meanwhile_is_left_to_it():
    go_on = threading.Event()

    def slow(connection):
        if connection.request() is not None:
            connection.wait(go_on)
            connection.reply(200)
    with Origin(slow) as origin, Origin() as other, tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/in.sock"
        config = {"listener": [{"bind": "127.0.0.1:0"}, {"bind": f"unix:{path}"}], "drain_timeout": "1m"}
        with Sluice(origin, service=CALM, config=config) as old:
            client = old.client(timeout=60)
            client.ask("GET", "/")
            origin.wait_for_requests(1)
            old.admin.do("drain")
            with Sluice(other, service=CALM, config=config) as new:
                go_on.set()
                equal(client.answer().status, 200, "the answer of the old one")
                client.close()
                equal(old.process.wait(60), 0, "the old one's exit code")
                expect(os.path.exists(path), "the new one's socket is gone")
                equal(new.get("/", listener=1).status, 200, "the answer of the new one")


def test_a_path_that_something_else_lies_at_now_stays():
    with Origin() as origin, tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as other:
        path = f"{folder}/in.sock"
        config = {"listener": [{"bind": "127.0.0.1:0"}, {"bind": f"unix:{path}"}]}
        with Sluice(origin, config=config) as sluice:
            os.rename(path, f"{path}.old")
            other.bind(path)
            sluice.stop()
        expect(os.path.exists(path), "the other's socket is gone")


def test_shutdown_command_cuts_off():
    seen = threading.Event()
    with Origin(silent(seen)) as origin, Sluice(origin, config={"drain_timeout": "1m"}) as sluice, sluice.client() as client:
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


if __name__ == "__main__":
    sys.exit(main(globals()))
