"""The trip: what leads to it, what it leaves behind, and what it survives."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from datetime import datetime
from pathlib import Path

from harness import CALM, Sluice, binary, equal, expect, main, refused
from http1 import wait_until
from origin import FastOrigin, Origin, pair
from split_test import Load, under_load

LEARNED = 300  # requests that make a baseline of blue


def broken(connection):
    while connection.request() is not None:
        connection.reply(500, [("X-Origin", connection.origin.name)], b"")


def learn_blue(sluice):
    with sluice.client() as client:
        for _ in range(LEARNED):
            equal(client.get("/").status, 200, "an answer of blue's")


def ask_until_tripped(sluice, most=500):
    """The statuses of the answers until the service had tripped."""
    statuses = []
    with sluice.client() as client:
        while sluice.admin.show("trip web")[0]["state"] != "tripped":
            expect(len(statuses) < most, f"no trip within {most} requests")
            statuses.append(client.get("/cart").status)
    return statuses


def event(sluice, kind):
    """The one of its kind. A trip's comes when all workers have switched, behind its reply."""
    events = []

    def has_come():
        events[:] = [one for one in sluice.admin.do("show events")["events"] if one["type"] == kind]
        return events

    wait_until(has_come, 20, what=f"an event '{kind}'")
    equal(len(events), 1, f"events '{kind}'")
    return events[0]


# Which of the two is first depends on which requests the lot gave to green.
DETECTORS = {"rise": ("rise", "rise_threshold"), "comparison": ("comparison_log", "comparison_log_threshold")}


def with_state(folder, **service):
    return service, {"state_dir": folder}


def occurred(colour):
    return {outcome: count for outcome, count in colour["by_outcome"].items() if count}


def check_evidence(evidence, asked):
    equal(evidence["service"], "web", "whom the evidence is about")
    expect(evidence["detector"] in DETECTORS, f"the detector is {evidence['detector']}")
    equal([change["green"] for change in evidence["splits"]][:2], [0.0, 50.0], "the split's history")
    green = evidence["green"]
    expect(3 <= green["errors"] <= 40, lambda: f"errors of green: {green}")
    equal(occurred(green), {"5xx": green["errors"]}, "errors by kind")
    expect(green["rate_low"] < green["rate"] <= green["rate_high"] + 1e-9, lambda: f"bounds: {green}")
    # A worker may have measured one that nobody has judged yet.
    latencies = green["latency"]["count"]
    expect(green["attempts"] <= latencies <= asked, lambda: f"latencies of green: {green}, asked {asked}")
    equal(sum(bucket["count"] for bucket in green["latency"]["buckets"]), latencies, "the histogram")
    failed = evidence["last_failed"]
    expect(1 <= len(failed) <= 10 and all(one["request_id"] for one in failed), lambda: f"failed: {failed}")
    equal({one["path"] for one in failed}, {"/cart"}, "paths that failed")
    equal([one["share_of_errors"] for one in evidence["endpoints"]], [1.0], "the endpoints involved")
    expect(evidence["first_error_to_trip_s"] >= 0, "no time from the first error to the trip")
    last = evidence["detectors"][-1]
    equal(last["at"], evidence["tripped"], "the last look at the detectors")
    here, at = DETECTORS[evidence["detector"]]
    expect(last[here] >= last[at], lambda: f"the detectors at the trip: {last}")


def test_broken_green_trips_and_leaves_its_evidence():
    with tempfile.TemporaryDirectory() as state, Origin(name="blue") as blue, Origin(broken, "green") as green:
        with Sluice(blue, green, *with_state(state)) as sluice:
            learn_blue(sluice)
            sluice.admin.do("set weight web green=50")
            statuses = ask_until_tripped(sluice)
            (row,) = sluice.admin.show("trip web")
            equal(row["state"], "tripped", "the service")
            seen = statuses.count(500)
            check_evidence(row["evidence"], seen)
            expect(seen - 1 <= row["evidence"]["green"]["errors"] <= seen, f"clients saw {seen} errors")
            equal(sluice.admin.show("split web")[0]["green"], 0.0, "green's share")

            event(sluice, "report_written")  # nobody waits for the disk
            (path,) = Path(state, "reports").glob("*-trip-web.json")
            equal(json.loads(path.read_text()), row["evidence"], "the report")
            text = path.with_suffix(".txt").read_text()
            expect(f"trip by {row['evidence']['detector']}" in text and "/cart" in text, lambda: f"the readable report:\n{text}")
            expect(text.strip() in sluice.admin.text("show trip web"), "show trip does not show the report")

            tripped = event(sluice, "tripped")
            expect("back on blue" in tripped["message"], lambda: f"the event: {tripped}")
            refused(sluice.admin.json("set weight web green=10"), "refused")
            sluice.admin.do("reset web")
            sluice.admin.do("set weight web green=10")


