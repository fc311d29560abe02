"""Ejection of endpoints by what live traffic shows, and panic when too few are left."""

import sys
import threading

from harness import CALM, Sluice, equal, expect, main, refused, run_at_once
from http1 import Client, proxy_error, wait_until
from origin import Origin, pair


class Sick:
    """Serves well until told otherwise, then fails all but one of ten."""

    def __init__(self):
        self.sick = False
        self.count = 0

    def script(self, connection):
        while connection.request() is not None:
            self.count += 1
            connection.reply(500 if self.sick and self.count % 10 else 200, body=b"")


def test_an_endpoint_that_begins_to_fail_most_requests_is_ejected_and_comes_back():
    sick = Sick()
    with Origin(sick.script) as one, Origin() as other:
        service = {"blue": {"balance": "round-robin"}, "retry": {"max": 0},
                   "outlier": {"consecutive": 5, "eject": "1s", "max_ejected": 50}}
        with Sluice([one, other], service=service) as sluice:

            def ask():
                with sluice.client(timeout=30) as client:
                    for _ in range(50):
                        client.get("/")

            def events(kind):
                return [row for row in sluice.admin.do("show events")["events"] if row["type"] == kind]

            run_at_once(ask, 4)
            equal(events("endpoint_ejected"), [], "ejections while all is well")
            sick.sick = True

            def ejected():
                ask()
                return events("endpoint_ejected")

            wait_until(ejected, 30, "the ejection")
            (first, *_) = events("endpoint_ejected")
            equal(first["fields"]["endpoint"], one.address, "who was ejected")
            sick.sick = False
            wait_until(lambda: events("endpoint_returned"), 30, "the return")


def test_failures_of_before_a_reload_that_turns_ejection_on_are_no_news():
    sick = Sick()
    with Origin(sick.script) as one, Origin() as other:
        service = {**CALM, "blue": {"balance": "round-robin"}}
        with Sluice([one, other], service=service, workers=1) as sluice:

            def ask():
                with sluice.client(timeout=30) as client:
                    for _ in range(100):
                        client.get("/")

            sick.sick = True
            ask()
            sick.sick = False
            ask()
            sluice.tree["service"]["web"]["outlier"] = {"consecutive": 5}
            sluice.reload()
            run_at_once(ask, 4)
            equal(sluice.admin.show("events", type="endpoint_ejected"), [], "ejections while all is well")


class Checked:
    """Origins that serve well, of which some fail their checks."""

    def __init__(self, count):
        self.failing = set()
        self.origins = [Origin(self.script, name=str(number)) for number in range(count)]

    def script(self, connection):
        while (request := connection.request()) is not None:
            fails = request.target == "/health" and connection.origin.name in self.failing
            connection.reply(500 if fails else 200, [("X-Origin", connection.origin.name)])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for origin in self.origins:
            origin.close()

    def until(self, sluice, upstream, failing):
        """Waits until the checks say that these fail and all others are up."""
        wanted = {one.address: "down" if number in failing else "up" for number, one in enumerate(self.origins)}
        wait_until(lambda: {row["endpoint"]: row["health"]
                            for row in sluice.admin.show("endpoints", upstream=upstream)} == wanted,
                   what="what the checks say")

    def fail(self, sluice, numbers, upstream="blue"):
        """From now on these fail, which were up before."""
        if not self.failing:
            self.until(sluice, upstream, set())
        self.failing = {str(number) for number in numbers}
        self.until(sluice, upstream, numbers)


CHECKS = {"path": "/health", "interval": "100ms", "fall": 1, "rise": 1}


def who_serves(sluice, requests=60):
    with sluice.client() as client:
        return {client.get("/").get("x-origin") for _ in range(requests)}


def test_with_few_endpoints_left_all_serve_with_and_without_outlier_ejection():
    for more in ({}, {"outlier": {"consecutive": 5}}):
        service = {**CALM, "blue": {"balance": "round-robin"}, "health": CHECKS, **more}
        with Checked(5) as checked, Sluice(checked.origins, service=service) as sluice:
            checked.fail(sluice, {0, 1})
            equal(who_serves(sluice), {"2", "3", "4"}, "who serves while most are up")
            checked.fail(sluice, {0, 1, 2, 3})
            equal(who_serves(sluice), {"0", "1", "2", "3", "4"}, "who serves in a panic")


def test_an_outage_that_the_checks_of_both_see_is_not_blamed_on_green():
    with Checked(2) as checked:
        blue, green = checked.origins
        with Sluice(blue, green, service={"split": 50, "health": CHECKS}) as sluice:
            def all_are(health):
                wait_until(lambda: {row["health"] for row in sluice.admin.show("endpoints")} == {health}, 20, health)

            all_are("up")
            checked.failing = {"0", "1"}
            all_are("down")
            checked.failing = {"1"}
            wait_until(lambda: sluice.admin.show("endpoints", upstream="blue")[0]["health"] == "up", 20, "blue again")
            # Now it is green alone.
            sluice.admin.do("wait 20 tripped web")
            events = [row["type"] for row in sluice.admin.show("events")]
            expect(events.index("tripped") > max(i for i, one in enumerate(events) if one == "endpoint_up"),
                   f"it tripped before blue was back: {events}")


def test_ready_is_who_has_somebody_for_each_request():
    with Checked(2) as checked:
        blue, green = checked.origins
        with Sluice(blue, green, service={**CALM, "health": CHECKS}) as sluice:
            sluice.admin.do("wait 20 ready")
            sluice.admin.do(f"set endpoint web/blue/{blue.address} maint")
            refused(sluice.admin.json("wait 0 ready"), "timeout")
            sluice.admin.do("set weight web green=50")
            sluice.admin.do("wait 20 ready")


