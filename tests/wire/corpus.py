"""One exchange of the corpus: played against a proxy, and judged.

corpus.jsonl has a case on each line:

  name      FAMILY/WHAT, unique
  level     MUST, SHOULD or hardening: the RFC's word, or none; policy: what the
            documentation promises where the RFC leaves it open
  rfc, why  where it is written, and what is odd here
  send      what the client sends: texts, {"repeat": X, "times": N},
            {"await": STATUS} (waits for that response or a final one),
            {"half_close": true}
  origin    how the origin answers, in place of its usual 200: texts and repeats
            as above, then perhaps {"close": true} or {"reset": true};
            {"early": true} in front: before it has read the body;
            {"echo": true}: then sends back whatever comes
  tunnel    sent after a 101, and expected back
  allow     the outcomes that are right (below), any of them
  requests, responses   how many may arrive and must come back (1)
  closes    the proxy must close the client's connection
  seen      holds of the first request at the origin if it was passed on
  got       holds of the replies if the request was passed on
  never     a text that must not arrive at the origin
  never_got a text that must not arrive at the client
  partial   the origin may see less than a whole request
  listener  which one: "trusted" believes forwarding fields
  only      "sluice": the case is about our own documented behaviour

Texts are octets as in latin-1. Outcomes:

  relayed   well-formed requests arrived, and the origin's answer came back
  broken    its answer began and did not end: visibly cut short
  switched  a 101
  NNN       the proxy's own answer, and no whole request arrived
  closed    the connection ended without an answer
  http2     the answer is HTTP/2
  silent, malformed   never right

Whatever the outcome, everything that arrives on either side must be
well-formed, no more requests may arrive than were sent, and a clean request
afterwards, on a connection of its own, must get its own answer.
"""

import fcntl
import json
import re
import struct
import termios
from dataclasses import dataclass, field
from pathlib import Path

from http1 import Client, Incomplete, Malformed, Silence, read_message, wait_until
from origin import Origin

CORPUS = Path(__file__).with_name("corpus.jsonl")
KEYS = set(
    "name level rfc why send origin tunnel allow requests responses closes seen got never never_got partial"
    " listener only".split()
)
LEVELS = ("MUST", "SHOULD", "hardening", "policy")
CANARY = "/canary/"
HTTP2_SETTINGS = b"\x04\x00"  # type and flags of the first frame (RFC 9113, 3.4)


def load():
    cases = [json.loads(line) for line in CORPUS.read_text().splitlines()]
    names = set()
    for case in cases:
        unknown = set(case) - KEYS
        if unknown or case["name"] in names or case["level"] not in LEVELS:
            raise ValueError(f"{case['name']}: unknown keys {unknown}, a name twice, or no such level")
        names.add(case["name"])
    return cases


def octets(step):
    if isinstance(step, dict):
        return (step["repeat"] * step["times"]).encode("latin-1")
    return step.encode("latin-1")


def is_octets(step):
    return isinstance(step, str) or "repeat" in step


@dataclass
class Seen:
    """What arrived at the origins during one case."""

    case: dict
    raw: bytearray = field(default_factory=bytearray)
    requests: list = field(default_factory=list)
    problems: list = field(default_factory=list)

    def whole(self):
        return [one for one in self.requests if one.complete]


