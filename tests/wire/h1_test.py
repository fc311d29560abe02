"""HTTP/1.1 through the proxy as well-behaved peers speak it."""

import sys
import threading

from harness import KiB, MiB, Sluice, digest, equal, expect, main, pattern
from http1 import Silence, read_message, wait_until
from origin import Origin


def echo(connection):
    """Answers with the request's body, framed as the request was."""
    while (request := connection.request()) is not None:
        fields = [("X-Framing", request.framing)]
        if request.framing != "chunked":
            connection.reply(200, fields, request.body)
            continue
        chunks = f"{len(request.body):x}\r\n".encode() + request.body + b"\r\n" if request.body else b""
        trailers = "".join(f"{name}: {value}\r\n" for name, value in request.trailers).encode()
        connection.reply(200, [*fields, ("Transfer-Encoding", "chunked")], length=False)
        connection.send(chunks + b"0\r\n" + trailers + b"\r\n")


def chunked(*parts, trailers=b""):
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailers + b"\r\n"


# ------------------------------------------------------------------ connections


def test_h1_keep_alive_reuses_both_connections():
    with Origin() as origin, Sluice(origin, workers=1) as sluice, sluice.client() as client:
        for number in range(20):
            equal(client.get(f"/{number}").get("x-target"), f"/{number}", "the answer's target")
        equal(origin.accepted, 1, "connections at the origin")


def test_h1_idle_client_is_let_go_without_a_word():
    service = {"timeouts": {"client_idle": "300ms"}}
    with Origin() as origin, Sluice(origin, service=service) as sluice, sluice.client() as client:
        client.get("/")
        equal(client.rest(), b"", "what an idle client is told")


def test_h1_http10_is_answered_and_closed():
    with Origin() as origin, Sluice(origin) as sluice, sluice.client() as client:
        response = client.get("/old", version="1.0")
        equal((response.status, response.body), (200, b"GET 0\n"), "the answer")
        expect(client.at_end(), "an HTTP/1.0 connection stayed open")
        equal(origin.requests[0].version, "1.1", "the version upstream")


def test_h1_http10_keep_alive_is_granted():
    with Origin() as origin, Sluice(origin) as sluice, sluice.client() as client:
        for number in range(3):
            response = client.get(f"/{number}", [("Connection", "keep-alive")], version="1.0")
            equal(response.get("x-target"), f"/{number}", "the answer's target")
            expect("keep-alive" in response.options("connection"), "the client is not told that it may stay")


def test_h1_pipelined_requests_are_answered_in_order():
    with Origin() as origin, Sluice(origin) as sluice, sluice.client() as client:
        targets = [f"/{number}" for number in range(500)]
        client.send("".join(f"GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n" for target in targets).encode())
        equal([client.answer().get("x-target") for _ in targets], targets, "the order of the answers")


def test_h1_pipelined_requests_behind_a_slow_one_wait():
    first_seen, go = threading.Event(), threading.Event()

    def script(connection):
        while (request := connection.request()) is not None:
            if request.target == "/slow":
                first_seen.set()
                connection.wait(go)
            connection.reply(200, [("X-Target", request.target)])

    with Origin(script) as origin, Sluice(origin) as sluice, sluice.client() as client:
        client.send(b"".join(b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % one for one in (b"slow", b"2", b"3")))
        expect(first_seen.wait(10), "the slow request never arrived")
        client.timeout = 0.3
        try:
            client.fill()
            expect(False, f"an answer overtook the slow one: {bytes(client.buffer)!r}")
        except Silence:
            pass
        client.timeout = 10
        go.set()
        equal([client.answer().get("x-target") for _ in range(3)], ["/slow", "/2", "/3"], "the order")


def test_h1_client_that_ends_its_side_still_gets_its_answer():
    seen, go = threading.Event(), threading.Event()

    def script(connection):
        connection.request()
        seen.set()
        connection.wait(go)
        connection.reply(200, body=b"late")

    with Origin(script) as origin, Sluice(origin) as sluice, sluice.client() as client:
        client.ask("POST", "/", body=b"hello")
        client.half_close()
        expect(seen.wait(10), "the request never arrived")
        go.set()
        equal(client.answer().body, b"late", "the answer")
        expect(client.at_end(), "the connection stayed open")