def test_trip_survives_kill_9():
    blue, green = pair()
    with tempfile.TemporaryDirectory() as state, blue, green:
        service, config = with_state(state, split=50)
        with Sluice(blue, green, service, config) as sluice:
            sluice.admin.do("trip web smells of smoke")
            before = sluice.admin.show("trip web")[0]["since"]
            sluice.process.kill()
            sluice.process.wait()
            sluice.start()
            (row,) = sluice.admin.show("trip web")
            equal((row["state"], row["reason"], row["since"]), ("tripped", "smells of smoke", before), "the trip")
            expect("tripped before this process" in sluice.admin.text("show trip"), "nothing about the report")
            refused(sluice.admin.json("set weight web green=10"), "refused")
            with sluice.client() as client:
                equal({client.get("/").get("x-origin") for _ in range(50)}, {"blue"}, "who answers")
            sluice.admin.do("reset web")
            equal(sluice.admin.show("split web")[0]["green"], 0.0, "green's share after the reset")


def test_report_that_cannot_be_written_is_an_event_and_no_reason_not_to_trip():
    blue, green = pair()
    with tempfile.TemporaryDirectory() as state, blue, green:
        Path(state, "reports").write_text("this is no directory\n")
        service, config = with_state(state, split=50)
        with Sluice(blue, green, service, config) as sluice:
            sluice.admin.do("trip web")
            sluice.admin.do("wait 5 tripped web")
            expect(event(sluice, "report_not_written")["message"], "no word of why")
            event(sluice, "tripped")


def test_cold_start_says_that_it_learns():
    blue, green = pair()
    with blue, green, Sluice(blue, green, {"split": 90}) as sluice:
        sluice.get()
        (row,) = sluice.admin.show("trip web")
        equal((row["learning"], row["judged"]), (True, "learning, comparison only"), "a cold start")
        sluice.admin.do("set weight web green=0")
        learn_blue(sluice)
        sluice.admin.do("set weight web green=50")
        (row,) = sluice.admin.show("trip web")
        equal((row["learning"], row["judged"]), (False, "yes"), "once blue is known")


def test_a_green_with_all_requests_that_fails_outright_trips_at_once_though_little_is_known():
    with Origin(name="blue") as blue, Origin(broken, name="green") as green:
        with Sluice(blue, green, {"split": 100}) as sluice:
            (row,) = sluice.admin.show("trip web")
            equal(row["judged"], "learning, 20 % passes", "who judges")
            expect(len(ask_until_tripped(sluice)) <= 60, "it took too many failures")
            expect("passes for normal" in sluice.admin.show("trip web")[0]["reason"], "the reason")


def test_what_was_known_of_blue_outlives_kill_9():
    fails = threading.Event()

    def ailing(connection):
        while connection.request() is not None:
            connection.reply(500 if fails.is_set() else 200, [("X-Origin", "green")], b"")

    with tempfile.TemporaryDirectory() as state, Origin(name="blue") as blue, Origin(ailing) as green:
        service, config = with_state(state)
        with Sluice(blue, green, service, config) as sluice:
            learn_blue(sluice)
            sluice.admin.do("set weight web green=100")
            sluice.process.kill()
            sluice.process.wait()
            sluice.start()
            (row,) = sluice.admin.show("trip web")
            equal((row["judged"], row["baseline_attempts"]), ("yes", LEARNED), "what is known of blue")
            fails.set()
            expect(len(ask_until_tripped(sluice)) <= 40, "it took too many failures")


def test_evidence_is_whole_while_serving():
    blue, green = pair()
    with blue, green, Sluice(blue, green, {"split": 50}) as sluice:
        with sluice.client() as client:
            for _ in range(40):
                client.get("/")
        (row,) = sluice.admin.show("trip web")
        evidence = row["evidence"]
        expect(evidence["step_began"], "the evidence does not say when the step began")
        expect(all(change["at"] for change in evidence["splits"]), "the split's history has no times")
        for colour in ("blue", "green"):
            one = evidence[colour]
            expect(one["latency"]["count"] > 0, f"{colour} has no latencies")
            equal(one["by_outcome"].keys(), row[colour]["by_outcome"].keys(), f"the outcomes of {colour}")


def started(line):
    """When the attempt of a line of the access log began, in seconds."""
    return datetime.fromisoformat(line["time"]).timestamp() - line["duration_s"] + line["queue_s"]


