"""Upstreams that fail, and what the client sees: the table, a test for each row.

FAULTS is that table. Each row has an origin that fails in its own way, and says
the status and the Proxy-Status error type (RFC 9209, 2.3) that the client gets,
how the attempt is counted, and how often the origin is asked when a retry is
allowed. Below it are more tests of connecting, and those of retries and of rescue.

docs/faults.md is the same table for people; --markdown writes it.
"""

import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from harness import CALM, LATER, SOURCE, Sluice, equal, expect, main, run_at_once
from http1 import Incomplete, Malformed, proxy_error, wait_until
from origin import Origin, refusing, serve, unanswering

SHORT = {"connect": "500ms", "first_byte": "500ms", "idle": "500ms"}
# Only `request` ends what never pauses for long; the connection is let go within first_byte then.
WHOLE = {"request": "2s", "first_byte": "1s"}

# ----------------------------------------------------------------------- faults
# Each answers a first request read whole, unless its name says otherwise.


def after_request(action):
    def script(connection):
        if connection.request() is not None:
            action(connection)

    return script


def sends(data, then=None):
    def action(connection):
        connection.send(data)
        if then:
            then(connection)

    return after_request(action)


def reset(connection):
    connection.reset()


def stall(connection):
    connection.at_end()


def closes_at_once(connection):
    return


def tires(connection):
    connection.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def resets_at_first_octet(connection):
    connection.fill()
    connection.reset()


def half_closes(connection):
    connection.half_close()
    connection.at_end()


def sends_interim_for_ever(connection):
    while True:
        connection.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 10)


def trickles_for_ever(piece, first=b""):
    """A piece now and then, often enough for any limit between two octets."""

    def action(connection):
        connection.send(first)
        tick = threading.Event()
        while True:
            connection.send(piece)
            tick.wait(0.05)

    return after_request(action)


def at_second_request(action):
    """The first connection serves one request, and fails at the second; others
    serve one each."""

    def script(connection):
        request = connection.request()
        connection.reply(200, [("X-Target", request.target)])
        if connection.number == 0 and connection.head() is not None:
            action(connection)

    return script


HEAD = b"HTTP/1.1 200 OK\r\n"
LENGTH = HEAD + b"Content-Length: 10\r\n\r\nhello"
CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
TWO_LENGTHS = HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nok"
BARE = HEAD + b"\r\nhello"


@dataclass
class Fault:
    name: str
    script: object  # of the origin; or one of NOBODY
    status: int  # 0: the origin's own 200 began, and is visibly cut short
    error: str  # Proxy-Status; "" where the head went down before the fault
    outcome: str  # of each attempt, or of one after the other
    attempts: int = 1  # when one retry is allowed
    timeouts: dict = field(default_factory=dict)
    kept: bool = False  # it comes with a later request of a connection

    def counted(self, retries):
        """The attempts, by outcome."""
        if self.kept:
            return {outcome: 1 for outcome in self.outcome.split(", ")}
        return {self.outcome: self.attempts if retries else 1}