def test_h1_client_that_leaves_takes_its_upstream_request_with_it():
    seen, left = threading.Event(), threading.Event()

    def script(connection):
        connection.request()
        seen.set()
        if connection.at_end():
            left.set()

    with Origin(script) as origin, Sluice(origin) as sluice:
        with sluice.client() as client:
            client.ask("GET", "/")
            expect(seen.wait(10), "the request never arrived")
            client.reset()
        expect(left.wait(10), "the origin still works for a client that has left")
        wait_until(lambda: sluice.admin.upstream()["connections"] == 0, what="giving the connection back")
        equal(sluice.admin.upstream()["attempts"]["cancelled"], 1, "cancelled attempts")
        equal(sluice.admin.upstream()["attempts_failed"], 0, "failed attempts")


def test_h1_listeners_on_ipv6_and_unix_sockets():
    with Origin() as origin:
        sluice = Sluice(origin)
        listeners = ["127.0.0.1:0", "[::1]:0", f"unix:{sluice.folder}/in.sock"]
        sluice.tree["listener"] = [{"bind": one} for one in listeners]
        with sluice:
            equal(len(sluice.listeners), 3, "listeners")
            for number in range(3):
                with sluice.client(number) as client:
                    equal(client.get(f"/{number}").get("x-target"), f"/{number}", f"listener {number}")


# --------------------------------------------------------------------- bodies


def test_h1_h1_content_length_both_ways():
    with Origin(echo) as origin, Sluice(origin) as sluice, sluice.client() as client:
        for size in (0, 1, 2, 4095, 16 * KiB, 65535, 65536, 65537, 3 * MiB + 1):
            body = pattern(size)
            client.ask("POST", "/", [("Content-Length", str(size))], body)
            response = client.answer()
            equal((response.framing, digest(response.body)), ("length", digest(body)), f"{size} octets")


def test_h1_h1_chunked_both_ways():
    with Origin(echo) as origin, Sluice(origin) as sluice, sluice.client() as client:
        for sizes in ((), (1,), (1, 2, 3), (65535, 1, 65537), (1 * MiB, 7, 1 * MiB), (1,) * 1000):
            parts = [pattern(size) for size in sizes]
            client.ask("POST", "/", [("Transfer-Encoding", "chunked")], chunked(*parts))
            response = client.answer()
            equal(response.framing, "chunked", "the framing")
            equal(digest(response.body), digest(b"".join(parts)), f"chunks of {sizes[:5]}")


def test_h1_h1_trailers_both_ways():
    with Origin(echo) as origin, Sluice(origin) as sluice, sluice.client() as client:
        trailers = b"X-Checksum: abc\r\nX-Other:  d e \r\ntraceparent: of the origin's\r\n"
        fields = [("Transfer-Encoding", "chunked"), ("TE", "trailers"), ("Connection", "TE")]
        client.ask("POST", "/", fields, chunked(b"hello", trailers=trailers))
        response = client.answer()
        wanted = [("x-checksum", "abc"), ("x-other", "d e"), ("traceparent", "of the origin's")]
        equal(origin.requests[0].trailers, wanted, "the trailers upstream")
        equal(response.trailers, wanted, "the trailers downstream")


def test_h1_trailers_that_connection_names_end_here():
    def naming(connection):
        request = connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop\r\n\r\n"
                        + chunked(request.body, trailers=b"X-Hop: 1\r\nX-Other: 2\r\n"))

    with Origin(naming) as origin, Sluice(origin) as sluice, sluice.client() as client:
        fields = [("Transfer-Encoding", "chunked"), ("TE", "trailers"), ("Connection", "TE, x-hop")]
        client.ask("POST", "/", fields, chunked(b"hello", trailers=b"X-Hop: 1\r\nX-Other: 2\r\nX-Real-IP: 9.9.9.9\r\n"))
        equal(client.answer().trailers, [("x-other", "2")], "the trailers downstream")
        equal(origin.requests[0].trailers, [("x-other", "2")], "the trailers upstream")


def test_h1_an_upgrade_that_is_asked_for_is_named_by_connection():
    def requiring(connection):
        while connection.request() is not None:
            connection.reply(426, [("Upgrade", "chat"), ("Connection", "upgrade")], reason="Upgrade Required")

    with Origin(requiring) as origin, Sluice(origin) as sluice, sluice.client() as client:
        for _ in range(2):
            answer = client.get("/")
            equal((answer.status, answer.get("upgrade")), (426, "chat"), "the answer")
            expect("upgrade" in answer.options("connection"), f"Connection does not name it: {answer.fields}")


