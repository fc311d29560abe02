#!/usr/bin/env python3
"""TLS of listeners and of upstreams, with clients and origins by Python's ssl."""

import os
import signal
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from harness import CALM, Sluice, digest, equal, expect, main, pattern, refused
from http1 import Client, Incomplete, proxy_error, wait_until
from origin import Origin
from tls import Authority, authority, metrics, TlsClient, secured, serving, tls_sluice


def refused_handshake(address, context, **more):
    """What the client says of it."""
    try:
        with TlsClient(address, context, **more) as client:
            client.get()
    except (ssl.SSLError, Incomplete, ConnectionError) as error:
        return str(error)
    raise AssertionError("the connection was accepted")


def handshakes(sluice, outcome):
    page = metrics(sluice)
    for line in page.splitlines():
        if line.startswith("sluice_tls_handshakes_total") and f'outcome="{outcome}"' in line:
            return int(float(line.rsplit(" ", 1)[1]))
    raise AssertionError(f"no metric for {outcome}: {page[-500:]}")


# ------------------------------------------------------------------- downstream


def test_requests_go_through_in_both_versions():
    with authority() as root, Origin() as origin, tls_sluice(root, origin) as sluice:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = root.trusting(minimum=version, maximum=version)
            with TlsClient(sluice.address, context) as client:
                equal(client.sock.selected_alpn_protocol(), "http/1.1", "the protocol")
                for _ in range(3):
                    equal(client.get("/x").get("x-target"), "/x", "the target")
                client.ask("POST", "/up", body=pattern(300_000))
                equal(client.answer("POST").body, b"POST 300000\n", "the answer to a POST")
        equal({request.get("x-forwarded-proto") for request in origin.requests}, {"https"}, "X-Forwarded-Proto")


def test_large_bodies_arrive_whole():
    data = pattern(20 * 1024 * 1024)

    def script(connection):
        while connection.request() is not None:
            connection.reply(body=data)

    with authority() as root, Origin(script) as origin, tls_sluice(root, origin) as sluice:
        with TlsClient(sluice.address, root.trusting()) as client:
            for _ in range(2):
                equal(digest(client.get().body), digest(data), "the body")


def test_a_client_that_does_not_read_holds_its_origin_back():
    chunk = pattern(1 << 20)
    sent = []

    def script(connection):
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * len(chunk)))
        for _ in range(64):
            connection.send(chunk)
            sent.append(1)

    with authority() as root, Origin(script) as origin, tls_sluice(root, origin, service=CALM) as sluice:
        with TlsClient(sluice.address, root.trusting()) as client:
            client.ask()
            seen = -1
            while seen != len(sent) or not sent:  # until it stands still
                seen = len(sent)
                try:
                    wait_until(lambda: len(sent) > seen, 0.7)
                except Exception:
                    pass
            expect(len(sent) < 64, "everything was taken from the origin")
            equal(client.answer().size, 64 * len(chunk), "the size of the body")


def test_names_choose_the_certificate():
    with authority() as root:
        pairs = [root.issue("a").tls(), root.issue("b", "DNS:b.test").tls(), root.issue("w", "DNS:*.w.test").tls(),
                 root.issue("x", "DNS:x.w.test").tls(), root.issue("rsa", "DNS:b.test", rsa=True).tls()]
        with tls_sluice(root, tls=pairs) as sluice:
            for name, wanted in (("a.test", "a.test"), ("b.test", "b.test"), ("y.w.test", "*.w.test"),
                                 ("x.w.test", "x.w.test")):
                with TlsClient(sluice.address, root.trusting(), name=name) as client:
                    equal(client.certificate_names, [wanted], f"the certificate for {name}")
            other = root.trusting()
            other.check_hostname = False
            for name in ("other.test", "z.y.w.test", None):
                with TlsClient(sluice.address, other, name=name) as client:
                    equal(client.certificate_names, ["a.test"], f"the certificate for {name}")
            for absolute, wanted in (("b.test.", "b.test"), ("B.Test", "b.test")):
                with TlsClient(sluice.address, other, name=absolute) as client:
                    equal(client.certificate_names, [wanted], f"the certificate for {absolute}")
            old = root.trusting(maximum=ssl.TLSVersion.TLSv1_2)
            for ciphers, kind in (("ECDHE+aRSA", "RSA"), ("ECDHE+aECDSA", "ECDSA")):
                old.set_ciphers(ciphers)
                with TlsClient(sluice.address, old, name="b.test") as client:
                    expect(kind in client.sock.cipher()[0], f"the suite is {client.sock.cipher()}")