NOBODY = (refusing, unanswering)  # addresses instead of an origin
FAULTS = [
    Fault("refuses_the_connection", refusing, 502, "connection_refused", "connect", 2),
    Fault("does_not_answer_the_connect", unanswering, 504, "connection_timeout", "connect", 2, SHORT),
    Fault("closes_at_once", closes_at_once, 502, "connection_terminated", "reset", 2),
    Fault("resets_at_first_octet", resets_at_first_octet, 502, "connection_terminated", "reset", 2),
    Fault("closes_without_answer", after_request(closes_at_once), 502, "connection_terminated", "reset", 2),
    Fault("resets_without_answer", after_request(reset), 502, "connection_terminated", "reset", 2),
    Fault("half_closes_without_answer", after_request(half_closes), 502, "connection_terminated", "reset", 2),
    Fault("says_nothing", after_request(stall), 504, "http_response_timeout", "timeout", 1, SHORT),
    Fault("closes_in_status_line", sends(b"HTTP/1.1 2"), 502, "http_response_incomplete", "reset", 2),
    Fault("resets_in_head", sends(HEAD + b"X-A: ", reset), 502, "http_response_incomplete", "reset", 2),
    Fault("closes_in_head", sends(HEAD + b"X-A: 1\r\n"), 502, "http_response_incomplete", "reset", 2),
    Fault("stalls_in_head", sends(HEAD + b"X-A: ", stall), 504, "http_response_timeout", "timeout", 1, SHORT),
    Fault("trickles_head_for_ever", trickles_for_ever(b"X", HEAD), 504, "http_response_timeout", "timeout", 1, SHORT),
    Fault("answers_garbage", sends(b"\0\1\2\3\r\n\r\n"), 502, "http_protocol_error", "reset", 2),
    Fault("answers_another_protocol", sends(b"220 mail ESMTP\r\n\r\n"), 502, "http_protocol_error", "reset", 2),
    Fault("contradicts_itself", sends(TWO_LENGTHS), 502, "http_protocol_error", "reset", 2),
    Fault("sends_interim_for_ever", after_request(sends_interim_for_ever), 502, "http_protocol_error", "reset", 1),
    Fault("closes_in_sized_body", sends(LENGTH), 0, "", "reset"),
    Fault("resets_in_sized_body", sends(LENGTH, reset), 0, "", "reset"),
    Fault("stalls_in_sized_body", sends(LENGTH, stall), 0, "", "timeout", 1, SHORT),
    Fault("closes_in_chunked_body", sends(CHUNKS), 0, "", "reset"),
    Fault("resets_in_chunked_body", sends(CHUNKS, reset), 0, "", "reset"),
    Fault("stalls_in_chunked_body", sends(CHUNKS, stall), 0, "", "timeout", 1, SHORT),
    Fault("breaks_chunks", sends(CHUNKS + b"xyz\r\n"), 0, "", "reset"),
    Fault("trickles_body_for_ever", trickles_for_ever(b"1\r\nx\r\n", CHUNKS), 0, "", "timeout", 1, WHOLE),
    Fault("resets_in_body_until_close", sends(BARE, reset), 0, "", "reset"),
    Fault("stalls_in_body_until_close", sends(BARE, stall), 0, "", "timeout", 1, SHORT),
    Fault("closes_kept_alive_at_request", at_second_request(closes_at_once), 200, "", "cancelled, ok", 2, kept=True),
    Fault("resets_kept_alive_at_request", at_second_request(reset), 200, "", "cancelled, ok", 2, kept=True),
    Fault("tires_of_waiting_kept_alive_at_request", at_second_request(tires), 200, "", "cancelled, ok", 2, kept=True),
]


PAGE = SOURCE / "docs" / "faults.md"


def page():
    lines = [
        "# What a client sees when an upstream fails",
        "",
        "Written by `tests/wire/faults_test.py --markdown`; each row is a test. The request is a GET and the upstream",
        "has one endpoint. *Attempts* is how often it is asked where one retry is allowed. Once there is a connection,",
        "a retry never follows a timeout, since the upstream may still be at work, nor anything that happens after the",
        "answer has begun: then the connection to the client is cut so that a part cannot be taken for the whole. A",
        "body that comes a little at a time for ever is ended by `timeouts.request` alone, which is off unless it is",
        "set. A request that meets the end of a kept-alive connection is sent again on another where its method allows",
        "that; this is no failure and no retry. So is one that such a connection",
        "answers by a 408 that closes.",
        "",
        "| the upstream … | the client sees | `Proxy-Status` error | counted as | attempts |",
        "| --- | --- | --- | --- | --- |",
    ]
    for fault in FAULTS:
        sees = str(fault.status) if fault.status else "the answer, visibly cut short"
        lines.append(f"| {fault.name.replace('_', ' ')} | {sees} | {fault.error and f'`{fault.error}`'} "
                     f"| {fault.outcome} | {fault.attempts} |")
    return "\n".join(lines) + "\n"


def test_page_is_this_table():
    equal(PAGE.read_text(), page(), "docs/faults.md; write it anew with --markdown")


def await_head(client):
    """Reads the head and the octets behind it, so that what comes later comes
    after the response has begun."""
    while b"hello" not in client.buffer and client.fill():
        pass


def visible_as_cut(client):
    """The origin's answer must have begun, and must not look whole."""
    await_head(client)
    try:
        answer = client.answer()
    except (Incomplete, Malformed) as error:
        equal(error.response.status, 200, "the status of what began")
        return
    expect(False, f"a body that was cut looks whole: {answer}")


def held_back(script, go):
    """The same fault, but what follows a sent beginning waits for `go`: else a
    reset could overtake octets that the proxy has not read."""

    def held(connection):
        send, parted = connection.send, []

        def send_then_wait(data):
            send(data)
            if not parted:
                parted.append(True)
                connection.wait(go)

        connection.send = send_then_wait
        script(connection)

    return held


