"""Origins for tests: servers that do exactly what a script says.

Origin runs `script(connection)` in a thread for each connection it accepts and
records every request that the script reads. A script reads with request() or
head() and body(), and answers with reply(), send(), trickle(), reset(),
half_close() and close(); wait(event) holds it until the test says go.

refusing() is an address where nobody listens, unanswering() one where the
kernel answers no SYN. FastOrigin is a process of its own that answers as fast
as Python can.
"""

import multiprocessing
import select
import socket
import threading
from contextlib import contextmanager

from http1 import Incomplete, Malformed, Silence, Wire, read_body, read_request_head


class Connection(Wire):
    """One accepted connection, in the hands of a script."""

    def __init__(self, origin, sock, number):
        super().__init__(sock, timeout=30.0)
        self.origin = origin
        self.number = number  # counts from 0 in the order of accepting
        self.served = 0

    def head(self):
        """The next request without its body, recorded; None at the end."""
        request = read_request_head(self)
        if request is not None:
            request.connection = self.number
            self.origin.record(request)
        return request

    def body(self, request, sink=None):
        read_body(self, request, sink)
        return request

    def request(self):
        request = self.head()
        return request and self.body(request)

    def reply(self, status=200, fields=(), body=b"", reason="OK", length=True):
        self.served += 1
        lines = [f"HTTP/1.1 {status} {reason}"] + [f"{name}: {value}" for name, value in fields]
        if length:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines + ["", ""]).encode("latin-1") + body)

    def trickle(self, data, pause, size=1):
        """Sends `size` octets at a time; `pause()` is called between."""
        for at in range(0, len(data), size):
            self.send(data[at : at + size])
            pause()

    def wait(self, event, seconds=30.0):
        if not event.wait(seconds):
            raise Silence("the test never said go")


def serve(connection):
    """Answers each request with who answered and what was asked."""
    while (request := connection.request()) is not None:
        fields = [("X-Origin", connection.origin.name), ("X-Target", request.target)]
        body = b"" if request.method == "HEAD" else f"{request.method} {len(request.body)}\n".encode()
        connection.reply(200, fields, body)
        if "close" in request.options("connection") or request.version == "1.0":
            return


class Origin:
    """A server on a free port of loopback whose behaviour is a script."""

    def __init__(self, script=serve, name="origin", receive_buffer=None, send_buffer=None):
        self.script = script
        self.name = name
        self.requests = []
        self.errors = []  # what scripts met: malformed or incomplete requests
        self.accepted = 0
        self.most_open = 0
        self.send_buffer = send_buffer
        self.changed = threading.Condition()
        self._open = set()
        self._closing = False
        self.listener = socket.socket()
        if receive_buffer:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(512)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def open(self):
        with self.changed:
            return len(self._open)

    def record(self, request):
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()

    def wait_for(self, condition, seconds=10.0, what="it"):
        """Waits until condition() holds, looked at after every change."""
        with self.changed:
            if not self.changed.wait_for(condition, seconds):
                raise Silence(f"{self.name}: {what} did not happen within {seconds} s")

    def wait_for_requests(self, count, seconds=10.0):
        self.wait_for(lambda: len(self.requests) >= count, seconds, f"request {count}")

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            if self.send_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.send_buffer)
            with self.changed:
                connection = Connection(self, sock, self.accepted)
                self._open.add(connection)
                self.accepted += 1
                if len(self._open) > self.most_open:
                    self.most_open = max(self.most_open, sum(not is_broken(one.sock) for one in self._open))
                self.changed.notify_all()
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection):
        try:
            self.script(connection)
        except (Incomplete, Malformed, Silence, OSError, ValueError) as error:
            if not self._closing:
                with self.changed:
                    self.errors.append(error)
        finally:
            with self.changed:
                self._open.discard(connection)
                self.changed.notify_all()
            connection.close()

    def close(self):
        self._closing = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        except OSError:
            pass
        self.listener.close()
        self._acceptor.join(5)
        with self.changed:
            still_open = list(self._open)
        for connection in still_open:
            connection.close()


def pair():
    """A blue and a green that say who they are."""
    return Origin(name="blue"), Origin(name="green")


def is_broken(sock):
    """Has the peer reset it, though whoever serves it has not read that far yet?
    One that the peer has merely ended is still a connection."""
    poller = select.poll()
    try:
        poller.register(sock, 0)
    except ValueError:  # closed here
        return True
    return bool(poller.poll(0))


@contextmanager
def refusing():
    """An address where a connection is refused, and that nobody else takes."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    try:
        yield "127.0.0.1:%d" % sock.getsockname()[1]
    finally:
        sock.close()


@contextmanager
def unanswering():
    """An address whose accept queue is full, so that a SYN gets no answer."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    try:
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        yield "127.0.0.1:%d" % listener.getsockname()[1]
    finally:
        for filler in fillers:
            filler.close()
        listener.close()


class FastOrigin:
    """Answers requests without a body by one fixed response, in a process of
    its own; `total` is how many it has answered. What a slow reader does not
    take at once is sent as it does."""

    def __init__(self, body, send_buffer=None):
        self.listener = socket.socket()
        if send_buffer:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(1024)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        fork = multiprocessing.get_context("fork")
        self._total = fork.Value("Q", 0, lock=False)
        self._process = fork.Process(target=_answer_fast, args=(self.listener, response, self._total), daemon=True)
        self._process.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.join()
        self.listener.close()

    @property
    def total(self):
        return self._total.value


def _answer_fast(listener, response, total):
    poller = select.epoll()
    poller.register(listener.fileno(), select.EPOLLIN)
    sockets, partial, unsent = {}, {}, {}
    waiting = set()  # for EPOLLOUT

    def send(number, data):
        try:
            sent = sockets[number].send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(data)
        rest = data[sent:]
        if rest:
            unsent[number] = rest
        if bool(rest) != (number in waiting):
            waiting.symmetric_difference_update({number})
            poller.modify(number, select.EPOLLIN | (select.EPOLLOUT if rest else 0))

    while True:
        for number, events in poller.poll():
            if number == listener.fileno():
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setblocking(False)
                sockets[sock.fileno()] = sock
                poller.register(sock.fileno(), select.EPOLLIN)
                continue
            if events & select.EPOLLOUT:
                send(number, unsent.pop(number, b""))
            if not events & ~select.EPOLLOUT:
                continue
            try:
                data = sockets[number].recv(65536)
            except OSError:
                data = b""
            if not data:
                poller.unregister(number)
                sockets.pop(number).close()
                partial.pop(number, None)
                unsent.pop(number, None)
                waiting.discard(number)
                continue
            data = partial.pop(number, b"") + data
            heads = data.count(b"\r\n\r\n")
            if not data.endswith(b"\r\n\r\n"):
                partial[number] = data[data.rfind(b"\r\n\r\n") + 4 :] if heads else data
            if heads:
                total.value += heads
                # Views of the one response, however many wait for it.
                more = memoryview(response if heads == 1 else response * heads)
                send(number, bytes(unsent.pop(number)) + more if number in unsent else more)
