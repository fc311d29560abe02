"""Traces: W3C traceparent through the proxy, and spans at a collector."""

import json
import re
import sys

from harness import CALM, Sluice, equal, expect, main
from http1 import wait_until
from origin import Origin, refusing
from tls import authority, secured, serving

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])")


def traced(blue, collector, sample=0, **more):
    trace = {"endpoint": f"http://{getattr(collector, 'address', collector)}/v1/traces", "sample": sample}
    return Sluice(blue, service=CALM, config={"trace": trace}, **more)


def taking(status):
    def script(connection):
        while connection.request() is not None:
            connection.reply(status, reason="whatever", body=b"{}")

    return script


SERVER, CLIENT = 2, 3


def spans_at(collector, kind=SERVER):
    """The spans of requests, or of attempts, that have arrived so far."""
    spans = []
    for request in list(collector.requests):
        if not request.complete:
            continue  # its body is on the way
        equal((request.method, request.target), ("POST", "/v1/traces"), "what the collector is asked")
        equal(request.get("content-type"), "application/json", "the type")
        for resource in json.loads(request.body)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                spans += [span for span in scope["spans"] if span["kind"] == kind]
    return spans


def sent_upstream(origin):
    (value,) = origin.requests[-1].all("traceparent")
    match = TRACEPARENT.fullmatch(value)
    expect(match, f"the upstream got traceparent {value!r}")
    return match.groups()


def attributes(span):
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def test_a_sampled_trace_is_continued_and_its_span_arrives():
    with Origin() as blue, Origin(taking(200), "collector") as collector, traced(blue, collector) as sluice:
        fields = [("traceparent", f"00-{TRACE}-{CALLER}-01"), ("tracestate", "vendor=1"), ("X-Request-Id", "abc")]
        equal(sluice.get("/cart?id=7", fields).status, 200, "the answer")
        trace, parent, flags = sent_upstream(blue)
        equal((trace, flags), (TRACE, "01"), "trace and flags at the upstream")
        expect(parent != CALLER, "the upstream sees the caller as its parent")
        equal(blue.requests[-1].get("tracestate"), "vendor=1", "tracestate at the upstream")
        (span,) = wait_until(lambda: spans_at(collector), 20, "a span at the collector")
        (attempt,) = spans_at(collector, CLIENT)
        equal((span["traceId"], span["parentSpanId"]), (TRACE, CALLER), "the span's trace and parent")
        equal((attempt["traceId"], attempt["parentSpanId"], attempt["spanId"]), (TRACE, span["spanId"], parent),
              "the attempt's trace and parent, and its id as the upstream saw it")
        expect(inside(attempt, span), f"the attempt {attempt} is not within {span}")
        equal(int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]), True, "the span's times")
        told = attributes(span)
        wanted = {"http.request.method": "GET", "url.path": "/cart", "url.query": "id=7", "sluice.service": "web",
                  "sluice.upstream": "blue", "sluice.endpoint": blue.address, "sluice.attempts": "ok",
                  "sluice.request_id": "abc", "http.response.status_code": "200"}
        equal({key: told.get(key) for key in wanted}, wanted, "the span's attributes")
        (line,) = wait_until(sluice.access_log, 10, "a line of the access log")
        equal((line["trace_id"], line["trace_sampled"]), (TRACE, True), "the trace in the access log")


def test_a_caller_that_does_not_sample_is_obeyed():
    with Origin() as blue, Origin(taking(200), "collector") as collector, traced(blue, collector, sample=1) as sluice:
        sluice.get("/no", [("traceparent", f"00-{TRACE}-{CALLER}-00")])
        equal(sent_upstream(blue)[::2], (TRACE, "00"), "trace and flags at the upstream")
        sluice.get("/yes", [("traceparent", f"00-{TRACE}-{CALLER}-01")])
        spans = wait_until(lambda: spans_at(collector), 20, "a span at the collector")
        equal([attributes(span)["url.path"] for span in spans], ["/yes"], "the spans")