class Recorder:
    """The origins behind the proxy: `web`, and `private` for its own route."""

    def __init__(self):
        self.seen = Seen({"name": "none"})
        self.web = Origin(self._serve, "web")
        self.private = Origin(self._serve, "private")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.web.close()
        self.private.close()

    def begin(self, case):
        self.seen = Seen(case)
        return self.seen

    def settle(self):
        """Waits until the origins have read whatever was sent to them."""

        def idle(connection):
            try:
                unread = struct.unpack("i", fcntl.ioctl(connection.sock, termios.FIONREAD, b"\0" * 4))[0]
            except (OSError, ValueError):  # closed meanwhile
                return True
            return connection.idle and unread == 0

        def quiet():
            for origin in (self.web, self.private):
                with origin.changed:
                    if not all(idle(one) for one in origin._open):
                        return False
            return True

        wait_until(quiet, 5, "quiet at the origins")

    def _serve(self, connection):
        connection.tap = lambda data: self.seen.raw.extend(data)
        while True:
            try:
                request = connection.head()
            except (Malformed, Incomplete) as error:
                self.seen.problems.append(f"a malformed request: {error}")
                return
            if request is None:
                return
            request.service = connection.origin.name
            seen = self.seen
            last = "close" in request.options("connection") or request.version == "1.0"
            if request.target.startswith(CANARY):
                connection.body(request)
                self._reply(connection, request)
                if last:
                    return
                continue
            seen.requests.append(request)
            script = seen.case.get("origin")
            early = bool(script) and script[0] == {"early": True}
            try:
                if not early:
                    if "100-continue" in request.options("expect") and request.framing != "none":
                        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                    connection.body(request)
            except Malformed as error:
                seen.problems.append(f"a malformed body: {error}")
                return
            if script is None:
                self._reply(connection, request)
            elif not self._play(connection, script):
                return
            if early:
                connection.body(request)
            if last:
                return

    @staticmethod
    def _reply(connection, request):
        fields = [("X-Origin", connection.origin.name), ("X-Target", request.target[:256])]
        connection.reply(200, fields, b"" if request.method == "HEAD" else b"ok")

    @staticmethod
    def _play(connection, script):
        """False when the connection ends with this."""
        for step in script:
            if is_octets(step):
                connection.send(octets(step))
            elif "close" in step:
                return False
            elif "reset" in step:
                connection.reset()
                return False
            elif "echo" in step:
                while connection.buffer or connection.fill():
                    connection.send(bytes(connection.buffer))
                    connection.buffer.clear()
                return False
        return True


@dataclass
class Reply:
    """What the client got."""

    interim: list = field(default_factory=list)
    finals: list = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)
    ended: bool = False
    silent: bool = False
    malformed: str = ""
    echoed: bytes = b""


def play(case, address, patience=15.0):
    reply = Reply()
    wanted = case.get("responses", 1)
    first = next((step for step in case["send"] if isinstance(step, str)), "")
    method = "HEAD" if first.lstrip("\r\n").startswith("HEAD ") else "GET"
    with Client(address, patience) as client:
        client.tap = reply.raw.extend
        try:
            _send(client, case["send"], reply, method)
            while len(reply.finals) < wanted and _receive(client, reply, method):
                pass
            if reply.finals and reply.finals[-1].status == 101 and "tunnel" in case:
                client.send(octets(case["tunnel"]))
                reply.echoed = client.take(len(case["tunnel"]))
            if not case.get("closes"):
                client.half_close()
            while _receive(client, reply, method):
                pass
        except Silence:
            reply.silent = True
        except Malformed as error:
            reply.malformed = str(error)
        except Incomplete:
            pass
        except OSError:
            reply.ended = True
        reply.ended = reply.ended or client.ended
    return reply


def _send(client, steps, reply, method):
    """Sends runs of texts at once; a proxy that has hung up is no error."""
    pending = b""
    for step in [*steps, {}]:
        if step and is_octets(step):
            pending += octets(step)
            continue
        try:
            client.send(pending)
        except OSError:
            return
        pending = b""
        if "await" in step:
            while _receive(client, reply, method):
                last = (reply.interim + reply.finals)[-1].status
                if reply.finals or last == step["await"]:
                    break
        elif "half_close" in step:
            client.half_close()


def _receive(client, reply, method):
    """Reads one more response; False at the end of the connection."""
    if reply.finals and reply.finals[-1].status == 101:
        return False
    if client.at_end():
        return False
    try:
        message = read_message(client, method)
    except (Incomplete, Malformed, Silence) as error:
        if getattr(error, "response", None) is not None:
            reply.finals.append(error.response)
        raise
    (reply.finals if message.status >= 200 or message.status == 101 else reply.interim).append(message)
    return True


