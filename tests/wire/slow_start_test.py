"""Endpoints that come back: a part first, then all."""

import sys

from harness import CALM, Sluice, equal, expect, main
from origin import Origin


def ramp(sluice, origin):
    (row,) = sluice.admin.show("endpoints web", endpoint=origin.address)
    return row


def test_endpoint_that_comes_back_gets_a_part_of_its_share_first():
    service = {**CALM, "blue": {"balance": "random"}}
    with Origin(name="old") as old, Origin(name="back") as back, Sluice([old, back], service=service) as sluice:
        sluice.write_config({"service": {"web": {"blue": {"slow_start": "1h"}}}})
        sluice.admin.do("reload")
        equal([ramp(sluice, one)["ramp_percent"] for one in (old, back)], [100, 100], "those that never went")
        sluice.admin.do(f"set endpoint web/blue/{back.address} maint")
        sluice.admin.do(f"set endpoint web/blue/{back.address} ready")
        equal([ramp(sluice, one)["ramp_percent"] for one in (old, back)], [100, 10], "the one that came back")
        with sluice.client() as client:
            for _ in range(440):
                equal(client.get("/").status, 200, "status")
        # 40 are expected of it, with a deviation of 6.
        expect(10 <= len(back.requests) <= 80, f"it had {len(back.requests)} of 440 requests, 40 are its part")


def test_without_slow_start_it_has_its_share_at_once():
    with Origin(name="one") as one, Origin(name="two") as two, Sluice([one, two], service=CALM) as sluice:
        sluice.admin.do(f"set endpoint web/blue/{one.address} maint")
        sluice.admin.do(f"set endpoint web/blue/{one.address} ready")
        equal(ramp(sluice, one)["ramp_percent"], 100, "the ramp")


sys.exit(main(globals()))