def test_h1_an_address_in_host_has_to_be_one():
    with Origin() as origin, Sluice(origin) as sluice:
        for host in ("[::1]", "[::1]:80", "[2001:db8::5]:", "[::ffff:1.2.3.4]"):
            equal(sluice.get("/", host=host).status, 200, f"the answer to {host}")
        for host in ("[1.2.3.4]", "[ab]", "[1:2:3:4:5:6:7:8:9]", "[::1::2]", "[:::]", "[::12345]", "[fe80::1%25lo]"):
            equal(sluice.get("/", host=host).status, 400, f"the answer to {host}")


def test_h1_bodiless_responses_leave_the_connection_in_step():
    def script(connection):
        while (request := connection.request()) is not None:
            status = int(request.target[1:])
            fields = [] if status == 204 else [("Content-Length", "5")]
            body = b"hello" if request.method != "HEAD" and status == 200 else b""
            connection.reply(status, fields, body, length=False)

    with Origin(script) as origin, Sluice(origin, workers=1) as sluice, sluice.client() as client:
        for method, status in [("HEAD", 200), ("GET", 204), ("GET", 304), ("HEAD", 304), ("HEAD", 404), ("GET", 200)]:
            client.ask(method, f"/{status}")
            response = client.answer(method)
            equal(response.status, status, f"the answer to {method} /{status}")
            equal(response.body, b"hello" if (method, status) == ("GET", 200) else b"", "its body")
            if status != 204:
                equal(response.get("content-length"), "5", "its Content-Length")
        equal(origin.accepted, 1, "connections at the origin")


def test_h1_body_until_close_reaches_http11_and_http10():
    def script(connection):
        connection.request()
        connection.reply(200, length=False)
        connection.send(pattern(300 * KiB))

    with Origin(script) as origin, Sluice(origin) as sluice:
        for version in ("1.1", "1.0"):
            with sluice.client() as client:
                response = client.get("/", version=version)
                equal(digest(response.body), digest(pattern(300 * KiB)), f"the body in HTTP/{version}")


def test_h1_octet_by_octet_both_ways():
    def script(connection):
        request = connection.request()
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Method: " + request.method.encode() + b"\r\n\r\n"
        connection.trickle(head + chunked(b"hello, ", b"world", trailers=b"X-T: 1\r\n"), lambda: None)

    with Origin(script) as origin, Sluice(origin) as sluice, sluice.client() as client:
        body = chunked(b"abc", b"defgh", trailers=b"X-Sum: 9\r\n")
        raw = b"POST /a?b HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n" + body
        for at in range(len(raw)):
            client.send(raw[at : at + 1])
        response = client.answer()
        equal((response.status, response.body), (200, b"hello, world"), "the answer")
        equal(response.trailers, [("x-t", "1")], "its trailers")
        request = origin.requests[0]
        equal((request.target, request.body, request.get("x-a")), ("/a?b", b"abcdefgh", "1"), "the request")