def test_suite_is_of_our_order_and_among_equals_of_the_clients():
    small, chacha, large = ("ECDHE-ECDSA-" + name for name in ("AES128-GCM-SHA256", "CHACHA20-POLY1305", "AES256-GCM-SHA384"))
    with authority() as root, tls_sluice(root) as sluice:
        for offered, wanted in (([large, small], small), ([large, chacha], chacha), ([small, chacha], small),
                                ([chacha, small], chacha), ([large], large)):
            context = root.trusting(maximum=ssl.TLSVersion.TLSv1_2)
            context.set_ciphers(":".join(offered))
            with TlsClient(sluice.address, context) as client:
                equal(client.sock.cipher()[0], wanted, f"the suite for {offered}")


def test_old_versions_and_foreign_protocols_are_refused():
    with authority() as root, tls_sluice(root, tls=root.issue("a").tls(min_version="1.3")) as sluice:
        said = refused_handshake(sluice.address, root.trusting(maximum=ssl.TLSVersion.TLSv1_2))
        expect("version" in said.lower(), f"the client says {said}")
        said = refused_handshake(sluice.address, root.trusting(alpn=("h2",)))
        expect("no application protocol" in said.lower(), f"the client says {said}")
        with TlsClient(sluice.address, root.trusting(alpn=("h2", "http/1.1"))) as client:
            equal(client.sock.selected_alpn_protocol(), "http/1.1", "the protocol")
        with sluice.client() as client:  # in the clear
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            client.half_close()
            equal(client.rest(), b"", "what a client in the clear hears")
        with sluice.client() as client:
            client.send(b"\x16\x03\x01\x00\x08whatever")
            equal(client.rest()[:1], b"\x15", "an alert")
        equal(sluice.admin.do("show info")["ok"], True, "sluice lives")


