"""Traces: W3C traceparent through the proxy, and spans at a collector."""

import json
import re
import sys

from harness import CALM, Sluice, equal, expect, main
from http1 import wait_until
from origin import Origin, refusing

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


def spans_at(collector):
    """All spans that have arrived so far."""
    spans = []
    for request in list(collector.requests):
        equal((request.method, request.target), ("POST", "/v1/traces"), "what the collector is asked")
        equal(request.get("content-type"), "application/json", "the type")
        for resource in json.loads(request.body)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                spans += scope["spans"]
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
        equal((span["traceId"], span["spanId"], span["parentSpanId"]), (TRACE, parent, CALLER), "the span's ids")
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


def test_a_retried_request_is_one_span_with_its_attempts():
    def failing_once(connection):
        while connection.request() is not None:
            connection.reply(503 if len(connection.origin.requests) == 1 else 200, reason="whatever")

    with Origin(failing_once) as blue, Origin(taking(200), "collector") as collector:
        with traced(blue, collector, sample=1) as sluice:
            equal(sluice.get().status, 200, "the answer")
            (span,) = wait_until(lambda: spans_at(collector), 20, "a span at the collector")
            equal(attributes(span)["sluice.attempts"], "5xx,ok", "the attempts")
            expect("status" not in span, f"an error in {span}")


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