def test_a_share_for_a_green_that_is_not_there_is_warned_of():
    with Checked(2) as checked:
        blue, green = checked.origins
        with Sluice(blue, green, service={"health": CHECKS}) as sluice:
            sluice.admin.do(f"set endpoint web/green/{green.address} maint")
            reply = sluice.admin.do("set weight web green=50")
            expect("green has no endpoint" in reply["warning"], f"the answer is {reply}")
            equal(len(sluice.admin.show("events", type="green_missing")), 1, "events that say so")
            equal(who_serves(sluice, 20), {"0"}, "who serves")
            expect("warning" not in sluice.admin.do("set weight web green=0"), "a warning without a share")


def test_panic_is_told_when_it_begins_and_when_it_ends():
    def told():
        return [(row["type"], row["service"], row["fields"]) for row in sluice.admin.do("show events")["events"]
                if row["type"].startswith("panic")]

    def metric():
        return f'sluice_upstream_panic{{service="web",upstream="blue"}} ' + ("1" if sluice.admin.upstream()["panic"] else "0")

    config = {"admin": {"http": "127.0.0.1:0"}}
    with Checked(5) as checked, Sluice(checked.origins, service={**CALM, "health": CHECKS}, config=config) as sluice:
        checked.fail(sluice, {0, 1})
        equal(told(), [], "what is told while most are up")
        checked.fail(sluice, {0, 1, 2, 3})
        began = ("panic", "web", {"upstream": "blue", "usable": "2", "endpoints": "5"})
        equal(told(), [began], "what is told when three are down")
        equal(sluice.admin.upstream()["panic"], True, "what the upstream says")
        host, _, port = sluice.admin.show("info")[0]["admin_http"].rpartition(":")
        with Client((host, int(port))) as probe:
            expect(metric() in probe.get("/metrics", host="localhost").body.decode(), "the metric says otherwise")
        checked.fail(sluice, {0, 1})
        over = ("panic_over", "web", {"upstream": "blue", "usable": "3", "endpoints": "5"})
        equal(told(), [began, over], "what is told when one is back")
        sluice.admin.do(f"set endpoint web/blue/{checked.origins[2].address} maint")
        sluice.admin.do(f"set endpoint web/blue/{checked.origins[3].address} maint")
        equal(told()[2:], [("panic", "web", {"upstream": "blue", "usable": "1", "endpoints": "3"})],
              "what is told when an operator takes out two of the three")


def test_blue_with_no_endpoint_left_serves_from_those_that_were_up():
    with Checked(2) as checked, Sluice(checked.origins, service={**CALM, "health": CHECKS}) as sluice:
        checked.fail(sluice, {0, 1})
        equal(who_serves(sluice), {"0", "1"}, "who serves")
        equal(sum(one.accepted for one in checked.origins) < 60, True, "connections are kept")
        equal(sluice.admin.show("info")[0]["ready"], False, "ready, which is what the checks say")
        for origin in checked.origins:
            sluice.admin.do(f"set endpoint web/blue/{origin.address} maint")
        answer = sluice.get("/")
        equal((answer.status, proxy_error(answer)), (503, "destination_unavailable"), "what was taken out by hand")


def test_without_panic_no_endpoint_left_is_503():
    service = {**CALM, "health": CHECKS, "outlier": {"panic": 0}}
    with Checked(2) as checked, Sluice(checked.origins, service=service) as sluice:
        checked.fail(sluice, {0})
        equal(who_serves(sluice), {"1"}, "who serves")
        checked.fail(sluice, {0, 1})
        answer = sluice.get("/")
        equal((answer.status, proxy_error(answer)), (503, "destination_unavailable"), "what the client sees")


def test_green_with_no_endpoint_left_leaves_its_share_to_blue():
    service = {**CALM, "split": 100, "health": CHECKS}
    with Checked(2) as checked, Origin(name="blue") as blue:
        with Sluice(blue, checked.origins, service) as sluice:
            checked.until(sluice, "green", set())
            equal(who_serves(sluice), {"0", "1"}, "who serves before")
            checked.fail(sluice, {0, 1}, "green")
            equal(who_serves(sluice), {"blue"}, "who serves")


def test_green_whose_endpoints_are_replaced_is_not_gone_while_the_new_ones_are_checked():
    blue, old = pair()
    slow, go_on = threading.Event(), threading.Event()

    def checked_late(connection):
        while (request := connection.request()) is not None:
            if request.target == "/health":
                slow.set()
                go_on.wait(30)
            connection.reply(200)
    health = {"path": "/health", "interval": "100ms", "timeout": "30s"}
    with blue, old, Origin(checked_late) as new:
        with Sluice(blue, old, service={"split": 50, "health": health}) as sluice:
            wait_until(lambda: sluice.get() and len(old.requests) > 5, 20, "traffic at green")
            sluice.tree["service"]["web"]["green"]["endpoints"] = [new.address]
            sluice.reload()
            expect(slow.wait(20), "the new endpoint is not checked")
            for _ in range(20):
                equal(sluice.get().status, 200, "the status meanwhile")
            equal(sluice.admin.show("trip")[0]["state"], "serving", "the judge's word")
            go_on.set()
            wait_until(lambda: sluice.get() and len(new.requests) > 3, 20, "requests at the new endpoint")
            equal(sluice.admin.show("trip")[0]["state"], "serving", "the judge's word")
            equal(sluice.admin.show("split")[0]["green"], 50.0, "the split")


if __name__ == "__main__":
    sys.exit(main(globals()))
