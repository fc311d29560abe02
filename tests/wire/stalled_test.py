"""Slow and stalled peers: bodies wait in the kernel and at the sender, not in
the proxy's memory."""

import hashlib
import select
import sys
import threading

from harness import KiB, MiB, Sluice, digest, equal, expect, main, pattern, sanitized
from http1 import wait_until
from origin import Origin

STALLED = 3  # connections at once


def kernel_buffers():
    """What two sockets between the peers may hold at most (tcp(7))."""
    limits = [open(f"/proc/sys/net/ipv4/{name}").read().split()[2] for name in ("tcp_rmem", "tcp_wmem")]
    return sum(map(int, limits))


OFFERED = kernel_buffers() + 16 * MiB  # for each connection


def memory_allowed():
    """Two buffers of 256 KiB for each, and what else a process grows by. A
    sanitizer keeps what was freed for a while."""
    return STALLED * 2 * 256 * KiB + (96 if sanitized() else 4) * MiB


def push_until_stuck(client, data):
    """Sends until nothing has been taken for a while; how much was."""
    client.sock.setblocking(False)
    poller = select.poll()
    poller.register(client.sock, select.POLLOUT)
    at = 0
    while at < len(data) and poller.poll(500):
        try:
            at += client.sock.send(memoryview(data)[at : at + 256 * KiB])
        except BlockingIOError:
            pass
    client.sock.setblocking(True)
    return at


def test_a_client_that_ends_its_direction_has_the_end_of_its_last_answer():
    """The exchange is over and the rest of its answer lies in the proxy when it
    does, for those sizes at which the kernel's buffers are full just then."""
    def script(connection):
        while request := connection.request():
            connection.reply(200, body=body[: int(request.target[1:])])

    body = pattern(4 * MiB)
    with Origin(script) as origin, Sluice(origin, workers=1) as sluice:
        for done, size in enumerate(range(2 * MiB, 4 * MiB, 50021)):
            client = sluice.client(timeout=60, receive_buffer=4 * KiB)
            client.ask("GET", f"/{size}", [("Connection", "close")])
            got = b""
            while sluice.admin.upstream()["requests_2xx"] == done:
                got += client.sock.recv(16 * KiB)
            client.half_close()
            while piece := client.sock.recv(MiB):
                got += piece
            client.close()
            equal(len(got.partition(b"\r\n\r\n")[2]), size, "what the client got of the body")


def test_upload_to_a_stalled_origin_is_not_hoarded():
    go = threading.Event()

    def script(connection):
        request = connection.head()
        connection.wait(go, 120)
        sha = hashlib.sha256()
        connection.body(request, sha.update)
        connection.reply(200, body=sha.hexdigest().encode())

    data = pattern(OFFERED)
    with Origin(script, receive_buffer=64 * KiB) as origin, Sluice(origin) as sluice:
        clients = [sluice.client(timeout=60, send_buffer=64 * KiB) for _ in range(STALLED)]
        for client in clients:
            client.ask("PUT", "/", [("Content-Length", str(OFFERED))])
        origin.wait_for_requests(STALLED)
        before = sluice.rss_bytes()
        taken = [push_until_stuck(client, data) for client in clients]
        grown = sluice.rss_bytes() - before
        expect(max(taken) < OFFERED, "the origin reads nothing, and yet everything was taken")
        expect(grown < memory_allowed(), f"{STALLED} stalled uploads cost {grown >> 10} KiB")
        go.set()
        for client, at in zip(clients, taken):
            client.send(data[at:])
            equal(client.answer().body.decode(), digest(data), "what arrived")
            client.close()


def test_download_to_a_stalled_client_is_not_hoarded():
    data = pattern(OFFERED)

    def script(connection):
        connection.timeout = 120
        connection.request()
        connection.reply(200, body=data)

    with Origin(script, send_buffer=64 * KiB) as origin, Sluice(origin) as sluice:
        clients = [sluice.client(timeout=60, receive_buffer=64 * KiB) for _ in range(STALLED)]
        before = sluice.rss_bytes()
        for client in clients:
            client.ask("GET", "/")
        for client in clients:
            expect(select.select([client.sock], [], [], 30)[0], "no answer began")
        settled = [sluice.rss_bytes()]

        def steady():
            settled.append(sluice.rss_bytes())
            return len(settled) > 100 and settled[-1] - settled[-50] < 64 * KiB

        wait_until(steady, 30, "an end of the growth")
        grown = settled[-1] - before
        expect(grown < memory_allowed(), f"{STALLED} stalled downloads cost {grown >> 10} KiB")
        expect(origin.open == STALLED, "an origin could send everything to a client that reads nothing")
        for client in clients:
            sha = hashlib.sha256()
            client.answer(sink=sha.update)
            equal(sha.hexdigest(), digest(data), "what arrived")
            client.close()


def test_large_bodies_keep_memory_flat():
    size = 256 * MiB
    block = pattern(4 * MiB)
    blocks = size // len(block)

    def script(connection):
        while (request := connection.head()) is not None:
            sha = hashlib.sha256()
            connection.body(request, sha.update)
            if request.method == "PUT":
                connection.reply(200, body=sha.hexdigest().encode())
                continue
            connection.reply(200, [("Content-Length", str(size))], length=False)
            for _ in range(blocks):
                connection.send(block)

    sha = hashlib.sha256()
    for _ in range(blocks):
        sha.update(block)
    with Origin(script) as origin, Sluice(origin) as sluice, sluice.client(timeout=60) as client:
        before = sluice.rss_bytes()
        client.ask("PUT", "/", [("Content-Length", str(size))])
        for _ in range(blocks):
            client.send(block)
        equal(client.answer().body.decode(), sha.hexdigest(), "the upload")
        received = hashlib.sha256()
        client.ask("GET", "/")
        client.answer(sink=received.update)
        equal(received.hexdigest(), sha.hexdigest(), "the download")
        grown = sluice.rss_bytes() - before
        limit = (64 if sanitized() else 3) * MiB
        expect(grown < limit, f"{size >> 20} MiB each way cost {grown >> 10} KiB")


def test_slow_reader_gets_everything():
    data = pattern(3 * MiB)

    def script(connection):
        connection.request()
        connection.reply(200, body=data)

    with Origin(script) as origin, Sluice(origin) as sluice:
        with sluice.client(receive_buffer=4 * KiB, timeout=60) as client:
            client.ask("GET", "/")
            client.sock.settimeout(60)
            got = bytearray()
            while len(got) < len(data):
                piece = client.sock.recv(1777)
                expect(piece, f"the answer ended after {len(got)} octets")
                got += piece
                if b"\r\n\r\n" in got[:4096] and got.startswith(b"HTTP/1.1"):
                    del got[: got.index(b"\r\n\r\n") + 4]
            equal(digest(got), digest(data), "the body")


if __name__ == "__main__":
    sys.exit(main(globals()))