def check_fault(fault, retries):
    go = threading.Event()
    if fault.status != 0:
        go.set()
    service = {**CALM, "timeouts": {**LATER, **fault.timeouts}, "retry": {"max": retries, "budget": 1}}
    upstream = fault.script() if fault.script in NOBODY else Origin(held_back(fault.script, go))
    with upstream as where, Sluice(where, service=service) as sluice:
        with sluice.client(timeout=20) as client:
            if fault.kept:
                equal(client.get("/before").status, 200, "the status before")
            before = sluice.admin.upstream()
            client.ask("GET", "/")
            if fault.status == 0:
                await_head(client)
                go.set()
                visible_as_cut(client)
            else:
                answer = client.answer()
                seen = answer.status, proxy_error(answer) or ""
                equal(seen, (fault.status, fault.error), "what the client sees")
                expect(answer.get("x-a") is None, "a field of the broken answer went down")
        counted = fault.counted(retries)
        attempts = sum(counted.values())
        row = wait_until(lambda: settled(sluice, before["attempts_total"] + attempts), 30, "the counted attempts")
        grown = {outcome: count - before["attempts"][outcome] for outcome, count in row["attempts"].items()}
        equal({outcome: count for outcome, count in grown.items() if count}, counted, "attempts, by outcome")
        equal(row["retries"], 0 if fault.kept else attempts - 1, "retries")
        equal(row["connections"], 0, "connections that are left")


def settled(sluice, attempts):
    row = sluice.admin.upstream()
    return row if row["attempts_total"] >= attempts and row["connections"] == 0 else None


def rows_as_tests():
    for fault in FAULTS:
        yield f"test_fault_{fault.name}", lambda fault=fault: check_fault(fault, 0)
        yield f"test_fault_{fault.name}_with_a_retry", lambda fault=fault: check_fault(fault, 1)


globals().update(rows_as_tests())


# ------------------------------------------------------------ no connection made


def test_refused_connection_is_tried_elsewhere_for_any_method():
    with refusing() as address, Origin() as good:
        blue = {"endpoints": [address, good.address], "balance": "round-robin"}
        with Sluice([address, good], service={**CALM, "blue": blue, "retry": {"budget": 1}}) as sluice:
            for method in ("GET", "POST", "PATCH"):
                for _ in range(4):
                    with sluice.client() as client:
                        client.ask(method, "/", body=b"x" * 100_000)
                        equal(client.answer().body, f"{method} 100000\n".encode(), "the answer")
            row = sluice.admin.upstream()
            expect(row["attempts"]["connect"] > 0, "the refusing endpoint was never chosen")
            equal(row["retries"], row["attempts"]["connect"], "retries")
            equal(row["attempts"]["ok"], 12, "successful attempts")


def test_origin_that_takes_no_body_ends_at_the_idle_timeout():
    def script(connection):
        connection.head()
        connection.wait(release)

    release = threading.Event()
    service = {**CALM, "timeouts": {**LATER, "idle": "500ms"}, "retry": {"max": 0}}
    with Origin(script, receive_buffer=4096) as origin, Sluice(origin, service=service) as sluice:
        with sluice.client(timeout=20) as client:
            client.ask("POST", "/", [("Content-Length", str(1 << 30))])
            sender = threading.Thread(target=_send_quietly, args=(client, b"x" * (80 << 20)), daemon=True)
            sender.start()
            answer = client.answer()
            equal((answer.status, proxy_error(answer)), (504, "connection_write_timeout"), "what the client sees")
        release.set()
        sender.join(20)


def _send_quietly(client, data):
    try:
        client.sock.sendall(data)
    except OSError:
        pass


# ------------------------------------------------- kept-alive at the worst moment


def check_stale(action, method, status):
    with Origin(at_second_request(action)) as origin:
        with Sluice(origin, service={**CALM, "retry": {"max": 0}}, workers=1) as sluice, sluice.client() as client:
            equal(client.get("/first").status, 200, "the first status")
            client.ask(method, "/second", body=b"hello")
            equal(client.answer().status, status, "the second status")
            row = sluice.admin.upstream()
            equal(row["attempts_failed"], 0 if status == 200 else 1, "failed attempts")
            equal(len(origin.requests), 3 if status == 200 else 2, "requests at the origin")


def test_kept_alive_connection_reset_at_the_next_request_is_no_failure():
    check_stale(reset, "PUT", 200)


