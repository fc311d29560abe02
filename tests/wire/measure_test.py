"""Latency of single endpoints, for those who ask for it."""

import sys

from harness import CALM, Sluice, equal, expect, main, refused
from http1 import wait_until
from origin import Origin


def measured(sluice, name, **wanted):
    rows = sluice.admin.show(f"latency {name}")
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def test_latency_of_each_endpoint_is_there_from_when_it_is_asked_for():
    with Origin(name="a") as a, Origin(name="b") as b:
        service = {**CALM, "blue": {"balance": "round-robin"}}
        with Sluice([a, b], service=service, workers=1) as sluice:
            for _ in range(10):
                sluice.get()
            refused(sluice.admin.json("show latency web/blue/*"), "not_measured")
            refused(sluice.admin.json("show histogram web/blue/*"), "not_measured")
            reply = sluice.admin.do("measure web/blue on")
            equal((reply["upstream"], reply["endpoints_measured"]), ("blue", True), "the reply")
            wait_until(lambda: len(measured(sluice, "web/blue/*", window="5m")) == 2, 10, "rows of both endpoints")
            for _ in range(20):
                equal(sluice.get().status, 200, "the answer")

            def counted():
                rows = measured(sluice, "web/blue/*", window="5m")
                return sum(row["requests"] for row in rows) == 20 and rows

            rows = wait_until(counted, 10, "20 attempts, and none of those before")
            equal({row["endpoint"]: row["requests"] for row in rows}, {a.address: 10, b.address: 10}, "the rows")
            expect(all(row["p99_s"] > 0 and row["error_rate"] == 0 for row in rows), f"the rows are {rows}")
            (row,) = measured(sluice, f"web/blue/{b.address}", window="5m")
            equal((row["endpoint"], row["requests"]), (b.address, 10), "the row of one")
            histogram = sluice.admin.do(f"show histogram web/blue/{b.address}")
            equal(sum(bar["count"] for bar in histogram["histogram"]), 10, "the values of its histogram")
            text = sluice.admin.text("show latency web/blue/*")
            expect("ENDPOINT" in text and a.address in text, f"the table is {text}")
            sluice.admin.do("measure web/blue off")
            refused(sluice.admin.json("show latency web/blue/*"), "not_measured")


def test_failures_of_an_endpoint_are_in_its_error_rate():
    def failing(connection):
        while connection.request() is not None:
            connection.reply(500, reason="Broken")

    with Origin(name="a") as a, Origin(failing, name="b") as b:
        service = {**CALM, "blue": {"balance": "round-robin"},
                   "retry": {"max": 0}}
        with Sluice([a, b], service=service) as sluice:
            sluice.admin.do("measure web/blue on")
            wait_until(lambda: measured(sluice, "web/blue/*", window="5m"), 10, "rows")
            for _ in range(8):
                sluice.get()
            rows = wait_until(lambda: sum(row["requests"] for row in measured(sluice, "web/blue/*", window="5m")) == 8
                              and measured(sluice, "web/blue/*", window="5m"), 10, "8 attempts")
            equal({row["endpoint"]: row["error_rate"] for row in rows}, {a.address: 0.0, b.address: 1.0}, "errors")


def test_endpoint_that_a_reload_brings_is_measured_as_well():
    with Origin(name="a") as a, Origin(name="b") as b:
        with Sluice(a, service=CALM) as sluice:
            sluice.admin.do("measure web/blue on")
            sluice.write_config({"service": {"web": {"blue": {"endpoints": [b.address]}}}})
            sluice.admin.do("reload")
            rows = wait_until(lambda: measured(sluice, f"web/blue/{b.address}", window="1s")
                              if "error" not in sluice.admin.json(f"show latency web/blue/{b.address}") else None,
                              10, "a row of the new endpoint")
            equal([row["endpoint"] for row in rows], [b.address], "the rows")
            refused(sluice.admin.json(f"show latency web/blue/{a.address}"), "not_found")


def test_more_endpoints_than_may_be_measured_are_refused():
    with Origin() as blue:
        many = [f"127.9.{number // 250}.{number % 250 + 1}:1" for number in range(257)]
        with Sluice(blue, service={**CALM, "green": {"endpoints": many}}) as sluice:
            refused(sluice.admin.json("measure web/green on"), "limit")
            refused(sluice.admin.json("measure web/blue maybe"), "usage")
            refused(sluice.admin.json("measure web on"), "usage")
            sluice.write_config({"service": {"web": {"green": {"endpoints": many[:256]}}}})
            sluice.admin.do("reload")
            sluice.admin.do("measure web/green on")
            refused(sluice.admin.json("measure web/blue on"), "limit")


if __name__ == "__main__":
    sys.exit(main(globals()))