def test_http_1_0_is_a_protocol_that_clients_may_ask_for():
    with authority() as root, tls_sluice(root) as sluice:
        for offered, wanted in ((("http/1.0",), "http/1.0"), (("h2", "http/1.0"), "http/1.0"),
                                (("http/1.0", "http/1.1"), "http/1.1")):
            with TlsClient(sluice.address, root.trusting(alpn=offered)) as client:
                equal(client.sock.selected_alpn_protocol(), wanted, f"the protocol of {offered}")
                client.send(b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n")
                equal(client.answer().status, 200, f"the status under {wanted}")


def test_sessions_are_resumed_by_every_worker():
    with authority() as root, tls_sluice(root, workers=2) as sluice:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = root.trusting(minimum=version, maximum=version)
            with TlsClient(sluice.address, context) as client:
                client.get()
                session = client.sock.session
            for _ in range(8):
                with TlsClient(sluice.address, context, session=session) as client:
                    client.get()
                    expect(client.sock.session_reused, f"a full handshake again under {version}")
        equal((handshakes(sluice, "full"), handshakes(sluice, "resumed")), (2, 16), "the handshakes")


def test_a_session_is_resumed_under_no_other_name():
    pairs = ("DNS:a.test", "DNS:b.test", "DNS:*.w.test")
    with authority() as root:
        tls = [root.issue(f"pair{i}", san).tls() for i, san in enumerate(pairs)]
        with tls_sluice(root, tls=tls) as sluice:
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                context = root.trusting(minimum=version, maximum=version)
                context.check_hostname = False
                for first, others in (("a.test", ("b.test", "x.w.test", "unknown.test", None)),
                                      ("x.w.test", ("y.w.test",)), (None, ("a.test",))):
                    with TlsClient(sluice.address, context, name=first) as client:
                        client.get()
                        session = client.sock.session
                    for name in others:
                        with TlsClient(sluice.address, context, name=name, session=session) as client:
                            equal(client.get().status, 200, f"the status as {name}")
                            expect(not client.sock.session_reused, f"{version}: {first} was resumed as {name}")
                    sluice.admin.do("reload")  # which changes nothing
                    same = (first, "A.Test", "a.test.") if first == "a.test" else (first,)
                    for name in same:
                        with TlsClient(sluice.address, context, name=name, session=session) as client:
                            client.get()
                            expect(client.sock.session_reused, f"{version}: {first} was not resumed as {name}")


def half_closing(address, root, version, request):
    """What a client reads that sends a request and close_notify behind it, and how that ends."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = root.trusting(minimum=version, maximum=version).wrap_bio(incoming, outgoing, server_hostname="a.test")
    with socket.create_connection(address, 30) as sock:
        def carry(step):
            """Until the step needs nothing more of the other side."""
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    octets = sock.recv(65536)
                    incoming.write(octets) if octets else incoming.write_eof()

        carry(client.do_handshake)
        client.write(request)
        try:
            client.unwrap()
        except ssl.SSLWantReadError:
            pass  # the other side has not said its own yet
        said = b""
        try:
            while True:
                said += carry(lambda: client.read(65536))
        except ssl.SSLZeroReturnError:  # an orderly end; SSLEOFError would be a truncation
            return said, sock.recv(1)


def test_close_notify_after_a_request_lets_the_answer_through_where_tls_does():
    """RFC 8446, 6.1: it ends one direction; RFC 5246, 7.2.1: it ends both."""
    body = pattern(300_000)
    request = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"

    def script(connection):
        if connection.request() is not None:
            connection.reply(body=body)

    with authority() as root, Origin(script) as origin, tls_sluice(root, origin, service=CALM) as sluice:
        said, rest = half_closing(sluice.address, root, ssl.TLSVersion.TLSv1_3, request)
        equal((said[:15], said[-len(body):] == body, rest), (b"HTTP/1.1 200 OK", True, b""), "under TLS 1.3")
        said, rest = half_closing(sluice.address, root, ssl.TLSVersion.TLSv1_2, request)
        equal((said, rest), (b"", b""), "under TLS 1.2")


def test_one_client_too_many_has_a_moment_to_ask_behind_its_handshake():
    with authority() as root, Origin() as origin:
        config = {"overload": {"max_connections": 1}}
        with tls_sluice(root, origin, config=config, service={"timeouts": {"client_header": "1h"}}) as sluice:
            with TlsClient(sluice.address, root.trusting()) as first:
                equal(first.get().status, 200, "the status of the only one")
                with TlsClient(sluice.address, root.trusting()) as second:
                    equal(second.sock.recv(1), b"", "what it hears that never asks")


def test_clients_that_say_nothing_or_leave_do_no_harm():
    tls = {"handshake_timeout": "5s", "max_handshakes": 3}
    # The wait for a head begins when the handshake is done.
    service = {"timeouts": {"client_header": "1s"}}
    with authority() as root, tls_sluice(root, tls=root.issue("a").tls(**tls), service=service) as sluice:
        silent = [sluice.client() for _ in range(3)]
        wait_until(lambda: sluice.admin.show("info")[0]["connections"] == 3, what="three connections")
        with sluice.client() as fourth:
            equal(fourth.rest(), b"", "what the fourth hears")
        equal(handshakes(sluice, "refused"), 1, "refused handshakes")
        for client in silent:
            equal(client.rest(), b"", "what a silent one hears")
            client.close()
        equal(handshakes(sluice, "timeout"), 3, "handshakes that took too long")
        with TlsClient(sluice.address, root.trusting()) as client:
            equal(client.get().status, 200, "the status")


def test_client_certificates_are_asked_for_and_passed_on():
    forged = [("X-Client-Cert-Subject", "CN=admin"), ("X_Client_Cert_San", "DNS:admin"),
              ("x-client-cert-san", "DNS:admin")]
    with authority() as root, Origin() as origin:
        clients = Authority(root.folder, "clients")
        known = clients.issue("app", "DNS:app.test,URI:spiffe://test/app", subject="/O=Test/CN=app")
        for required in (True, False):
            tls = root.issue("a").tls(client_ca=clients.cert, client_required=required)
            with tls_sluice(root, origin, tls=tls) as sluice:
                context = root.trusting()
                context.load_cert_chain(known.cert, known.key)
                with TlsClient(sluice.address, context) as client:
                    client.get("/known", forged)
                got = origin.requests[-1]
                equal(got.all("x-client-cert-subject"), ["CN=app,O=Test"], "the subject")
                equal(got.all("x-client-cert-san"), ["DNS:app.test, URI:spiffe://test/app"], "the names")
                equal(got.all("x_client_cert_san"), [], "the forged field")
                stranger = root.trusting()
                stranger.load_cert_chain(*vars(root.issue("stranger")).values())
                refused_handshake(sluice.address, stranger)
                if required:
                    refused_handshake(sluice.address, root.trusting())
                    continue
                with TlsClient(sluice.address, root.trusting()) as client:
                    client.get("/unknown", forged)
                for name in ("x-client-cert-subject", "x-client-cert-san", "x_client_cert_san"):
                    equal(origin.requests[-1].all(name), [], name)


def test_own_answers_over_tls_keep_the_connection_and_end_it_orderly():
    with authority() as root, Origin() as origin:
        config = {"route": [{"path": "/known", "service": "web"}]}
        with tls_sluice(root, origin, config=config) as sluice:
            with TlsClient(sluice.address, root.trusting()) as client:
                for _ in range(3):
                    equal(client.get("/unknown").status, 404, "the status")
                client.send(b"GET / HTTP/1.1\r\n\r\n")
                equal(client.answer().status, 400, "the status")
                equal(client.rest(), b"", "what comes before the close_notify")


def test_fields_about_certificates_are_dropped_without_tls_too():
    with Origin() as origin, Sluice(origin) as sluice:
        sluice.get(fields=[("X-Client-Cert-Subject", "CN=admin"), ("X-Client-Cert-San", "DNS:admin")])
        equal([name for name, _ in origin.requests[-1].fields if "cert" in name], [], "the fields")


def test_a_trusted_peer_does_not_speak_for_certificates_either():
    names = ("X-Client-Cert-Subject", "X_Client_Cert_Subject", "X-Client-Cert_San", "X_client_cert-San")
    config = {"listener": [{"bind": "127.0.0.1:0", "trusted": ["127.0.0.1"]}]}
    with Origin() as origin, Sluice(origin, config=config) as sluice:
        sluice.get(fields=[*((name, "CN=admin") for name in names), ("X_Forwarded_Proto", "https")])
        seen = [name for name, _ in origin.requests[-1].fields]
        equal([name for name in seen if "cert" in name], [], "the fields")
        expect("x_forwarded_proto" in seen, "what a trusted peer may say was dropped")


# --------------------------------------------------------------------- upstream


def through(origin, tls, **more):
    """A sluice with a plain listener and blue over TLS."""
    return Sluice(origin, service={**CALM, "blue": {"endpoints": [origin.address], "tls": tls}, **more})


def test_an_origin_over_tls_is_verified_and_its_sessions_reused():
    reused = []

    def script(connection):
        reused.append(connection.sock.session_reused)
        connection.request()
        connection.reply(fields=[("Connection", "close")])

    with authority() as root:
        context = serving(root.issue("o", "IP:127.0.0.1"))
        with Origin(secured(context, script)) as origin, through(origin, {"ca": root.cert}) as sluice:
            for _ in range(12):
                equal(sluice.get().status, 200, "the status")
        expect(sum(reused) >= 8, f"sessions reused: {reused}")


def test_connections_to_an_origin_over_tls_are_kept():
    with authority() as root, Origin(secured(serving(root.issue("o", "DNS:o.test")))) as origin:
        with through(origin, {"ca": root.cert, "sni": "o.test"}) as sluice:
            with sluice.client() as client:
                for _ in range(5):
                    equal(client.get().status, 200, "the status")
                client.ask("POST", "/", body=pattern(2_000_000))
                equal(client.answer("POST").body, b"POST 2000000\n", "the answer")
            equal(origin.accepted, 1, "connections to the origin")


def test_requests_that_wait_for_a_connection_over_tls_are_sent_once_and_on_it():
    with authority() as root, Origin(secured(serving(root.issue("o", "DNS:o.test")))) as origin:
        blue = {"endpoints": [origin.address], "tls": {"ca": root.cert, "sni": "o.test"},
                "max_connections": 1, "max_queue": 100, "queue_timeout": "1m"}
        with Sluice(origin, service={**CALM, "blue": blue}, workers=1) as sluice, ThreadPoolExecutor(4) as pool:
            together = threading.Barrier(4)

            def ask(_):
                with sluice.client() as client:
                    together.wait(30)
                    for _ in range(10):
                        client.ask("POST", "/", body=b"once")
                        equal(client.answer("POST").status, 200, "the status")
            list(pool.map(ask, range(4)))
            equal(len(origin.requests), 40, "the requests that the origin saw")
            equal(origin.accepted, 1, "the connections that it saw")


def test_a_request_is_not_lost_where_its_origin_has_left_by_close_notify():
    def script(connection):
        while connection.request() is not None:
            connection.reply()
            if connection.origin.accepted > 1:
                continue
            expect(leave.wait(30), "nobody asked it to leave")
            connection.sock.settimeout(0.1)
            try:
                connection.sock.unwrap()
            except OSError:
                pass  # nobody is awake to answer it
            connection.close()
            left.set()

    with authority() as root:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            leave, left = threading.Event(), threading.Event()
            context = serving(root.issue("o", "IP:127.0.0.1"))
            context.maximum_version = version
            blue = {"tls": {"ca": root.cert}}
            with Origin(secured(context, script)) as origin:
                blue["endpoints"] = [origin.address]
                with Sluice(origin, service={**CALM, "blue": blue}, workers=1) as sluice, sluice.client() as client:
                    equal(client.get().status, 200, "the first answer")
                    sluice.signal(signal.SIGSTOP)
                    os.waitid(os.P_PID, sluice.process.pid, os.WSTOPPED)
                    client.ask("POST", "/", body=b"once")
                    leave.set()
                    expect(left.wait(30), "the origin has not left")
                    sluice.signal(signal.SIGCONT)
                    equal(client.answer("POST").status, 200, f"the answer under {version}")


def test_an_answer_that_ends_by_close_notify_holds_its_place_no_longer():
    def script(connection):
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        connection.sock.unwrap()
        connection.close()

    with authority() as root:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = serving(root.issue("o", "IP:127.0.0.1"))
            context.maximum_version = version
            with Origin(secured(context, script)) as origin:
                blue = {"endpoints": [origin.address], "max_connections": 1, "queue_timeout": "1m",
                        "tls": {"ca": root.cert}}
                with Sluice(origin, service={**CALM, "blue": blue}) as sluice:
                    waits = []
                    for _ in range(8):
                        began = time.monotonic()
                        got = sluice.get()
                        waits.append(time.monotonic() - began)
                        equal((got.status, got.body), (200, b"hello"), f"the answer under {version}")
                    # So long each of them waits where nobody hears of the end before.
                    expect(min(waits[1:]) < 0.4, f"each waited under {version}: {waits}")


def test_a_connection_in_use_while_the_rules_change_is_not_kept():
    asked, go_on = threading.Event(), threading.Event()

    def script(connection):
        while connection.request() is not None:
            asked.set()
            expect(go_on.wait(30), "nobody let the origin go on")
            connection.reply()

    with authority() as root:
        context = serving(root.issue("o", "DNS:o.test,DNS:p.test"))
        with Origin(secured(context, script)) as origin, through(origin, {"ca": root.cert, "sni": "o.test"}) as sluice:
            with sluice.client() as client:
                client.ask("GET", "/")
                expect(asked.wait(30), "nothing came to the origin")
                sluice.write_config({"service": {"web": {"blue": {"tls": {"sni": "p.test"}}}}})
                sluice.admin.do("reload")
                go_on.set()
                equal(client.answer().status, 200, "the status under the old rules")
                equal(client.get().status, 200, "the status under the new ones")
            equal(origin.accepted, 2, "connections to the origin")


def test_wrong_certificates_of_an_origin_are_connect_errors_with_a_reason():
    with authority() as root:
        other = Authority(root.folder, "other")
        cases = {
            "expired": (root.issue("old", "IP:127.0.0.1", days=-1), root, "expired"),
            "another name": (root.issue("named", "DNS:b.test"), root, "mismatch"),
            "another root": (root.issue("good", "IP:127.0.0.1"), other, "certificate"),
            "self-signed": (other, root, "self"),
        }
        for what, (served, trusted, reason) in cases.items():
            with Origin(secured(serving(served))) as origin, through(origin, {"ca": trusted.cert}) as sluice:
                got = sluice.get()
                equal(got.status, 502, f"the status, {what}")
                equal(proxy_error(got), "tls_certificate_error", f"the error, {what}")
                expect(reason in got.get("proxy-status"), f"{what}: Proxy-Status is {got.get('proxy-status')}")
                wait_until(sluice.access_log, what="the access log")
                record = sluice.access_log()[-1]
                expect(reason in record.get("error_detail", ""), f"{what}: the log has {record}")
                expect("connect" in record["attempts"], f"{what}: the log has {record}")
                equal(origin.requests, [], "requests that arrived")
        with Origin(secured(serving(other))) as origin, through(origin, {"verify": False}) as sluice:
            equal(sluice.get().status, 200, "the status without verification")


def test_a_plain_origin_behind_tls_is_a_protocol_error():
    with authority() as root, Origin() as origin, through(origin, {"ca": root.cert}) as sluice:
        got = sluice.get()
        equal((got.status, proxy_error(got)), (502, "tls_protocol_error"), "the answer")


def test_our_certificate_is_shown_to_an_origin():
    with authority() as root:
        context = serving(root.issue("o", "IP:127.0.0.1"), client_ca=root)
        ours = root.issue("sluice", "DNS:sluice.test")
        with Origin(secured(context)) as origin:
            with through(origin, {"ca": root.cert, **ours.tls()}) as sluice:
                equal(sluice.get().status, 200, "the status")
                (shown,) = sluice.admin.show("certs")
                equal((shown["user"], shown["role"]), ("web/blue", "client"), "show certs")
            with through(origin, {"ca": root.cert}) as sluice:
                got = sluice.get()
                equal((got.status, proxy_error(got)), (502, "tls_alert_received"), "without a certificate")


def test_an_origin_that_misses_a_certificate_says_so_before_the_request_or_behind_it():
    """Under TLS 1.3 our handshake is over before the origin looks at what we show."""
    with authority() as root:
        for version, outcome in ((ssl.TLSVersion.TLSv1_2, "connect"), (ssl.TLSVersion.TLSv1_3, "reset")):
            context = serving(root.issue("o", "IP:127.0.0.1"), client_ca=root)
            context.maximum_version = version
            with Origin(secured(context)) as origin, through(origin, {"ca": root.cert}) as sluice:
                got = sluice.get()
                equal((got.status, proxy_error(got)), (502, "tls_alert_received"), f"the answer under {version}")
                (record,) = wait_until(sluice.access_log, what="the access log")
                expect(outcome in record["attempts"], f"{version}: the log has {record}")
                equal(origin.requests, [], "the requests that arrived")


def test_an_answer_cut_without_close_notify_is_not_taken_for_whole():
    def script(connection):
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\nhalf an ans")
        connection.origin.wait_for(lambda: connection.origin.cut)
        if connection.served == 0 and connection.origin.polite:
            connection.sock.unwrap()
        connection.close()

    with authority() as root:
        for polite in (True, False):
            with Origin(secured(serving(root.issue("o", "IP:127.0.0.1")), script)) as origin:
                origin.polite, origin.cut = polite, True
                with through(origin, {"ca": root.cert}) as sluice:
                    try:
                        got = sluice.get()
                        expect(polite, f"a cut answer looked whole: {got.body!r}")
                        equal(got.body, b"half an ans", "the body")
                    except Incomplete:
                        expect(not polite, "an answer with close_notify was cut")


def test_health_checks_go_over_tls():
    health = {"health": {"path": "/", "interval": "50ms", "timeout": "500ms", "rise": 1, "fall": 2}}  # the first may meet half a change
    with authority() as root:
        context = serving(root.issue("o", "IP:127.0.0.1"))
        context.num_tickets = 0  # a resumed session is not verified again
        with Origin(secured(context)) as origin, through(origin, {"ca": root.cert}, **health) as sluice:
            equal(sluice.get().status, 200, "the status")
            wrong = root.issue("b", "DNS:b.test")
            context.load_cert_chain(wrong.cert, wrong.key)
            wait_until(lambda: sluice.admin.show("endpoints")[0]["health"] == "down", what="the endpoint's fall")
            (event,) = sluice.admin.show("events", type="endpoint_down")
            expect("mismatch" in event["message"], f"the event is {event}")


def test_checks_that_only_connect_make_the_handshake_too():
    health = {"health": {"tcp": True, "interval": "50ms", "timeout": "500ms", "rise": 1, "fall": 2}}
    with authority() as root:
        context = serving(root.issue("o", "IP:127.0.0.1"))
        with Origin(secured(context)) as origin, through(origin, {"ca": root.cert}, **health) as sluice:
            equal(sluice.get().status, 200, "the status")
            wrong = root.issue("b", "DNS:b.test")
            context.load_cert_chain(wrong.cert, wrong.key)
            wait_until(lambda: sluice.admin.show("endpoints")[0]["health"] == "down", what="the endpoint's fall")
            (event,) = sluice.admin.show("events", type="endpoint_down")
            expect("mismatch" in event["message"], f"the event is {event}")
    service = {**CALM, "blue": {"tls": {"verify": False}}, **health}
    with Origin() as plain, Sluice(plain, service=service, ready=False) as sluice:
        wait_until(lambda: sluice.admin.show("endpoints")[0]["check_failure"], what="the first check's failure")
        expect(sluice.admin.show("endpoints")[0]["health"] != "up", "an endpoint that speaks no TLS is up")


if __name__ == "__main__":
    sys.exit(main(globals()))