def test_kept_alive_connection_closed_at_a_post_is_not_tried_again():
    check_stale(closes_at_once, "POST", 502)


def test_kept_alive_connection_closed_while_idle_is_not_used():
    def script(connection):
        connection.request()
        connection.reply()

    with Origin(script) as origin, Sluice(origin, service=CALM, workers=1) as sluice, sluice.client() as client:
        for number in range(5):
            equal(client.get(f"/{number}").status, 200, "the status")
            wait_until(lambda: sluice.admin.upstream()["connections"] == 0, what="noticing that it closed")
        equal(sluice.admin.upstream()["attempts"]["ok"], 5, "successful attempts")


def test_answer_and_half_close_is_whole():
    def script(connection):
        connection.request()
        connection.reply(200, body=b"whole")
        half_closes(connection)

    with Origin(script) as origin, Sluice(origin, service=CALM) as sluice:
        for _ in range(3):
            equal(sluice.get("/").body, b"whole", "the body")
        equal(origin.accepted, 3, "connections: none is used twice")


# ------------------------------------------------------------ retries and rescue


def failing_first(count, action, good=serve):
    """The first `count` connections fail after their request."""

    def script(connection):
        if connection.number < count:
            connection.request()
            return action(connection)
        return good(connection)

    return script


def reply_503(connection):
    connection.reply(503, reason="Service Unavailable")


def test_listed_status_is_tried_again_where_the_method_allows():
    for method in ("GET", "PUT", "DELETE", "POST", "PATCH"):
        status, asked = (503, 1) if method in ("POST", "PATCH") else (200, 2)
        with Origin(failing_first(1, reply_503)) as origin:
            with Sluice(origin, service={**CALM, "retry": {"budget": 1}}) as sluice, sluice.client() as client:
                client.ask(method, "/", body=b"hello")
                equal(client.answer().status, status, f"the answer to {method}")
                equal(len(origin.requests), asked, f"attempts of {method}")
                equal(origin.requests[-1].body, b"hello", "the body of the last attempt")


def test_listed_status_below_500_is_tried_again_and_counts_as_no_failure():
    def reply_429(connection):
        connection.reply(429, reason="Too Many Requests")

    with Origin(failing_first(1, reply_429)) as origin:
        with Sluice(origin, service={"retry": {"budget": 1, "on": ["429"]}}) as sluice:
            equal(sluice.get("/").status, 200, "the answer")
            equal(len(origin.requests), 2, "attempts")
            row = sluice.admin.upstream()
            equal((row["attempts_total"], row["attempts_failed"]), (2, 0), "attempts and failures counted")


def test_status_that_is_not_listed_is_passed_on():
    with Origin(failing_first(9, lambda one: one.reply(500, reason="Internal Server Error"))) as origin:
        with Sluice(origin, service={**CALM, "retry": {"budget": 1}}) as sluice:
            answer = sluice.get("/")
            equal((answer.status, proxy_error(answer)), (500, None), "what the client sees")
            equal(sluice.admin.upstream()["attempts"]["5xx"], 1, "attempts counted as 5xx")


def test_last_failed_status_is_passed_on():
    with Origin(failing_first(9, reply_503)) as origin:
        with Sluice(origin, service={**CALM, "retry": {"max": 2, "budget": 1}}) as sluice:
            answer = sluice.get("/")
            equal((answer.status, proxy_error(answer)), (503, None), "what the client sees")
            equal(sluice.admin.upstream()["attempts"]["5xx"], 3, "attempts counted as 5xx")


def test_body_is_sent_again_up_to_64_kib():
    for size, status, asked in ((64 << 10, 200, 2), (65 << 10, 502, 1)):
        with Origin(failing_first(1, reset)) as origin:
            with Sluice(origin, service={**CALM, "retry": {"budget": 1}}) as sluice, sluice.client() as client:
                client.ask("PUT", "/", body=b"b" * size)
                equal(client.answer().status, status, f"the answer to a PUT of {size}")
                equal([len(one.body) for one in origin.requests], [size] * asked, "the bodies that arrived")


