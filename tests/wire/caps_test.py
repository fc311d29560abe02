"""Caps on connections and the queues behind them."""

import sys
import threading
import time
from contextlib import contextmanager

from harness import CALM, LATER, Sluice, equal, expect, main, run_at_once
from http1 import proxy_error, wait_until
from origin import Origin


class Gate:
    """An origin that answers when it is told to."""

    def __init__(self):
        self.go = threading.Event()

    def script(self, connection):
        while connection.request() is not None:
            connection.wait(self.go)
            connection.reply(200, body=b"ok")


class Worker:
    """An origin that does its work whether anybody waits for it or not; `most`
    is how many requests it ever had at work at once."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.at_work = self.most = 0
        self.lock = threading.Lock()

    def script(self, connection):
        while connection.request() is not None:
            with self.lock:
                self.at_work += 1
                self.most = max(self.most, self.at_work)
            time.sleep(self.seconds)
            with self.lock:
                self.at_work -= 1
            connection.reply(200, body=b"ok")


def capped(**keys):
    return {**CALM, "timeouts": LATER, "blue": {"max_connections": 1, "queue_timeout": "10s", **keys}}


def ask_from(sluice):
    client = sluice.client(timeout=20)
    client.ask("GET", "/")
    return client


def queue_of(sluice, depth):
    wait_until(lambda: sluice.admin.upstream()["queue_depth"] == depth, what=f"a queue of {depth}")


@contextmanager
def behind_one_at_work(leave):
    """A sluice whose only place is taken: who comes waits. In the end that one is
    answered, `leave` clients have left, and the origin has not heard of them."""
    gate = Gate()
    with Origin(gate.script) as origin, Sluice(origin, service=capped()) as sluice:
        first = ask_from(sluice)
        origin.wait_for_requests(1)
        yield sluice
        gate.go.set()
        equal(first.answer().status, 200, "the status of the one that stayed")
        first.close()
        equal(len(origin.requests), 1, "requests at the origin")
        equal(sluice.admin.upstream()["rejected"]["client_gone"], leave, "those that left")


def test_full_queue_refuses_at_once():
    gate = Gate()
    with Origin(gate.script) as origin, Sluice(origin, service=capped(max_queue=2)) as sluice:
        first = ask_from(sluice)
        origin.wait_for_requests(1)
        waiting = [ask_from(sluice) for _ in range(2)]
        queue_of(sluice, 2)
        answer = sluice.get("/")
        equal((answer.status, proxy_error(answer)), (503, "connection_limit_reached"), "what the client sees")
        gate.go.set()
        for client in [first, *waiting]:
            equal(client.answer().status, 200, "the status of those that waited")
            client.close()
        row = sluice.admin.upstream()
        equal(row["rejected"]["queue_full"], 1, "refusals")
        equal((row["attempts_failed"], row["queue_depth"], origin.most_open), (0, 0, 1), "failures, queue, connections")


def test_an_idle_connection_of_another_worker_is_no_reason_to_refuse():
    with Origin() as origin:
        blue = {"endpoints": [origin.address], "max_connections": 1, "max_queue": 0}
        with Sluice(origin, service={**CALM, "blue": blue}, workers=2) as sluice:
            statuses = [sluice.get().status for _ in range(40)]
            equal(set(statuses), {200}, "what clients saw that came one after the other")
            equal(origin.most_open, 1, "connections at a time")


def test_who_comes_while_idle_connections_leave_is_not_refused():
    """Also where the origin takes its time to let them go."""
    all_are_here, let_go = threading.Event(), threading.Event()

    def slow_to_leave(connection):
        while connection.request() is not None:
            connection.wait(all_are_here)
            connection.reply(200)
        connection.wait(let_go)

    gate = Gate()  # none of green's is free for another before all are there
    with Origin(slow_to_leave) as old, Origin(gate.script) as new:
        config = {"cap": {"db": {"members": ["web/blue", "web/green"], "max_connections": 4}}}
        service = {**CALM, "blue": {"max_queue": 0}, "green": {"max_queue": 0}}
        with Sluice(old, new, service=service, config=config, workers=1) as sluice:
            clients = [ask_from(sluice) for _ in range(4)]
            old.wait_for_requests(4)
            all_are_here.set()
            for client in clients:
                equal(client.answer().status, 200, "blue's answer")
                client.close()
            wait_until(lambda: sluice.admin.show("caps")[0]["connections"] == 4, 10, "four idle connections")
            sluice.admin.do("set weight web green=100")
            waiting = [ask_from(sluice) for _ in range(4)]
            new.wait_for_requests(4)
            gate.go.set()
            for client in waiting:
                equal(client.answer().status, 200, "green's answer")
                client.close()
            equal(sluice.admin.upstream("green")["peak_connections"], 4, "green's most connections")
            let_go.set()


def test_place_in_the_queue_is_lost_when_its_time_is_up():
    gate = Gate()
    with Origin(gate.script) as origin, Sluice(origin, service=capped(queue_timeout="300ms")) as sluice:
        first = ask_from(sluice)
        origin.wait_for_requests(1)
        answer = sluice.get("/")
        equal((answer.status, proxy_error(answer)), (503, "connection_limit_reached"), "what the client sees")
        gate.go.set()
        equal(first.answer().status, 200, "the status of the first")
        first.close()
        row = sluice.admin.upstream()
        equal((row["rejected"]["queue_timeout"], row["attempts_failed"]), (1, 0), "refusals and failures")


def test_client_that_leaves_gives_up_its_place():
    gate = Gate()
    with Origin(gate.script) as origin, Sluice(origin, service=capped()) as sluice:
        first = ask_from(sluice)
        origin.wait_for_requests(1)
        gone, patient = ask_from(sluice), ask_from(sluice)
        queue_of(sluice, 2)
        gone.reset()
        queue_of(sluice, 1)
        gate.go.set()
        for client in (first, patient):
            equal(client.answer().status, 200, "the status of those that stayed")
            client.close()
        equal(len(origin.requests), 2, "requests at the origin")
        equal(sluice.admin.upstream()["rejected"]["client_gone"], 1, "those that left")


def test_client_that_closes_gives_up_its_place_and_is_not_asked_for():
    with behind_one_at_work(leave=4) as sluice:
        for leave in ("close", "half_close"):
            for method in (b"GET", b"POST"):
                client = sluice.client(timeout=20)
                client.send(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
                queue_of(sluice, 1)
                getattr(client, leave)()
                queue_of(sluice, 0)


def test_client_that_half_closes_is_answered():
    gate = Gate()
    with Origin(gate.script) as origin, Sluice(origin, service=capped()) as sluice:
        client = ask_from(sluice)
        client.half_close()
        origin.wait_for_requests(1)
        gate.go.set()
        equal(client.answer().status, 200, "the status")
        client.close()


def test_a_cap_that_is_taken_away_while_it_is_full_is_stood_at_no_more():
    gate = Gate()
    with Origin(gate.script) as origin, Origin() as fresh:
        config = {"cap": {"db": {"max_connections": 1, "members": ["web/blue"]}}}
        blue = {"endpoints": [origin.address], "max_queue": 0}
        service = {**CALM, "blue": blue, "health": {"tcp": True, "interval": "100ms"}}
        with Sluice(origin, service=service, config=config, workers=1) as sluice:
            first = ask_from(sluice)
            origin.wait_for_requests(1)
            equal(sluice.get().status, 503, "the status at a full cap")
            gate.go.set()
            equal(first.answer().status, 200, "the status of the first")
            first.close()
            del sluice.tree["cap"]
            sluice.tree["service"]["web"]["blue"]["endpoints"] = [fresh.address]
            sluice.reload()
            sluice.get()  # while the check is awaited
            wait_until(lambda: sluice.get().status == 200, 20, "an answer of the new endpoint")


def test_a_retry_under_a_full_cap_goes_to_another_endpoint():
    def failing(connection):
        while connection.request() is not None:
            connection.reply(503)
    with Origin(failing) as bad, Origin() as good:
        blue = {"endpoints": [bad.address, good.address], "max_connections": 1}
        service = {**CALM, "blue": blue, "retry": {"max": 1, "on": ["503"], "budget": 1.0}}
        with Sluice([bad, good], service=service, workers=1) as sluice:
            statuses = {sluice.get().status for _ in range(20)}
            equal(statuses, {200}, "what clients saw")


def test_client_that_leaves_with_a_body_gives_up_its_place():
    with behind_one_at_work(leave=7) as sluice:
        for sent in (20000, 50000):
            for leave in ("close", "reset"):
                gone = sluice.client(timeout=20)
                gone.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n" + b"x" * sent)
                queue_of(sluice, 1)
                getattr(gone, leave)()
                queue_of(sluice, 0)
        for leave in ("close", "reset"):  # more ahead than is read
            gone = sluice.client(timeout=20)
            gone.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 120000\r\n\r\n" + b"x" * 119000)
            queue_of(sluice, 1)
            getattr(gone, leave)()
            queue_of(sluice, 0)
        chunked = sluice.client(timeout=20)
        chunked.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        queue_of(sluice, 1)
        chunked.close()
        queue_of(sluice, 0)


def test_a_cap_that_a_reload_brings_binds_the_connections_that_are_there():
    gate = Gate()
    with Origin(gate.script) as origin:
        with Sluice(origin, service={**CALM, "timeouts": LATER}) as sluice:
            warm = [ask_from(sluice) for _ in range(6)]
            origin.wait_for_requests(6)
            busy = warm.pop()
            gate.go.set()
            for client in warm:
                equal(client.answer().status, 200, "the status")
            sluice.write_config({"cap": {"db": {"members": ["web/blue"], "max_connections": 2}}})
            sluice.admin.do("reload")
            equal(busy.answer().status, 200, "the status of who was under way")
            origin.wait_for(lambda: origin.open == 0, what="the end of connections that the cap does not count")
            for client in (busy, *warm):
                equal(client.get("/").status, 200, "the status under the cap")
            (cap,) = [row for row in sluice.admin.show("caps") if row["cap"] == "db"]
            equal(cap["connections"], origin.open, "what the cap counts")


def test_queue_is_first_in_first_out():
    gate = Gate()
    with Origin(gate.script) as origin, Sluice(origin, service=capped(), workers=1) as sluice:
        clients = []
        for number in range(6):
            client = sluice.client(timeout=20)
            client.ask("GET", f"/{number}")
            clients.append(client)
            if number == 0:
                origin.wait_for_requests(1)
            else:
                queue_of(sluice, number)
        gate.go.set()
        for client in clients:
            equal(client.answer().status, 200, "the status")
            client.close()
        equal([one.target for one in origin.requests], [f"/{number}" for number in range(6)], "the order")


def test_cap_is_never_exceeded():
    with Origin() as origin:
        service = {**CALM, "blue": {"max_connections": 4, "max_queue": 1000, "queue_timeout": "20s"}}
        with Sluice(origin, service=service, workers=2) as sluice:

            def ask():
                with sluice.client(timeout=30) as client:
                    for _ in range(15):
                        equal(client.get("/").status, 200, "the status")

            run_at_once(ask, 40)
            row = sluice.admin.upstream()
            expect(origin.most_open <= 4, f"the origin saw {origin.most_open} connections at once")
            expect(row["peak_connections"] <= 4, f"the cap was at {row['peak_connections']}")
            equal((row["attempts"]["ok"], row["queue_depth"]), (600, 0), "answers and the queue at the end")


def test_cap_holds_when_clients_reset():
    work = Worker(0.6)
    service = {**CALM, "blue": {"max_connections": 2, "queue_timeout": "20s"}}
    with Origin(work.script) as origin, Sluice(origin, service=service) as sluice:

        def leave():
            for _ in range(4):
                client = sluice.client(timeout=20)
                client.ask("GET", "/")
                time.sleep(0.1)
                client.reset()

        run_at_once(leave, 2)
        with sluice.client(timeout=20) as client:
            equal(client.get("/").status, 200, "the status of who stays")
        equal((work.most, origin.most_open), (2, 2), "requests at work and connections at the origin")


def test_cap_holds_when_the_upstream_takes_too_long():
    work = Worker(1)
    service = {**CALM, "timeouts": {"first_byte": "200ms"}, "retry": {"max": 0},
               "blue": {"max_connections": 2, "queue_timeout": "20s"}}
    with Origin(work.script) as origin, Sluice(origin, service=service) as sluice:

        def ask():
            for _ in range(3):
                with sluice.client(timeout=20) as client:
                    equal(client.get("/").status, 504, "the status")

        run_at_once(ask, 2)
        equal((work.most, origin.most_open), (2, 2), "requests at work and connections at the origin")


def test_a_drain_does_not_wait_for_an_origin_that_owes_an_answer_to_nobody():
    gate = Gate()
    with Origin(gate.script) as origin, Sluice(origin, service=CALM) as sluice:
        client = ask_from(sluice)
        origin.wait_for_requests(1)
        client.reset()
        wait_until(lambda: sluice.admin.show("info")[0]["connections"] == 0, what="the client's leaving")
        sluice.stop(seconds=4)


def events_of(sluice, kind):
    return [(row["service"], row["fields"]) for row in sluice.admin.show("events", type=kind)]


def test_warning_at_an_upstreams_own_limit():
    gate = Gate()
    with Origin(gate.script) as origin, Sluice(origin, service=capped(max_connections=4)) as sluice:
        clients = [ask_from(sluice) for _ in range(2)]
        origin.wait_for_requests(2)
        sluice.admin.do("set maxconn web/blue 3")  # 2 of 3 is below 70 %
        time.sleep(0.3)
        equal(events_of(sluice, "cap_warning"), [], "warnings below the line")
        clients.append(ask_from(sluice))
        wait_until(lambda: events_of(sluice, "cap_warning"), what="the warning")
        equal(events_of(sluice, "cap_warning"), [("web", {"upstream": "blue", "used": "3", "max": "3"})], "warnings")
        sluice.admin.do("set maxconn web/blue 10")
        wait_until(lambda: events_of(sluice, "cap_calm"), 30, "the end of the warning")
        equal(events_of(sluice, "cap_calm"), [("web", {"upstream": "blue"})], "the end of it")
        gate.go.set()
        for client in clients:
            equal(client.answer().status, 200, "the status")
            client.close()


def test_warning_at_a_shared_cap_for_a_burst_between_two_looks():
    def script(connection):
        connection.request()
        connection.reply(200, [("Connection", "close")])

    cap = {"cap": {"db": {"members": ["web/blue"], "max_connections": 2, "warn_at": 0.5}}}
    with Origin(script) as origin, Sluice(origin, service=CALM, config=cap) as sluice:
        equal(sluice.get("/").status, 200, "the status")
        wait_until(lambda: events_of(sluice, "cap_warning"), what="the warning")
        equal(events_of(sluice, "cap_warning"), [("", {"cap": "db", "used": "1", "max": "2"})], "warnings")


def test_lowered_cap_is_reached_and_a_raised_one_used():
    gate = Gate()
    service = {**CALM, "blue": {"max_connections": 3, "queue_timeout": "20s"}}
    with Origin(gate.script) as origin, Sluice(origin, service=service) as sluice:
        clients = [ask_from(sluice) for _ in range(3)]
        origin.wait_for_requests(3)
        sluice.admin.do("set maxconn web/blue 1")
        clients.append(ask_from(sluice))
        queue_of(sluice, 1)
        sluice.admin.do("set maxconn web/blue 4")
        origin.wait_for_requests(4)
        gate.go.set()
        for client in clients:
            equal(client.answer().status, 200, "the status")
            client.close()
        sluice.admin.do("set maxconn web/blue 1")

        def reached():
            equal(sluice.get("/").status, 200, "the status while the cap is being reached")
            return sluice.admin.upstream()["connections"] <= 1

        wait_until(reached, what="the lowered cap")


if __name__ == "__main__":
    sys.exit(main(globals()))