def test_a_trace_begins_where_there_is_none_or_no_good_one():
    with Origin() as blue, Origin(taking(200), "collector") as collector, traced(blue, collector, sample=1) as sluice:
        wrong = [("traceparent", f"00-{TRACE}-{CALLER}"), ("tracestate", "vendor=1")]
        twice = [("traceparent", f"00-{TRACE}-{CALLER}-01"), ("traceparent", f"00-{TRACE}-{CALLER}-01")]
        for number, fields in enumerate(([], wrong, twice)):
            sluice.get(f"/{number}", fields)
            trace, _, flags = sent_upstream(blue)
            expect(trace != TRACE and flags == "01", f"the upstream got {blue.requests[-1].all('traceparent')}")
            equal(blue.requests[-1].all("tracestate"), [], "tracestate of a trace that begins here")
        spans = wait_until(lambda: len(spans_at(collector)) == 3 and spans_at(collector), 20, "three spans")
        equal({span["parentSpanId"] for span in spans}, {""}, "their parents")


def inside(attempt, span):
    return (int(span["startTimeUnixNano"]) <= int(attempt["startTimeUnixNano"])
            <= int(attempt["endTimeUnixNano"]) <= int(span["endTimeUnixNano"]))


def seen_by(origin):
    """The span that each request to the origin named as its parent."""
    return [TRACEPARENT.fullmatch(request.get("traceparent")).group(2) for request in origin.requests]


def failing_once(connection):
    while connection.request() is not None:
        connection.reply(503 if len(connection.origin.requests) == 1 else 200, reason="whatever")


def test_a_retried_request_is_one_span_with_one_below_it_for_each_attempt():
    with Origin(failing_once) as blue, Origin(taking(200), "collector") as collector:
        with traced(blue, collector, sample=1) as sluice:
            equal(sluice.get().status, 200, "the answer")
            (span,) = wait_until(lambda: spans_at(collector), 20, "a span at the collector")
            equal(attributes(span)["sluice.attempts"], "5xx,ok", "the attempts")
            expect("status" not in span, f"an error in {span}")
            first, second = spans_at(collector, CLIENT)
            equal([first["spanId"], second["spanId"]], seen_by(blue), "the parents that the endpoint saw")
            equal({one["parentSpanId"] for one in (first, second)}, {span["spanId"]}, "the parent of the attempts")
            equal({one["traceId"] for one in (first, second)}, {span["traceId"]}, "the trace of the attempts")
            expect(inside(first, span) and inside(second, span), "an attempt is longer than its request")
            told = attributes(first)
            wanted = {"sluice.upstream": "blue", "sluice.endpoint": blue.address, "sluice.outcome": "5xx",
                      "http.response.status_code": "503", "error.type": "503", "http.request.resend_count": None}
            equal({key: told.get(key) for key in wanted}, wanted, "the first attempt")
            equal(first["status"], {"code": 2}, "the first attempt's status")
            told = attributes(second)
            wanted = {"sluice.outcome": "ok", "http.response.status_code": "200", "error.type": None,
                      "http.request.resend_count": "1", "sluice.rescue": None}
            equal({key: told.get(key) for key in wanted}, wanted, "the second attempt")
            expect("status" not in second, f"an error in {second}")


def test_a_rescued_request_has_an_attempt_of_each_colour():
    def hanging_up(connection):
        connection.request()

    with Origin() as blue, Origin(hanging_up) as green, Origin(taking(200), "collector") as collector:
        trace = {"endpoint": f"http://{collector.address}/v1/traces", "sample": 1}
        service = {**CALM, "split": 100, "rescue": True, "retry": {"max": 0}}
        with Sluice(blue, green, service=service, config={"trace": trace}) as sluice:
            equal(sluice.get().status, 200, "the answer")
            wait_until(lambda: spans_at(collector), 20, "a span at the collector")
            first, second = spans_at(collector, CLIENT)
            equal([first["spanId"], second["spanId"]], seen_by(green) + seen_by(blue), "the parents that were seen")
            told = attributes(first)
            equal((told["sluice.upstream"], told["sluice.outcome"]), ("green", "reset"), "the first attempt")
            equal(first["status"], {"code": 2}, "the first attempt's status")
            expect("http.response.status_code" not in told and told["error.type"], f"the first attempt is {told}")
            told = attributes(second)
            equal((told["sluice.upstream"], told["sluice.rescue"]), ("blue", True), "the second attempt")


