"""HTTP/1 on a socket, octet by octet: what is sent is exactly what was given,
and what comes back is read by the letter of RFC 9112, so that a message that
is malformed, ambiguous or cut short is an error here and not a guess.

Wire is one socket with a buffer and a deadline for every wait. read_head(),
read_body() and what is built on them raise Malformed for octets that break the
grammar and Incomplete for a message whose end never came.
"""

import re
import socket
import struct
import time
from dataclasses import dataclass, field

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[ \t!-~\x80-\xff]*[!-~\x80-\xff])?)?")
REQUEST_LINE = re.compile(rb"([^ ]+) ([!-~]+) HTTP/(1\.[01])")
STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-5][0-9][0-9]) ([\t -~\x80-\xff]*)")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})((?:[ \t]*;[ \t]*[!-~][\t -~]*)*)")
HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%!$&'()*+;=]*)(?::[0-9]*)?")


class Malformed(Exception):
    """Octets that break the grammar."""


class Incomplete(Exception):
    """The connection ended, or was reset, within a message."""


class Silence(Exception):
    """Nothing came before the deadline."""


class Wire:
    """One connected socket; every wait ends at the timeout by Silence."""

    def __init__(self, sock, timeout=10.0):
        self.sock = sock
        self.timeout = timeout
        self.buffer = bytearray()
        self.ended = False
        self.was_reset = False
        self.idle = False  # waits for the peer's next octet
        self.tap = None  # is shown everything that arrives
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.sock.settimeout(self.timeout)
        try:
            self.sock.sendall(data)
        except TimeoutError as error:
            raise Silence("the peer reads no further") from error

    def fill(self):
        """Reads once more; False when the peer has ended."""
        if self.ended:
            return False
        self.sock.settimeout(self.timeout)
        self.idle = True
        try:
            data = self.sock.recv(262144)
        except TimeoutError as error:
            raise Silence(f"nothing within {self.timeout} s") from error
        except OSError:
            self.was_reset = True
            data = b""
        if not data:
            self.ended = True
            return False
        if self.tap is not None:
            self.tap(data)
        self.idle = False
        self.buffer += data
        return True

    def take(self, size):
        while len(self.buffer) < size:
            if not self.fill():
                raise Incomplete(f"{len(self.buffer)} of {size} octets")
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def line(self):
        """The next line without its CRLF, which nothing else stands in for."""
        while True:
            end = self.buffer.find(b"\n")
            if end >= 0:
                break
            if not self.fill():
                raise Incomplete(f"within a line: {bytes(self.buffer[:60])!r}")
        line = self.take(end + 1)[:-1]
        if not line.endswith(b"\r"):
            raise Malformed(f"a line ends with LF alone: {line[:60]!r}")
        if b"\r" in line[:-1]:
            raise Malformed(f"a bare CR: {line[:60]!r}")
        return line[:-1]

    def at_end(self):
        """Waits for an octet or the end; True at the end."""
        return not self.buffer and not self.fill()

    def rest(self):
        """All that comes until the peer ends."""
        while self.fill():
            pass
        data = bytes(self.buffer)
        self.buffer.clear()
        return data

    def half_close(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def reset(self):
        """Closes by RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        self.ended = True
        try:
            self.sock.shutdown(socket.SHUT_RD)  # wakes a thread that reads
        except OSError:
            pass
        self.sock.close()


@dataclass
class Message:
    """The head of a request or response, and its body once it has been read."""

    version: str = "1.1"
    fields: list = field(default_factory=list)  # (name in lower case, value)
    body: bytes = b""
    size: int = 0  # of the body, also where it was not kept
    trailers: list = field(default_factory=list)
    framing: str = "none"  # none, length, chunked or close
    complete: bool = False

    def all(self, name):
        return [value for key, value in self.fields if key == name]

    def get(self, name, default=None):
        values = self.all(name)
        return ", ".join(values) if values else default

    def options(self, name):
        """The elements of a list field, in lower case."""
        return [one.strip().lower() for one in self.get(name, "").split(",") if one.strip()]


@dataclass
class Request(Message):
    method: str = ""
    target: str = ""


@dataclass
class Response(Message):
    status: int = 0
    reason: str = ""
    interim: list = field(default_factory=list)  # the 1xx responses before it


def read_fields(wire):
    fields = []
    while True:
        line = wire.line()
        if not line:
            return fields
        if line[:1] in b" \t":
            raise Malformed(f"a folded line: {line[:60]!r}")
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.fullmatch(name):
            raise Malformed(f"a field line without a proper name: {line[:60]!r}")
        value = value.strip(b" \t")
        if not VALUE.fullmatch(value):
            raise Malformed(f"a control octet in the value of {name.decode()}: {value[:60]!r}")
        fields.append((name.decode().lower(), value.decode("latin-1")))


def read_framing(message):
    """none, length, chunked or an error; close is for the caller to decide."""
    lengths = message.all("content-length")
    codings = message.options("transfer-encoding")
    if message.all("transfer-encoding"):
        if lengths:
            raise Malformed("Content-Length beside Transfer-Encoding")
        if message.version == "1.0":
            raise Malformed("Transfer-Encoding in HTTP/1.0")
        if codings != ["chunked"]:
            raise Malformed(f"Transfer-Encoding {codings}")
        return "chunked"
    if not lengths:
        return "none"
    if len(lengths) > 1 or not re.fullmatch("[0-9]{1,19}", lengths[0]):
        raise Malformed(f"Content-Length {lengths}")
    return "length"


def read_request_head(wire):
    """A Request without its body; None where the connection ended instead."""
    if wire.at_end():
        return None
    line = wire.line()
    match = REQUEST_LINE.fullmatch(line)
    if not match or not TOKEN.fullmatch(match[1]):
        raise Malformed(f"request line {line[:80]!r}")
    method, target, version = (part.decode("latin-1") for part in match.groups())
    request = Request(version=version, method=method, target=target)
    request.fields = read_fields(wire)
    request.framing = read_framing(request)
    hosts = request.all("host")
    if len(hosts) > 1 or (version == "1.1" and len(hosts) != 1):
        raise Malformed(f"{len(hosts)} Host fields")
    if hosts and not HOST.fullmatch(hosts[0]):
        raise Malformed(f"Host {hosts[0]!r}")
    return request


def read_response_head(wire):
    line = wire.line()
    match = STATUS_LINE.fullmatch(line)
    if not match:
        raise Malformed(f"status line {line[:80]!r}")
    response = Response(version=match[1].decode(), status=int(match[2]), reason=match[3].decode("latin-1"))
    response.fields = read_fields(wire)
    return response


def read_body(wire, message, sink=None):
    """Reads the body that `framing` announces into message.body or sink()."""
    parts = []

    def keep(data):
        message.size += len(data)
        (sink or parts.append)(data)

    try:
        if message.framing == "length":
            _pass_on(wire, int(message.get("content-length")), keep)
        elif message.framing == "chunked":
            _read_chunks(wire, message, keep)
        elif message.framing == "close":
            while wire.buffer or wire.fill():
                keep(bytes(wire.buffer))
                wire.buffer.clear()
            if wire.was_reset:
                raise Incomplete("reset within a body that the end of the connection ends")
    finally:
        message.body = b"".join(parts)
    message.complete = True


def _pass_on(wire, size, keep):
    while size > 0:
        if not wire.buffer and not wire.fill():
            raise Incomplete(f"{size} octets of the body are missing")
        data = bytes(wire.buffer[:size])
        del wire.buffer[: len(data)]
        size -= len(data)
        keep(data)


def _read_chunks(wire, message, keep):
    while True:
        line = wire.line()
        match = CHUNK_LINE.fullmatch(line)
        if not match:
            raise Malformed(f"chunk line {line[:60]!r}")
        size = int(match[1], 16)
        if size == 0:
            message.trailers = read_fields(wire)
            return
        _pass_on(wire, size, keep)
        if wire.take(2) != b"\r\n":
            raise Malformed("chunk data without CRLF behind it")


def read_message(wire, method="GET", sink=None):
    """The next response, whether interim or final. Where its body breaks off,
    the error has what there was of it as `response`."""
    response = read_response_head(wire)
    codings = response.options("transfer-encoding")
    if codings and not response.all("content-length") and not any("chunked" in one for one in codings):
        response.framing = "none"  # so the end of the connection is its end
    else:
        response.framing = read_framing(response)
    if (response.status < 200 or response.status == 204) and response.framing != "none":
        raise Malformed(f"body framing in a {response.status}")
    if method == "HEAD" or response.status < 200 or response.status in (204, 304):
        response.framing = "none"
    elif response.framing == "none":
        response.framing = "close"
    try:
        read_body(wire, response, sink)
    except (Incomplete, Malformed, Silence) as error:
        error.response = response
        raise
    return response


def read_response(wire, method="GET", sink=None):
    """The final response, or 101, with the interim ones before it."""
    interim = []
    while True:
        response = read_message(wire, method, sink)
        if response.status == 101 or response.status >= 200:
            response.interim = interim
            return response
        interim.append(response)


class Client(Wire):
    """A client's connection; `address` is ("host", port) or a path."""

    def __init__(self, address, timeout=10.0, receive_buffer=None, send_buffer=None):
        unix = isinstance(address, str)
        family = socket.AF_UNIX if unix else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if send_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        sock.settimeout(timeout)
        sock.connect(address)
        super().__init__(sock, timeout)

    def ask(self, method="GET", target="/", fields=(), body=b"", host="a.test", version="1.1"):
        """Sends a request that needs nothing odd."""
        lines = [f"{method} {target} HTTP/{version}"]
        if host is not None:
            lines.append(f"Host: {host}")
        lines += [f"{name}: {value}" for name, value in fields]
        names = [name.lower() for name, _ in fields]
        if body and "content-length" not in names and "transfer-encoding" not in names:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines + ["", ""]).encode("latin-1") + body)

    def answer(self, method="GET", sink=None):
        return read_response(self, method, sink)

    def get(self, target="/", fields=(), **more):
        self.ask("GET", target, fields, **more)
        return self.answer()


def proxy_error(response):
    """The error type in Proxy-Status (RFC 9209, 2.1.1); None where there is none."""
    for part in response.get("proxy-status", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == "error":
            return value
    return None


def wait_until(condition, seconds=10.0, what="the condition"):
    """For what can only be polled; fails loudly when the time runs out."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Silence(f"{what} did not come true within {seconds} s")
        time.sleep(0.005)


def is_refused(address):
    """Does nobody listen there?"""
    with socket.socket() as sock:
        return sock.connect_ex(address) != 0
