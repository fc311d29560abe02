"""What a rollout asks of green before the first step: that somebody is there, and
that it answers smoke requests itself."""

import contextlib
import socket
import sys
import threading

from harness import CALM, Sluice, equal, expect, main
from http1 import wait_until
from origin import Origin, pair
from rolling import failing_when, rolled, status, until_step, until_waiting_for

OVERRIDE = "header:X-Sluice-Upstream"


def test_smoke_requests_come_first():
    broken = threading.Event()
    broken.set()
    with Origin(name="blue") as blue, Origin(failing_when(broken, "green")) as green:
        plan = {"smoke_requests": 3, "smoke_path": "/smoke", "hold": "1h"}
        service = rolled(plan, override="header:X-Sluice-Upstream")
        with Sluice(blue, green, service=service) as sluice:
            sluice.admin.do("rollout start web")
            wait_until(lambda: "500" in str(status(sluice)["waiting_for"]), 20, "the failed smoke request")
            equal((status(sluice)["state"], status(sluice)["green"]), ("preflight", 0.0), "after it")
            equal([request.target for request in green.requests], ["/smoke"], "what green was asked")
            sluice.admin.do("rollout abort web")
            broken.clear()
            sluice.admin.do("rollout start web")
            until_step(sluice, 1)
            equal([request.target for request in green.requests], ["/smoke"] * 4, "what green was asked then")
            equal(blue.requests, [], "what blue was asked")


def asks(requests=3, **more):
    return {"smoke_requests": requests, "smoke_path": "/smoke", "hold": "1h", **more}


def broken(name):
    over = threading.Event()
    over.set()
    return Origin(failing_when(over, name))


def test_a_rescue_does_not_answer_for_green():
    with Origin(name="blue") as blue, broken("green") as green:
        with Sluice(blue, green, service=rolled(asks(), override=OVERRIDE, rescue=True)) as sluice:
            sluice.admin.do("rollout start web")
            wait_until(lambda: "answered by web/blue" in str(status(sluice)["waiting_for"]), 20, "the verdict")
            equal((status(sluice)["state"], status(sluice)["green"]), ("preflight", 0.0), "after it")


def test_smoke_requests_go_to_the_service_that_is_to_roll():
    with Origin() as blue, Origin() as green, broken("other") as bad:
        other = {**rolled(asks(), override=OVERRIDE), "blue": {"endpoints": [blue.address]},
                 "green": {"endpoints": [bad.address]}}
        config = {"service": {"other": other},
                  "route": [{"host": "other.test", "service": "other"}, {"path": "/", "service": "web"}]}
        with Sluice(blue, green, service={**CALM, "override": OVERRIDE}, config=config) as sluice:
            def waits_for(text):
                row = sluice.admin.show("rollout other")[0]
                return row["state"] == "preflight" and text in str(row["waiting_for"])
            sluice.admin.do("rollout start other")
            wait_until(lambda: waits_for("GET /smoke of other.test was answered with 500"), 20, "the verdict")
            sluice.admin.do("rollout abort other")
            sluice.tree["service"]["other"]["rollout"]["smoke_host"] = "web.test"
            sluice.write_config()
            sluice.admin.do("reload")
            sluice.admin.do("rollout start other")
            wait_until(lambda: waits_for("answered by web/green, not by other/green"), 20, "the other verdict")
            equal([request.get("host") for request in green.requests], ["web.test"], "what the wrong green was asked")


def test_smoke_requests_of_an_aborted_rollout_end_and_count_for_no_other():
    asked, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def slow(connection):
        while connection.request() is not None:
            asked.release()
            expect(go_on.acquire(timeout=30), "nobody let green go on")
            connection.reply()
    with Origin(name="blue") as blue, Origin(slow) as green:
        with Sluice(blue, green, service=rolled(asks(2), override=OVERRIDE)) as sluice:
            sluice.admin.do("rollout start web")
            expect(asked.acquire(timeout=20), "green was asked nothing")
            sluice.admin.do("rollout abort web")
            sluice.admin.do("rollout start web")
            expect(asked.acquire(timeout=20), "green was asked nothing by the second")
            for _ in range(2):
                go_on.release()
            expect(asked.acquire(timeout=20), "the second asked but once")
            equal(status(sluice)["state"], "preflight", "after the answer to the first, and one to the second")
            go_on.release()
            until_step(sluice, 1)
            equal(len(green.requests), 3, "what green was asked: one of the first, two of the second")


def test_an_answer_to_the_override_says_whose_it_is():
    blue, green = pair()
    with blue, green, Sluice(blue, green, service={**CALM, "override": OVERRIDE}) as sluice:
        for wish in ("blue", "green"):
            answer = sluice.get(fields=[("X-Sluice-Upstream", wish)])
            equal(answer.all("x-sluice-upstream"), [f"web/{wish}"], f"who answered for {wish}")
        equal(sluice.get().all("x-sluice-upstream"), [], "what others are told")


def test_green_that_nobody_listens_at_gets_nothing_though_no_check_says_so():
    with Origin(name="blue") as blue, contextlib.closing(socket.socket()) as door:
        door.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % door.getsockname()[1]
        with Sluice(blue, service=rolled({"hold": "1h"}, green={"endpoints": [address]})) as sluice:
            sluice.admin.do("rollout start web")
            until_waiting_for(sluice, "endpoints")
            for _ in range(20):
                equal(sluice.get().status, 200, "the status")
            equal(status(sluice)["state"], "preflight", "the rollout")
            door.listen(16)
            until_step(sluice, 1)


def test_a_pre_flight_whose_green_a_reload_took_away_is_paused_and_can_be_aborted():
    blue, green = pair()
    with blue, green, contextlib.closing(socket.socket()) as closed:
        closed.bind(("127.0.0.1", 0))
        green_there = {"endpoints": ["127.0.0.1:%d" % closed.getsockname()[1]]}
        with Sluice(blue, service=rolled(green=green_there)) as sluice:
            sluice.admin.do("rollout start web")
            until_waiting_for(sluice, "endpoints")
            web = sluice.tree["service"]["web"]
            del web["green"], web["rollout"]
            sluice.write_config()
            sluice.admin.do("reload")
            equal(status(sluice)["state"], "paused", "the rollout")
            sluice.admin.do("rollout abort web")
            equal(status(sluice)["state"], "aborted", "the rollout")


if __name__ == "__main__":
    sys.exit(main(globals()))