def canary(address, number):
    """An unsuspicious request, which must get its own answer; '' if it does."""
    verdict = ""
    for attempt in range(2):
        target = f"{CANARY}{number}-{attempt}"
        try:
            with Client(address, 15.0) as client:
                client.ask("GET", target, [("Connection", "close")])
                answer = client.answer()
                surplus = client.rest()
        except (Incomplete, Malformed, Silence, OSError) as error:
            return f"desync: the request afterwards failed: {error!r}"
        if answer.status == 200 and answer.get("x-target") == target and not surplus:
            return ""
        if answer.status not in (502, 503, 504):
            return f"desync: the request afterwards got {answer.status} {answer.get('x-target')} {surplus[:40]!r}"
        verdict = f"the request afterwards got {answer.status}"
    return verdict


def outcome_of(case, reply):
    if not reply.finals:
        if reply.raw[3:5] == HTTP2_SETTINGS:
            return "http2"
        if reply.malformed:
            return "malformed"
        return "silent" if reply.silent and not reply.ended else "closed"
    first = reply.finals[0]
    if first.status == 101:
        return "switched"
    script = "".join(step for step in case.get("origin", []) if isinstance(step, str))
    scripted = {int(status) for status in re.findall(r"HTTP/\S+ (\d{3})\b", script)} - set(range(100, 200))
    if first.get("x-origin") or ("origin" in case and first.status in scripted):
        return "relayed" if first.complete else "broken"
    return str(first.status)


def judge(case, seen, reply):
    """(outcome, complaints); no complaints: the proxy did right."""
    outcome = outcome_of(case, reply)
    complaints = [f"unsafe: {problem}" for problem in seen.problems]
    allowed = case.get("requests", 1)
    if outcome not in case["allow"]:
        complaints.append(f"{outcome}, expected {' or '.join(case['allow'])}")
    if reply.malformed:
        complaints.append(f"unsafe: a malformed response: {reply.malformed}")
    if len(seen.requests) > allowed and not (outcome in ("502", "504") and "origin" in case):
        complaints.append(f"smuggled: {len(seen.requests)} requests arrived, at most {allowed} may")
    passed_on = outcome in ("relayed", "switched", "broken")
    if passed_on:
        if outcome != "broken" and not case.get("partial") and len(seen.whole()) < allowed:
            complaints.append(f"{len(seen.whole())} whole requests arrived, expected {allowed}")
        complaints += check_seen(case.get("seen", {}), seen)
        complaints += check_got(case.get("got", {}), reply)
        complaints += check_surplus(case, reply)
    elif seen.whole() and "origin" not in case:
        complaints.append(f"unsafe: a whole request arrived, though the client was told {outcome}")
    if case.get("closes") and not reply.ended:
        complaints.append("the connection stayed open")
    if case.get("never") and case["never"].encode("latin-1") in seen.raw:
        complaints.append(f"unsafe: {case['never']!r} arrived at the origin")
    if case.get("never_got") and case["never_got"].encode("latin-1") in reply.raw:
        complaints.append(f"unsafe: {case['never_got']!r} arrived at the client")
    if "tunnel" in case and outcome == "switched" and reply.echoed != octets(case["tunnel"]):
        complaints.append(f"the tunnel gave back {reply.echoed[:40]!r}")
    return outcome, complaints


def check_surplus(case, reply):
    """More answers than requests: only our own refusals of what came behind."""
    for one in reply.finals[case.get("responses", 1) :]:
        if one.status < 400 or one.get("x-origin"):
            return [f"smuggled: a surplus response {one.status}"]
    return []