def test_chunked_body_is_sent_again_with_its_trailers():
    with Origin(failing_first(1, reset)) as origin:
        with Sluice(origin, service={**CALM, "retry": {"budget": 1}}) as sluice, sluice.client() as client:
            client.ask("PUT", "/", [("Transfer-Encoding", "chunked")], b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
            equal(client.answer().status, 200, "the status")
            for request in origin.requests:
                equal((request.body, request.trailers), (b"hello", [("x-sum", "1")]), "what arrived")


def test_each_attempt_goes_to_another_endpoint():
    fault = after_request(reset)
    with Origin(fault) as one, Origin(fault) as two, Origin(fault) as three:
        with Sluice([one, two, three], service={**CALM, "retry": {"max": 2, "budget": 1}}) as sluice:
            for number in range(1, 4):
                equal(sluice.get("/").status, 502, "the status")
                equal([len(origin.requests) for origin in (one, two, three)], [number] * 3, "requests at each")


def test_retries_stay_within_their_budget():
    """An upstream that is down altogether gets a fifth more, and a little
    beside it; not several times as much."""
    requests, at_once = 400, 20
    with refusing() as address, Sluice(address, service={**CALM, "retry": {"max": 3, "budget": 0.2}}) as sluice:

        def ask():
            for _ in range(requests // at_once):
                with sluice.client() as client:
                    equal(client.get("/").status, 502, "the status")

        began = time.monotonic()
        run_at_once(ask, at_once)
        windows = 1 + (time.monotonic() - began) // 10
        row = sluice.admin.upstream()
        equal(row["attempts_total"], requests + row["retries"], "attempts")
        expect(row["retries"] <= requests * 0.2 + 3 * windows, f"{row['retries']} retries of {requests} requests")


def test_rescue_answers_from_blue_and_counts_against_green():
    with Origin(name="blue") as blue, Origin(failing_first(99, reset), "green") as green:
        service = {**CALM, "split": 100, "rescue": True, "retry": {"max": 0}}
        with Sluice(blue, green, service) as sluice:
            equal(sluice.get("/").get("x-origin"), "blue", "who answered")
            row = sluice.admin.upstream("green")
            equal((row["rescues"], row["attempts"]["reset"]), (1, 1), "rescues and resets of green")
            with sluice.client() as client:
                client.ask("POST", "/", body=b"x")
                equal(client.answer().status, 502, "the answer to a POST, which is not rescued")


def test_green_without_endpoints_leaves_its_share_to_blue():
    with Origin(name="blue") as blue, Origin(name="green") as green:
        with Sluice(blue, green, {**CALM, "split": 100}) as sluice:
            equal(sluice.get("/").get("x-origin"), "green", "who answered before")
            sluice.admin.do(f"set endpoint web/green/{green.address} maint")
            for _ in range(10):
                equal(sluice.get("/").get("x-origin"), "blue", "who answered")
            sluice.admin.do(f"set endpoint web/green/{green.address} ready")
            equal(sluice.get("/").get("x-origin"), "green", "who answered afterwards")


def test_no_endpoint_at_all_is_503():
    with Origin() as origin, Sluice(origin, service=CALM) as sluice:
        sluice.admin.do(f"set endpoint web/blue/{origin.address} maint")
        answer = sluice.get("/")
        equal((answer.status, proxy_error(answer)), (503, "destination_unavailable"), "what the client sees")
        expect(answer.get("retry-after"), "no Retry-After")
        row = sluice.admin.upstream()
        equal((row["rejected"]["no_endpoint"], row["attempts_total"]), (1, 0), "refusals and attempts")


def test_maintenance_is_503_and_asks_nobody():
    with Origin() as origin, Sluice(origin, service=CALM) as sluice:
        sluice.admin.do("maintenance web on")
        answer = sluice.get("/")
        equal(answer.status, 503, "the status")
        expect(answer.get("retry-after"), "no Retry-After")
        expect(answer.get("x-request-id"), "no X-Request-Id")
        page = Path(sluice.folder, "page.html")
        page.write_text("<p>back soon</p>")
        sluice.write_config({"service": {"web": {"maintenance_page": str(page)}}})
        sluice.admin.do("reload")
        answer = sluice.get("/", [("X-Request-Id", "mine-1")])
        equal((answer.status, answer.body), (503, b"<p>back soon</p>"), "the page")
        equal(answer.get("x-request-id"), "mine-1", "the request's id")
        sluice.admin.do("maintenance web off")
        equal(sluice.get("/").status, 200, "the status afterwards")
        equal(len(origin.requests), 1, "requests at the origin")


if __name__ == "__main__":
    if sys.argv[1:] == ["--markdown"]:
        PAGE.write_text(page())
        sys.exit()
    sys.exit(main(globals()))
