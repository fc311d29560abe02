"""Active checks: what they ask, what they want, and what is said of those that fail."""

import sys
import threading

from harness import CALM, Sluice, equal, expect, main
from http1 import wait_until
from origin import Origin, refusing

OFTEN = {"interval": "50ms", "timeout": "30s", "rise": 1, "fall": 1}


def checked(origin, ready=True, workers=2, **health):
    service = {**CALM, "health": {**OFTEN, **health}, "outlier": {"panic": 0}}
    return Sluice(origin, service=service, workers=workers, ready=ready)


def health_of(sluice):
    (row,) = sluice.admin.show("endpoints")
    return row["health"], row["check_failure"]


def wait_for(sluice, health, failure):
    wait_until(lambda: health_of(sluice) == (health, failure), 20, f"{health} because of {failure}")


def answers(answer):
    """A script that answers checks with what `answer` returns, on a connection for each."""

    def script(connection):
        while (request := connection.request()) is not None:
            if request.get("user-agent") == "sluice-health":
                status, body = answer()
                connection.reply(status, body=body)
                return
            connection.reply(200, body=b"traffic")

    return script


def test_the_workers_do_not_multiply_checks():
    """Side by side with a process of one worker, one of four asks as often."""
    with Origin() as by_one, Origin() as by_four:
        with checked(by_one, workers=1, interval="100ms"), checked(by_four, workers=4, interval="100ms"):
            # A first check is followed by a random part of the interval.
            for origin in (by_one, by_four):
                origin.wait_for_requests(2)
            before = len(by_one.requests), len(by_four.requests)
            by_one.wait_for_requests(before[0] + 30, 60)
            ones, fours = len(by_one.requests) - before[0], len(by_four.requests) - before[1]
            # Jitter is a tenth; the rest is for a machine that holds one of them up.
            expect(ones / 2 < fours < ones * 2, f"{ones} checks of one worker's process, {fours} of that of four")


def test_while_a_check_waits_no_worker_begins_another():
    go = threading.Event()

    def script(connection):
        if connection.request() is not None:
            connection.wait(go)
            connection.reply(200)

    with Origin(script) as silent, Origin() as other, checked([silent, other], workers=4):
        other.wait_for_requests(20, 60)
        equal((silent.accepted, len(silent.requests)), (1, 1), "connections and checks of who does not answer")
        go.set()
        silent.wait_for_requests(3)


def test_a_check_asks_for_its_path_at_its_host_over_a_connection_of_its_own():
    with Origin() as origin, checked(origin, path="/ready?full=1", host="probe.test:81") as sluice:
        sluice.get("/")
        origin.wait_for_requests(3)
        probes = [one for one in origin.requests if one.get("user-agent") == "sluice-health"]
        traffic = [one for one in origin.requests if one not in probes]
        for one in probes:
            equal((one.method, one.target, one.get("host")), ("GET", "/ready?full=1", "probe.test:81"), "a check")
        expect(not {one.connection for one in probes} & {one.connection for one in traffic},
               "a check and a request share a connection")


def test_without_a_host_a_check_names_its_endpoint():
    with Origin() as origin, checked(origin) as sluice:
        equal(health_of(sluice), ("up", None), "what is told of it")
        equal(origin.requests[0].get("host"), origin.address, "the Host of a check")


def test_only_a_status_of_the_set_is_good():
    status = [204]
    with Origin(answers(lambda: (status[0], b""))) as origin, checked(origin, status=[204, "3xx"]) as sluice:
        for good, bad in ((204, 200), (301, 400), (399, 299)):
            status[0] = good
            wait_for(sluice, "up", None)
            equal(sluice.get("/").body, b"traffic", "the answer while it is up")
            status[0] = bad
            wait_for(sluice, "down", f"status {bad}")
            equal(sluice.get("/").status, 503, "the answer while it is down")


def test_a_text_that_is_asked_for_may_lie_anywhere_in_the_first_64_kib_of_the_body():
    good = [b"all is well", 9_000 * b"is wel " + b"is well"]
    bad = [b"all is ill", 60_000 * b"is wel " + b"is well" + 60_000 * b"."]
    body = [good[0]]
    with Origin(answers(lambda: (200, body[0]))) as origin, checked(origin, body="is well") as sluice:
        for one, other in zip(good, bad):
            body[0] = one
            wait_for(sluice, "up", None)
            body[0] = other
            wait_for(sluice, "down", "the body lacks the text that was asked for")


def test_a_text_that_comes_in_pieces_is_found():
    go = threading.Event()

    def script(connection):
        if connection.request() is None:
            return
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nis w\r\n")
        connection.wait(go)
        connection.send(b"3\r\nell\r\n0\r\n\r\n")

    with Origin(script) as origin, checked(origin, ready=False, body="is well") as sluice:
        origin.wait_for_requests(1)
        equal(health_of(sluice), ("unknown", None), "what is told before the rest has come")
        go.set()
        wait_for(sluice, "up", None)


def test_a_tcp_check_only_connects():
    with Origin() as origin, checked(origin, tcp=True) as sluice:
        wait_until(lambda: origin.accepted >= 3, 20, "three checks")
        equal((health_of(sluice), origin.requests), (("up", None), []), "what is told, and what was asked")
        origin.close()
        wait_for(sluice, "down", "connection refused")


def test_an_endpoint_that_never_came_up_is_told_with_the_reason():
    with refusing() as origin, checked(origin, ready=False) as sluice:
        wait_for(sluice, "down", "connection refused")
        expect("connection refused" in sluice.admin.text("show endpoints"), "the table does not say why")


def test_an_answer_that_is_no_http_is_told():
    def script(connection):
        connection.request()
        connection.send(b"220 mail.test ESMTP\r\n")

    with Origin(script) as origin, checked(origin, ready=False) as sluice:
        wait_until(lambda: health_of(sluice)[1], 20, "a failed check")
        expect("does not speak HTTP" in health_of(sluice)[1], f"it says {health_of(sluice)}")


sys.exit(main(globals()))