def check_seen(wanted, seen):
    """What must hold of the (first) request that arrived."""
    if not wanted or not seen.requests:
        return []
    request = seen.requests[0]
    wrong = []
    for key in ("method", "target", "version", "service", "framing"):
        if key in wanted and getattr(request, key) != wanted[key]:
            wrong.append(f"the {key} arrived as {getattr(request, key)!r}, expected {wanted[key]!r}")
    if "targets" in wanted:
        targets = [one.target for one in seen.requests]
        if targets != wanted["targets"]:
            wrong.append(f"the targets arrived as {targets}")
    if "body" in wanted and request.body != wanted["body"].encode("latin-1"):
        wrong.append(f"the body arrived as {request.body[:60]!r}")
    wrong += _check_fields(wanted, request, "arrived")
    if "trailers" in wanted and request.trailers != [tuple(one) for one in wanted["trailers"]]:
        wrong.append(f"the trailers arrived as {request.trailers}")
    return wrong


def check_got(wanted, reply):
    if not wanted or not reply.finals:
        return []
    first = reply.finals[0]
    wrong = []
    statuses = [one.status for one in reply.finals]
    if "statuses" in wanted and not _same_statuses(reply.finals, wanted["statuses"]):
        wrong.append(f"statuses {statuses}, expected {wanted['statuses']}")
    if "targets" in wanted:
        targets = [one.get("x-target") for one in reply.finals if one.get("x-origin")]
        if targets != wanted["targets"]:
            wrong.append(f"answers to {targets}, expected {wanted['targets']}")
    if "interim" in wanted and [one.status for one in reply.interim] != wanted["interim"]:
        wrong.append(f"interim responses {[one.status for one in reply.interim]}, expected {wanted['interim']}")
    for key in ("status", "reason", "version", "framing"):
        if key in wanted and getattr(first, key) != wanted[key]:
            wrong.append(f"the response's {key} is {getattr(first, key)!r}, expected {wanted[key]!r}")
    if "body" in wanted and first.body != wanted["body"].encode("latin-1"):
        wrong.append(f"the response's body is {first.body[:60]!r}")
    if "trailers" in wanted and first.trailers != [tuple(one) for one in wanted["trailers"]]:
        wrong.append(f"the response's trailers are {first.trailers}")
    return wrong + _check_fields(wanted, first, "in the response")


def _same_statuses(finals, wanted):
    """"refused" stands for any answer of the proxy's own that is an error."""
    if len(finals) != len(wanted):
        return False
    return all(
        one.status >= 400 and not one.get("x-origin") if status == "refused" else one.status == status
        for one, status in zip(finals, wanted)
    )


def _check_fields(wanted, message, where):
    wrong = []
    for name, value in wanted.get("has", {}).items():
        if message.get(name) != value:
            wrong.append(f"{name} {where} is {message.get(name)!r}, expected {value!r}")
    for name in wanted.get("lacks", []):
        if message.all(name):
            wrong.append(f"{name} {where}: {message.all(name)}")
    for name, values in wanted.get("lines", {}).items():
        if message.all(name) != values:
            wrong.append(f"{name} {where} is {message.all(name)}, expected {values}")
    for name, text in wanted.get("without", {}).items():
        if text in (message.get(name) or "").lower():
            wrong.append(f"{name} {where} is {message.get(name)!r}")
    for name, pattern in wanted.get("matches", {}).items():
        if not re.fullmatch(pattern, message.get(name) or ""):
            wrong.append(f"{name} {where} is {message.get(name)!r}, which is not {pattern}")
    return wrong


@dataclass
class Verdict:
    case: dict
    outcome: str
    complaints: list

    @property
    def right(self):
        return not self.complaints

    @property
    def dangerous(self):
        return any(one.startswith(("unsafe", "smuggled", "desync")) for one in self.complaints)


def run_case(case, number, address, recorder):
    seen = recorder.begin(case)
    try:
        reply = play(case, address)
    except OSError as error:
        return Verdict(case, "unreachable", [f"no connection to the proxy: {error}"])
    recorder.settle()
    outcome, complaints = judge(case, seen, reply)
    before = len(seen.requests)
    after = canary(address, number)
    if after:
        complaints.append(after)
    recorder.settle()
    if len(seen.requests) > max(before, case.get("requests", 1)):
        complaints.append("smuggled: another request arrived afterwards")
    return Verdict(case, outcome, complaints)
