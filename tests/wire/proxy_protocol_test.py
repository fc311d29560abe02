"""The PROXY protocol on listeners: whose connection it is, and who may say so."""

import socket
import struct
import sys
import threading

from harness import Sluice, equal, expect, main
from http1 import Client, Silence, wait_until
from origin import Origin
from peers import Peer

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
CLIENT = "203.0.113.9"
VERSION1 = f"PROXY TCP4 {CLIENT} 192.0.2.1 40000 80\r\n".encode()
ADDRESSES = socket.inet_aton(CLIENT) + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 40000, 80)


def version2(command=1, family=0x11, rest=ADDRESSES):
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack("!H", len(rest)) + rest


VERSION2_SIX = version2(
    family=0x21, rest=socket.inet_pton(socket.AF_INET6, "2001:db8::9") + bytes(16) + struct.pack("!HH", 1, 2)
)


def behind_balancer(origin, trusted="127.0.0.0/8", **more):
    listener = {"bind": "127.0.0.1:0", "proxy_protocol": True, "trusted": [trusted]}
    return Sluice(origin, config={"listener": [listener]}, **more)


def forwarded_for(sluice, origin, header, fields=()):
    """What the origin is told of the client."""
    with sluice.client() as client:
        client.send(header)
        equal(client.get("/", fields).status, 200, "the status")
    return origin.requests[-1].get("x-forwarded-for")


def test_both_versions_name_the_client():
    with Origin() as origin, behind_balancer(origin) as sluice:
        equal(forwarded_for(sluice, origin, VERSION1), CLIENT, "of version 1")
        equal(forwarded_for(sluice, origin, version2()), CLIENT, "of version 2")
        equal(forwarded_for(sluice, origin, VERSION2_SIX), "2001:db8::9", "over IPv6")
        equal(forwarded_for(sluice, origin, version2(command=0, family=0, rest=b"")), "127.0.0.1", "the balancer's own")
        equal(forwarded_for(sluice, origin, b"PROXY UNKNOWN\r\n"), "127.0.0.1", "unknown")


def test_client_is_the_real_one_in_log_and_sessions():
    seen, go = threading.Event(), threading.Event()

    def script(connection):
        connection.request()
        seen.set()
        connection.wait(go)
        connection.reply(200)

    with Origin(script) as origin, behind_balancer(origin) as sluice, sluice.client() as client:
        client.send(VERSION1)
        client.ask("GET", "/")
        expect(seen.wait(10), "the request never arrived")
        equal([one["client"] for one in sluice.admin.show("sessions")], [CLIENT], "the sessions' clients")
        go.set()
        equal(client.answer().status, 200, "the status")
        wait_until(lambda: [one["client"] for one in sluice.access_log()] == [CLIENT], what="the log line")


def test_client_decides_where_sticky_requests_go():
    with Origin(name="blue") as blue, Origin(name="green") as green:
        listener = {"bind": "127.0.0.1:0", "proxy_protocol": True, "trusted": ["127.0.0.0/8"]}
        service = {"split": 50, "sticky": "client-ip"}
        with Sluice(blue, green, service=service, config={"listener": [listener]}) as sluice:
            sides = {}
            for number in list(range(40)) * 2:
                with sluice.client() as client:
                    client.send(f"PROXY TCP4 203.0.113.{number} 192.0.2.1 1 80\r\n".encode())
                    sides.setdefault(number, set()).add(client.get("/").get("x-origin"))
            expect(all(len(one) == 1 for one in sides.values()), f"a client moved: {sides}")
            equal(set.union(*sides.values()), {"blue", "green"}, "the sides of 40 clients")


def test_forwarding_fields_of_an_untrusted_client_are_not_believed():
    with Origin() as origin, behind_balancer(origin) as sluice:
        spoofed = [("X-Forwarded-For", "6.6.6.6")]
        equal(forwarded_for(sluice, origin, VERSION1, spoofed), CLIENT, "behind the balancer")


def test_untrusted_peer_cannot_say_who_it_is():
    with Origin() as origin, behind_balancer(origin, trusted="192.0.2.0/24") as sluice:
        with sluice.client() as client:
            client.send(VERSION1)
            client.ask("GET", "/")
            equal(client.answer().status, 400, "the status")
        equal(sluice.get("/").status, 200, "a plain request")
        equal(origin.requests[-1].get("x-forwarded-for"), "127.0.0.1", "the client")


def test_wrong_or_missing_header_ends_the_connection():
    with Origin() as origin, behind_balancer(origin) as sluice:
        for wrong in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PROXY TCP4 1.2.3.4\r\n", SIGNATURE + b"\x11\x11\0\0"):
            with sluice.client() as client:
                client.send(wrong)
                equal(client.rest(), b"", f"the answer to {wrong}")
        equal(origin.requests, [], "what went up")


def test_header_that_never_ends_is_waited_for_no_longer_than_a_request():
    timeouts = {"client_header": "300ms"}
    with Origin() as origin, behind_balancer(origin, service={"timeouts": timeouts}) as sluice:
        with sluice.client() as client:
            client.send(VERSION1[:20])
            try:
                equal(client.rest(), b"", "the answer")
            except Silence:
                raise AssertionError("it is waited for without an end") from None


def test_haproxy_is_understood():
    with Origin() as origin, behind_balancer(origin) as sluice:
        address = "%s:%d" % sluice.address
        for options in ("send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"):
            with Peer("haproxy", address, options) as peer, Client(peer.address) as client:
                equal(client.get("/").status, 200, f"the status with {options}")
                equal(origin.requests[-1].get("x-forwarded-for"), "127.0.0.1", "the client")


if __name__ == "__main__":
    sys.exit(main(globals()))