def test_no_green_request_starts_after_the_event():
    with FastOrigin(b"b") as blue, FastOrigin(b"g") as green:
        limits = {"green": {"max_connections": 8, "max_queue": 1000}}  # so that some are queued
        with Sluice(blue, green, {**CALM, "split": 50, **limits}, workers=4) as sluice:
            with under_load(sluice, 64) as load:
                sluice.admin.do("wait 5 ready")
                probe = Load(sluice.address, connections=8, depth=5)
                probe.run(total=2000)
                probe.close()
                sluice.admin.do("trip web")
                sluice.admin.do("wait 5 tripped web")
            at = datetime.fromisoformat(event(sluice, "tripped")["at"]).timestamp()
            sluice.stop()
            lines = [line for line in sluice.access_log() if line["upstream"] == "green"]
            equal({line["status"] for line in lines}, {200}, "the answers of green")
            expect(sum(load.counts.values()) > 0 and lines, "there was no load")
            latest = max(map(started, lines))
            rounding = 0.002  # both times are written in whole milliseconds
            expect(latest <= at + rounding, lambda: f"a green request began {latest - at:.3f} s after the event")


def test_slow_requests_count_before_they_end():
    go = threading.Event()

    def stuck(connection):
        while connection.request() is not None:
            connection.wait(go)
            connection.reply(200)

    with Origin(name="blue") as blue, Origin(stuck, "green") as green:
        with Sluice(blue, green, {"trip": {"slow": "50ms"}}) as sluice:
            learn_blue(sluice)
            sluice.admin.do("set weight web green=100")
            clients = [sluice.client() for _ in range(30)]
            try:
                for client in clients:
                    client.ask()
                sluice.admin.do("wait 20 tripped web")
                evidence = sluice.admin.show("trip web")[0]["evidence"]["green"]
                equal(occurred(evidence), {"slow": evidence["errors"]}, "errors by kind")
                go.set()
                equal({client.answer().status for client in clients}, {200}, "the answers of those under way")
            finally:
                go.set()
                for client in clients:
                    client.close()


def test_rescue_hides_the_fault_from_clients_and_not_from_the_judge():
    with Origin(name="blue") as blue, Origin(broken, "green") as green:
        with Sluice(blue, green, {"rescue": True}) as sluice:
            learn_blue(sluice)
            sluice.admin.do("set weight web green=50")
            statuses = ask_until_tripped(sluice)
            equal(set(statuses), {200}, "what clients saw")
            seen = sluice.admin.upstream("green")
            equal(seen["rescues"], seen["attempts_failed"], "rescues and failed attempts")
            # One more may have begun before the workers had switched.
            judged = sluice.admin.show("trip web")[0]["evidence"]["green"]["errors"]
            expect(seen["rescues"] - 1 <= judged <= seen["rescues"], f"{judged} errors, {seen['rescues']} rescues")


def test_refusals_say_what_is_wrong():
    blue, green = pair()
    with blue, green, Sluice(blue, green, CALM) as sluice:
        refused(sluice.admin.json("reset web"), "refused")
        refused(sluice.admin.json("trip wen"), "not_found")
        refused(sluice.admin.json("reset wen"), "not_found")
        refused(sluice.admin.json("show trip wen"), "not_found")
        refused(sluice.admin.json("trip"), "usage")
        refused(sluice.admin.json("set weight web green=101"), "invalid")
        expect("'web'" in sluice.admin.text("trip wen"), "no hint at the service that was meant")
        sluice.admin.do("trip web it smells")
        again = sluice.admin.do("trip web on second thoughts")
        equal((again["state"], again["reason"]), ("tripped", "it smells"), "a second trip")
        event(sluice, "tripped")


def test_parameters_out_of_range_are_refused():
    for key, value in (("false_trip_rate", 2), ("max_error_rate", -0.1), ("slow", "-1s"), ("on", ["404"])):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "bad.toml")
            Path(path).write_text(
                '[[listener]]\nbind = "127.0.0.1:0"\n[service.web.blue]\nendpoints = ["127.0.0.1:9"]\n'
                f"[service.web.trip]\n{key} = {json.dumps(value)}\n"
            )
            check = subprocess.run([binary(), "check", path], capture_output=True, text=True, check=False)
            equal(check.returncode, 1, f"the exit code of check with {key} = {value}")
            expect(f"{path}:6:" in check.stdout + check.stderr, lambda: f"no place named: {check}")


if __name__ == "__main__":
    sys.exit(main(globals()))