def test_h1_response_octets_are_passed_on_as_they_come():
    """Server-sent events: nothing waits for more to come."""
    got = [threading.Event() for _ in range(5)]

    def script(connection):
        connection.request()
        connection.reply(200, [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")], length=False)
        for number, event in enumerate(got):
            connection.send(chunked(b"data: %d\n\n" % number)[:-5])
            connection.wait(event)
        connection.send(b"0\r\n\r\n")

    with Origin(script) as origin, Sluice(origin) as sluice, sluice.client() as client:
        client.ask("GET", "/events")
        for number, event in enumerate(got):
            while b"data: %d\n\n" % number not in client.buffer:
                expect(client.fill(), f"the stream ended before event {number}")
            event.set()
        equal(client.answer().complete, True, "the whole answer")


def test_h1_request_octets_are_passed_on_as_they_come():
    got = [threading.Event() for _ in range(5)]

    def script(connection):
        request = connection.head()
        for number, event in enumerate(got):
            while b"piece %d" % number not in connection.buffer:
                connection.fill()
            event.set()
        connection.body(request)
        connection.reply()

    with Origin(script) as origin, Sluice(origin) as sluice, sluice.client() as client:
        client.ask("POST", "/", [("Transfer-Encoding", "chunked")])
        for number, event in enumerate(got):
            client.send(chunked(b"piece %d" % number)[:-5])
            expect(event.wait(10), f"piece {number} was held back")
        client.send(b"0\r\n\r\n")
        equal(client.answer().status, 200, "the status")


# ------------------------------------------------------------- interim and early


def test_h1_interim_responses_are_passed_on_before_the_final_one():
    got = threading.Event()

    def script(connection):
        connection.request()
        connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        connection.wait(got)
        connection.reply(200, body=b"ok")

    with Origin(script) as origin, Sluice(origin) as sluice, sluice.client() as client:
        client.ask("GET", "/")
        hint = read_message(client)
        equal((hint.status, hint.get("link")), (103, "</a.css>; rel=preload"), "the interim response")
        got.set()
        equal(client.answer().body, b"ok", "the final response")


def test_h1_expect_continue_is_the_origins_to_answer():
    asked, agreed = threading.Event(), threading.Event()

    def script(connection):
        request = connection.head()
        asked.set()
        connection.wait(agreed)
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.body(request)
        connection.reply(200, body=request.body)

    with Origin(script) as origin, Sluice(origin) as sluice, sluice.client() as client:
        client.ask("POST", "/", [("Expect", "100-continue"), ("Content-Length", "5")])
        expect(asked.wait(10), "the head waited for its body")
        equal(origin.requests[0].get("expect"), "100-continue", "Expect upstream")
        equal(bytes(client.buffer), b"", "what came before the origin agreed")
        agreed.set()
        equal(read_message(client).status, 100, "the interim status")
        client.send(b"hello")
        equal(client.answer().body, b"hello", "the answer")


def test_h1_answer_before_the_body_is_passed_on_and_ends_the_connection():
    def script(connection):
        connection.head()
        connection.reply(413, body=b"too big", reason="Content Too Large")

    with Origin(script) as origin, Sluice(origin) as sluice, sluice.client() as client:
        client.ask("POST", "/", [("Content-Length", str(64 * MiB))])
        client.send(pattern(64 * KiB))
        response = client.answer()
        equal((response.status, response.body), (413, b"too big"), "the answer")
        expect("close" in response.options("connection"), "the client is not told to stop")
        expect(client.at_end(), "the connection stayed open")


def test_h1_refusals_of_head_have_no_body():
    with Origin() as origin, Sluice(origin) as sluice:
        for text in (b"HEAD / HTTP/1.1\r\n\r\n", b"HEAD / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
                     b"HEAD / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100 * KiB + b"\r\n\r\n"):
            with sluice.client() as client:
                client.send(text)
                answer = client.rest()
                expect(answer.startswith(b"HTTP/1.1 4"), f"the answer to {text[:40]}: {answer[:80]}")
                expect(answer.endswith(b"\r\n\r\n"), f"a body behind the answer to {text[:40]}: {answer[-80:]}")
        # Whoever asked HEAD before does not ask it for ever.
        with sluice.client() as client:
            client.ask("HEAD", "/")
            client.answer()
            client.send(b"GET / HTTP/1.1\r\n\r\n")
            expect(client.rest().endswith(b"no Host field\n"), "the answer to a GET lacks its body")


def test_h1_answer_that_announces_a_body_that_must_not_be_ends_its_connection():
    heads = [b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
             b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
             b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"]

    for head in heads:
        def script(connection):
            while connection.request() is not None:
                if connection.number == 0:
                    connection.send(head)
                else:
                    connection.reply(200, body=b"clean")

        with Origin(script) as origin, Sluice(origin) as sluice:
            equal(sluice.get("/").status // 100, int(head[9:10]), "the first answer")
            equal(sluice.get("/").body, b"clean", "the second answer")
            equal([request.connection for request in origin.requests], [0, 1], "the connections")


def test_h1_malformed_fields_of_an_answer_are_called_so():
    for line in (b"Content-Length: 2\r\nContent-Length: 2", b"X : a"):
        def script(connection):
            connection.request()
            connection.send(b"HTTP/1.1 200 OK\r\n" + line + b"\r\n\r\nok")

        with Origin(script) as origin, Sluice(origin) as sluice:
            answer = sluice.get("/")
            equal(answer.status, 502, "the status")
            expect("field line" in answer.get("proxy-status"), f"it says: {answer.get('proxy-status')}")


# ---------------------------------------------------------------------- upgrade

WEBSOCKET = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]


def switch(connection):
    connection.request()
    fields = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    connection.reply(101, fields, reason="Switching Protocols", length=False)


def tunnel_echo(connection):
    switch(connection)
    while connection.buffer or connection.fill():
        data = bytes(connection.buffer)
        connection.buffer.clear()
        connection.send(data)


def test_h1_upgrade_becomes_a_tunnel():
    with Origin(tunnel_echo) as origin, Sluice(origin) as sluice, sluice.client() as client:
        client.ask("GET", "/ws", WEBSOCKET)
        response = client.answer()
        equal((response.status, response.options("upgrade")), (101, ["websocket"]), "the answer")
        for data in (b"\x81\x05hello", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 10, pattern(2 * MiB)):
            sender = threading.Thread(target=client.send, args=(data,))
            sender.start()
            equal(digest(client.take(len(data))), digest(data), f"the echo of {data[:20]!r}")
            sender.join()
        client.half_close()
        equal(client.rest(), b"", "what came after the end")


def test_h1_tunnel_octets_sent_with_the_request_are_the_tunnels():
    with Origin(tunnel_echo) as origin, Sluice(origin) as sluice, sluice.client() as client:
        head = "".join(f"{name}: {value}\r\n" for name, value in WEBSOCKET)
        client.send(f"GET /ws HTTP/1.1\r\nHost: a.test\r\n{head}\r\nat once".encode())
        equal(client.answer().status, 101, "the status")
        equal(client.take(7), b"at once", "the echo")


def test_h1_tunnel_ends_one_side_at_a_time():
    ended, go = threading.Event(), threading.Event()

    def script(connection):
        switch(connection)
        connection.take(4)
        expect(connection.at_end(), "the client's end did not arrive")
        ended.set()
        connection.wait(go)
        connection.send(b"last words")

    with Origin(script) as origin, Sluice(origin) as sluice, sluice.client() as client:
        client.ask("GET", "/ws", WEBSOCKET)
        client.answer()
        client.send(b"over")
        client.half_close()
        expect(ended.wait(10), "the origin did not see the client's end")
        go.set()
        equal(client.rest(), b"last words", "what the origin sent afterwards")


def test_h1_tunnel_whose_origin_has_said_all_still_hears_the_client():
    heard = []
    done = threading.Event()

    def script(connection):
        switch(connection)
        connection.send(b"no more from me")
        connection.half_close()
        heard.append(bytes(connection.take(MiB)))
        heard.append(connection.at_end())
        done.set()

    with Origin(script) as origin, Sluice(origin) as sluice, sluice.client() as client:
        client.ask("GET", "/ws", WEBSOCKET)
        client.answer()
        equal(client.rest(), b"no more from me", "what the origin said")
        client.send(pattern(MiB))
        client.half_close()
        expect(done.wait(20), "the origin did not see the client's end")
        equal((digest(heard[0]), heard[1]), (digest(pattern(MiB)), True), "what the origin heard")
        wait_until(lambda: not sluice.admin.show("sessions"), 20, what="the end of the tunnel")


def test_h1_tunnel_ended_by_the_origin_ends_for_the_client():
    with Origin(switch) as origin, Sluice(origin) as sluice, sluice.client() as client:
        client.ask("GET", "/ws", WEBSOCKET)
        equal(client.answer().status, 101, "the status")
        expect(client.at_end(), "the tunnel stayed open")


# ---------------------------------------------------------------- what is added


def test_h1_forwarding_fields():
    with Origin() as origin, Sluice(origin) as sluice:
        sluice.get("/", [("Via", "1.0 before"), ("X-Forwarded-For", "6.6.6.6"), ("traceparent", "00-1-2-01")])
        request = origin.requests[0]
        for name, value in [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "a.test"),
            ("via", "1.0 before, 1.1 sluice"),
            ("traceparent", "00-1-2-01"),
            ("host", "a.test"),
        ]:
            equal(request.get(name), value, name)


def test_h1_request_id_is_made_once_and_kept():
    with Origin() as origin, Sluice(origin) as sluice, sluice.client() as client:
        for _ in range(50):
            client.get("/")
        client.get("/", [("X-Request-Id", "mine-1")])
        made = [one.get("x-request-id") for one in origin.requests]
        equal(made[-1], "mine-1", "the client's own")
        equal(len(set(made)), 51, "different request ids")


def test_h1_absolute_form_is_answered_for_its_own_host():
    with Origin() as origin, Sluice(origin) as sluice, sluice.client() as client:
        client.send(b"GET http://b.test:81/x?y HTTP/1.1\r\nHost: a.test\r\n\r\n")
        equal(client.answer().status, 200, "the status")
        request = origin.requests[0]
        equal((request.target, request.get("host")), ("/x?y", "b.test:81"), "what arrived")


# ------------------------------------------------------------- which upstream


def test_h1_routes_by_host_and_longest_path():
    with Origin(name="web") as web, Origin(name="api") as api, Origin(name="star") as star:
        services = {
            name: {"blue": {"endpoints": [origin.address]}} for name, origin in [("api", api), ("star", star)]
        }
        routes = [
            {"host": "shop.test", "path": "/", "service": "web"},
            {"host": "shop.test", "path": "/api/", "service": "api"},
            {"host": "*.shop.test", "service": "star"},
        ]
        with Sluice(web, config={"service": services, "route": routes}) as sluice:
            for host, target, name in [
                ("shop.test", "/", "web"),
                ("SHOP.test", "/apix", "web"),
                ("shop.test", "/api", "api"),
                ("shop.test:8080", "/api/x?y", "api"),
                ("a.shop.test", "/api/", "star"),
            ]:
                equal(sluice.get(target, host=host).get("x-origin"), name, f"{host}{target}")
            answer = sluice.get("/", host="other.test")
            equal(answer.status, 404, "the status without a route")
            expect(answer.get("proxy-status", "").startswith("sluice; error="), "no Proxy-Status")


def test_h1_override_wins_over_the_split():
    with Origin(name="blue") as blue, Origin(name="green") as green:
        service = {"override": "header:X-Sluice-Upstream", "split": 0}
        with Sluice(blue, green, service) as sluice:
            for wish, got in [("green", "green"), ("blue", "blue"), ("other", "blue")]:
                answer = sluice.get("/", [("X-Sluice-Upstream", wish)])
                equal(answer.get("x-origin"), got, f"the upstream for {wish}")


def test_h1_sticky_clients_only_ever_move_to_green():
    with Origin(name="blue") as blue, Origin(name="green") as green:
        with Sluice(blue, green, {"sticky": "header:X-User"}) as sluice, sluice.client() as client:
            users, before = range(200), set()
            for split in (0, 10, 35, 70, 100):
                sluice.admin.do(f"set weight web green={split}")
                answers = {user: client.get("/", [("X-User", str(user))]) for user in users}
                on_green = {user for user, answer in answers.items() if answer.get("x-origin") == "green"}
                expect(before <= on_green, f"{before - on_green} went back to blue at {split} %")
                before = on_green
            equal(len(before), len(users), "clients on green at the end")


def test_h1_access_log_tells_the_request():
    with Origin() as origin, Sluice(origin) as sluice:
        sluice.get('/a"b?c=d')
        sluice.stop()
        (line,) = sluice.access_log()
        equal((line["method"], line["path"], line["status"]), ("GET", '/a"b?c=d', 200), "the log line")
        equal((line["service"], line["upstream"]), ("web", "blue"), "who answered")
        equal(line["request_id"], origin.requests[0].get("x-request-id"), "the request id")


def test_an_early_answer_is_not_lost_to_the_body_that_nobody_reads():
    def script(connection):
        connection.head()
        connection.reply(413, [("Connection", "close")], b"too much")
        connection.close()  # with most of the body unread: a reset follows

    body = pattern(2 * MiB)
    with Origin(script) as origin, Sluice(origin, service={"retry": {"max": 0}}) as sluice:
        for _ in range(60):
            with sluice.client(timeout=20) as client:
                client.ask("POST", "/", body=body)
                equal(client.answer("POST").status, 413, "the status")
        row = sluice.admin.upstream()
        equal(row["attempts_failed"], 0, "failed attempts")


if __name__ == "__main__":
    sys.exit(main(globals()))
