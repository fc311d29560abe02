"""A cap under changing load: 4 workers, 500 clients, 40 connections. How long
anybody waits is bench/caps.py's business; what must never happen is here."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "wire"), str(Path(__file__).resolve().parents[2] / "bench")]
import caps  # noqa: E402
from harness import equal, expect, main  # noqa: E402


def test_origin_never_sees_one_connection_too_many():
    found = caps.measure(seconds=6, clients=500, cap=40, workers=4, seed=7)
    equal(found["most_open_at_origin"], 40, "connections at the origin")
    equal(found["queue_at_end"], 0, "the queue at the end")
    expect(set(found["statuses"]) <= {200, 503, 504}, f"statuses {found['statuses']}")
    refusals = found["refused"]["queue_full"] + found["refused"]["queue_timeout"]
    told, left = found["statuses"].get(503, 0), found["resets"]
    expect(told <= refusals <= told + left, f"{refusals} refusals, {told} seen, {left} clients that left")
    answers, late = found["statuses"][200], found["statuses"].get(504, 0)
    expect(answers <= found["served"] <= answers + late + left, f"{found['served']} served, {answers} seen")


sys.exit(main(globals()))