def test_what_no_attempt_was_made_for_is_one_span():
    with Origin() as blue, Origin(taking(200), "collector") as collector:
        with traced(blue, collector, sample=1) as sluice:
            sluice.admin.do("maintenance web on")
            equal(sluice.get().status, 503, "the answer")
            (span,) = wait_until(lambda: spans_at(collector), 20, "a span at the collector")
            equal(attributes(span)["http.response.status_code"], "503", "the status")
            equal(spans_at(collector, CLIENT), [], "attempts")


def test_spans_go_to_an_https_collector_that_is_who_it_should_be():
    with authority() as root:
        good, wrong = root.issue("good", san="IP:127.0.0.1"), root.issue("wrong", san="DNS:else.test")
        for pair, problem in ((good, None), (wrong, "TLS")):
            with Origin() as blue, Origin(secured(serving(pair), taking(200)), "collector") as collector:
                trace = {"endpoint": f"https://{collector.address}/v1/traces", "sample": 1, "ca": root.cert}
                with Sluice(blue, service=CALM, config={"trace": trace}) as sluice:
                    sluice.get()
                    if problem is None:
                        wait_until(lambda: spans_at(collector), 20, "a span at the collector")
                        continue
                    (event,) = wait_until(lambda: sluice.admin.show("events", type="traces_lost"), 20, "an event")
                    expect(problem in event["message"], f"the event is {event}")
                    equal(collector.requests, [], "what an impostor was told")


def test_without_a_collector_traceparent_goes_through_untouched():
    with Origin() as blue, Sluice(blue) as sluice:
        sluice.get("/", [("traceparent", f"00-{TRACE}-{CALLER}-01"), ("tracestate", "vendor=1")])
        equal(blue.requests[-1].all("traceparent"), [f"00-{TRACE}-{CALLER}-01"], "traceparent")
        sluice.get("/")
        equal(blue.requests[-1].all("traceparent"), [], "traceparent of a request without")


def test_a_collector_that_is_gone_or_fails_is_in_nobodys_way():
    with Origin() as blue, Origin(taking(500), "collector") as collector, refusing() as nobody:
        for address in (collector.address, nobody):
            with traced(blue, address, sample=1) as sluice:
                for _ in range(20):
                    equal(sluice.get().status, 200, "the answer")
                (event,) = wait_until(lambda: sluice.admin.show("events", type="traces_lost"), 20, "an event")
                expect("spans are lost" in event["message"], f"the event is {event}")
                equal(sluice.get().status, 200, "the answer afterwards")


def test_reload_turns_traces_off_and_on():
    with Origin() as blue, Origin(taking(200), "collector") as collector, traced(blue, collector, sample=1) as sluice:
        sluice.write_config({"trace": None})
        sluice.admin.do("reload")
        sluice.get("/off")
        equal(blue.requests[-1].all("traceparent"), [], "traceparent while traces are off")
        sluice.write_config({"trace": {"endpoint": f"http://{collector.address}/v1/traces", "sample": 1}})
        sluice.admin.do("reload")
        sluice.get("/on")
        sent_upstream(blue)
        spans = wait_until(lambda: spans_at(collector), 20, "a span at the collector")
        equal([attributes(span)["url.path"] for span in spans], ["/on"], "the spans")


if __name__ == "__main__":
    sys.exit(main(globals()))
