"""Rollouts on real traffic: steps, holds, trips, gates, restarts, freezes."""

import hashlib
import hmac
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from harness import Sluice, binary, equal, expect, main, refused
from http1 import wait_until
from origin import Origin, pair, refusing
from rolling import Hook, Traffic, failing_when, rolled, status, until_step, until_waiting_for

def test_all_steps_pass_without_a_failed_request():
    blue, green = pair()
    with blue, green, tempfile.TemporaryDirectory() as state:
        with Sluice(blue, green, service=rolled(), config={"state_dir": state}) as sluice:
            with Traffic(sluice) as traffic:
                sluice.admin.do("rollout start web")
                sluice.admin.do("wait 120 rollout-done web")
            equal(list(traffic.statuses), [200], "the statuses that clients saw")
            row = status(sluice)
            equal((row["state"], row["green"], row["steps"]), ("completed", 100.0, [10.0, 25.0, 50.0, 100.0]), "the end")
            report = sluice.admin.do("rollout report web")["report"]
            equal([(step["green"], step["outcome"]) for step in report["steps"]],
                  [(10, "passed"), (25, "passed"), (50, "passed"), (100, "passed")], "the steps")
            expect(all(step["seen_green"]["attempts"] >= 30 for step in report["steps"]), f"too few judged: {report}")
            # Nobody waits for the disk: the files come a moment later.
            wait_until(lambda: sluice.admin.show("events", type="report_written"), 20, "the report's files")
            files = sorted(path.suffix for path in Path(state, "reports").iterdir())
            equal(files, [".json", ".txt"], "the report's files")
            expect("All steps have passed" in sluice.admin.text("rollout report web"), "the report for people")


def test_abort_takes_back_what_was_given_by_hand_without_a_rollout():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        refused(sluice.admin.json("rollout abort web"), "refused")
        sluice.admin.do("set weight web green=25")
        equal(sluice.admin.do("rollout abort web")["green"], 0.0, "the answer")
        equal(sluice.admin.show("split")[0]["green"], 0.0, "the split")


def test_promote_full_is_understood_in_either_order():
    blue, green = pair()
    with blue, green, Sluice(blue, green, service=rolled({"hold": "1h"})) as sluice, Traffic(sluice):
        for line in ("rollout promote --full web", "rollout promote web --full"):
            sluice.admin.do("rollout start web")
            until_step(sluice, 1)
            sluice.admin.do(line)
            equal((status(sluice)["state"], status(sluice)["green"]), ("completed", 100.0), line)
            sluice.admin.do("set weight web green=0")
        refused(sluice.admin.json("rollout promote web --ful"), "usage")


def test_nobody_is_promoted_past_a_green_that_is_not_there():
    with Origin(name="blue") as blue, refusing() as green, Sluice(blue, green, service=rolled()) as sluice:
        sluice.admin.do("rollout start web")
        until_waiting_for(sluice, "endpoints")
        for line in ("rollout promote web", "rollout promote web --full"):
            refused(sluice.admin.json(line), "refused")
        equal(sluice.admin.show("split")[0]["green"], 0.0, "the split")


def test_green_that_breaks_at_50_trips_back():
    broken = threading.Event()
    with Origin(name="blue") as blue, Origin(failing_when(broken, "green")) as green, Hook() as hook:
        service = rolled({"webhook": hook.url}, rescue=True)
        with Sluice(blue, green, service=service) as sluice, Traffic(sluice) as traffic:
            sluice.admin.do("rollout start web")
            sluice.admin.do("wait 120 split web green=50")
            broken.set()
            sluice.admin.do("wait 60 tripped web")
            row = status(sluice)
            equal((row["state"], row["green"]), ("tripped", 0.0), "the rollout")
            expect(row["reason"], "no reason is given")
            refused(sluice.admin.json("wait 5 rollout-done web"), "refused")
            refused(sluice.admin.json("rollout retry web"), "refused")
            last = sluice.admin.do("rollout report web")["report"]["steps"][-1]
            equal(last["outcome"], "tripped", "the last step")
            expect(last["seen_green"]["errors"] > 0, f"it says that green had no errors: {last}")
            wait_until(lambda: "trip" in hook.events(), 20, "the webhook's trip")
            sluice.admin.do("reset web")
            broken.clear()
            sluice.admin.do("rollout retry web")
            sluice.admin.do("wait 120 rollout-done web")
            traffic.ending.set()
        equal(list(traffic.statuses), [200], "what clients saw, with rescue")


def until_only_promotion_is_missing(sluice):
    """Before, promoting leaves behind too little of blue to compare green with."""
    wait_until(lambda: [one["what"] for one in status(sluice)["waiting_for"]] == ["promote"], 60, "a step that may pass")


def test_rollout_goes_on_after_kill_9():
    blue, green = pair()
    with blue, green, tempfile.TemporaryDirectory() as state:
        service = rolled({"auto_promote": False})
        with Sluice(blue, green, service=service, config={"state_dir": state}) as sluice:
            with Traffic(sluice):
                sluice.admin.do("rollout start web")
                until_step(sluice, 1)
                sluice.admin.do("rollout promote web")
                until_only_promotion_is_missing(sluice)
            before = status(sluice)
            sluice.process.kill()
            sluice.process.wait()
            sluice.start()
            row = status(sluice)
            equal((row["state"], row["step"], row["green"]), ("holding", 2, 25.0), "after the restart")
            equal(sluice.admin.show("split web")[0]["source"], "rollout", "who set the split")
            expect(row["hold_s"] == before["hold_s"] and row["steps"] == before["steps"], f"another plan: {row}")
            with Traffic(sluice):
                for step in (3, 4):
                    until_only_promotion_is_missing(sluice)
                    sluice.admin.do("rollout promote web")
                    until_step(sluice, step)
                sluice.admin.do("wait 60 rollout-done web")


def test_gate_may_veto_and_says_why():
    blue, green = pair()
    veto = json.dumps({"allow": False, "reason": "It is Friday."}).encode()
    with blue, green, Hook(otherwise=veto) as gate:
        service = rolled({"gate": gate.url, "webhook_secret": "hush"})
        with Sluice(blue, green, service=service) as sluice, Traffic(sluice):
            sluice.admin.do("rollout start web")
            until_waiting_for(sluice, "gate")
            wait_until(lambda: "Friday" in str(status(sluice)["waiting_for"]), 20, "the gate's reason")
            equal((status(sluice)["state"], status(sluice)["green"]), ("preflight", 0.0), "under a veto")
            equal((gate.taken[0]["event"], gate.taken[0]["green"]), ("gate", 10.0), "the question")
            expect(sluice.admin.show("events", type="rollout_veto"), "no event tells of the veto")
            sluice.admin.do("rollout abort web")
            equal((status(sluice)["state"], status(sluice)["green"]), ("aborted", 0.0), "after the abort")


def test_nothing_passes_for_want_of_data():
    blue, green = pair()
    with blue, green, Sluice(blue, green, service=rolled()) as sluice:
        sluice.admin.do("rollout start web")
        until_step(sluice, 1)
        until_waiting_for(sluice, "requests")
        refused(sluice.admin.json("wait 1 rollout-done web"), "timeout")
        row = status(sluice)
        equal((row["state"], row["step"], row["green"]), ("holding", 1, 10.0), "without traffic")
        expect("requests" in sluice.admin.text("rollout status web"), "the status does not say what for")
        sluice.admin.do("rollout abort web")


def test_bad_plans_are_refused_with_the_reason():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        for plan, word in [("steps=50,25", "rise"), ("steps=10,10", "rise"), ("steps=0,10", "0 %"),
                           ("steps=10,101", "100"), ("steps=", ""), ("steps=ten", ""), ("hold=5m", "no plan"),
                           ("steps=10 hold=soon", ""), ("speed=10", "write")]:
            reply = sluice.admin.json(f"rollout start web {plan}")
            equal(reply["ok"], False, f"'{plan}'")
            expect(word in reply["error"]["message"], f"'{plan}' is refused by: {reply}")
        refused(sluice.admin.json("rollout start wen steps=10"), "not_found")
        refused(sluice.admin.json("rollout pause web"), "refused")
        refused(sluice.admin.json("wait 1 rollout-done web"), "refused")
        equal(status(sluice)["state"], "idle", "after all that")
        sluice.admin.do("rollout start web steps=10,20 hold=1h")
        refused(sluice.admin.json("rollout start web steps=10,20"), "refused")
        equal(status(sluice)["hold_s"], 3600.0, "the hold that was asked for")
        sluice.admin.do("rollout abort web")
    with Origin() as blue, Sluice(blue) as sluice:
        refused(sluice.admin.json("rollout start web steps=10"), "refused")


def test_change_by_hand_pauses_and_resume_goes_back_to_the_step():
    blue, green = pair()
    with blue, green, Sluice(blue, green, service=rolled({"hold": "1h"})) as sluice:
        sluice.admin.do("rollout start web")
        until_step(sluice, 1)
        sluice.admin.do("set weight web green=5")
        equal((status(sluice)["state"], status(sluice)["green"]), ("paused", 5.0), "after a change by hand")
        sluice.admin.do("rollout resume web")
        equal((status(sluice)["state"], status(sluice)["green"]), ("holding", 10.0), "after resume")
        sluice.admin.do("rollout pause web")
        equal(status(sluice)["state"], "paused", "after pause")
        sluice.admin.do("trip web by hand")
        equal((status(sluice)["state"], status(sluice)["green"]), ("tripped", 0.0), "after a trip")
        equal(sluice.admin.show("split web")[0]["green"], 0.0, "the split")


def test_a_rollout_whose_green_a_reload_took_away_cannot_go_on():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice, Traffic(sluice):
        sluice.admin.do("rollout start web steps=10,50 hold=1h")
        wait_until(lambda: sluice.admin.show("split")[0]["green"] == 10.0, what="the first step")
        web = sluice.tree["service"]["web"]
        del web["green"]
        sluice.write_config()
        sluice.admin.do("reload")
        for command in ("rollout resume web", "rollout promote web --full", "rollout retry web"):
            refused(sluice.admin.json(command), "refused")
        equal(sluice.admin.show("split")[0]["green"], 0.0, "green's share")


def test_freeze_lets_no_split_rise_and_outlives_a_restart():
    blue, green = pair()
    with blue, green, tempfile.TemporaryDirectory() as state:
        with Sluice(blue, green, service=rolled(), config={"state_dir": state}) as sluice:
            sluice.admin.do("set weight web green=40")
            refused(sluice.admin.json("freeze on"), "usage")
            sluice.admin.do("freeze on the sale of the year")
            refused(sluice.admin.json("set weight web green=41"), "refused")
            refused(sluice.admin.json("rollout start web steps=50,100"), "refused")
            sluice.admin.do("set weight web green=30")
            sluice.process.kill()
            sluice.process.wait()
            sluice.start()
            reply = sluice.admin.json("set weight web green=31")
            refused(reply, "refused")
            expect("sale of the year" in reply["error"]["message"], f"the reason is lost: {reply}")
            equal(sluice.admin.show("info")[0]["frozen"], True, "frozen")
            sluice.admin.do("set weight web green=0")
            sluice.admin.do("freeze off")
            refused(sluice.admin.json("freeze off"), "refused")
            sluice.admin.do("set weight web green=31")


def test_webhook_is_told_in_order_signed_and_again_after_a_failure():
    blue, green = pair()
    with blue, green, Hook(answers=[503]) as hook:
        service = rolled({"webhook": hook.url, "webhook_secret": "hush", "steps": [50, 100]})
        with Sluice(blue, green, service=service) as sluice, Traffic(sluice):
            sluice.admin.do("rollout start web")
            sluice.admin.do("wait 120 rollout-done web")
            wait_until(lambda: "done" in hook.events(), 30, "the last message")
        equal([event for event in hook.events() if event != "hold"], ["start", "step", "step", "done"], "the messages")
        equal(hook.raw[0].body, hook.raw[1].body, "what was sent again")
        for request in hook.raw:
            wanted = "sha256=" + hmac.new(b"hush", request.body, hashlib.sha256).hexdigest()
            equal(request.get("x-sluice-signature"), wanted, "the signature")
        equal(hook.taken[1]["green"], 50.0, "the split of the first step")


def test_webhook_that_says_nothing_is_in_nobodys_way():
    """Every step passes and a trip is back on blue while no call is answered."""
    release = threading.Event()
    calls = []

    def silent(connection):
        calls.append(connection.request())
        release.wait(120)

    broken = threading.Event()
    with Origin() as blue, Origin(failing_when(broken, "green")) as green, Origin(silent) as hook:
        plan = {"webhook": f"http://{hook.address}/"}
        with Sluice(blue, green, service=rolled(plan)) as sluice, Traffic(sluice) as traffic:
            sluice.admin.do("rollout start web")
            sluice.admin.do("wait 120 rollout-done web")
            broken.set()
            wait_until(lambda: sluice.admin.show("trip web")[0]["state"] == "tripped", 60, "the trip")
            equal(traffic.statuses.keys() - {200, 500}, set(), "what clients saw")
            for _ in range(100):
                equal(sluice.get().status, 200, "the status after the trip")
            expect(calls, "the webhook was never called")
            release.set()
            wait_until(lambda: len(calls) > 1, 60, "the next call")


def test_ctl_watches_until_the_end():
    blue, green = pair()
    with blue, green, Sluice(blue, green, service=rolled({"steps": [50, 100]})) as sluice, Traffic(sluice):
        command = [binary(), "ctl", "-s", sluice.socket, "rollout", "status", "web", "-w"]
        sluice.admin.do("rollout start web")
        watch = subprocess.run(command, capture_output=True, text=True, timeout=120)
        equal((watch.returncode, watch.stderr), (0, ""), "the watch of a rollout that completes")
        expect(watch.stdout.startswith("web: ") and "completed" in watch.stdout, f"it printed {watch.stdout}")
        sluice.admin.do("set weight web green=0")
        sluice.admin.do("rollout start web hold=1h")
        sluice.admin.do("rollout abort web")
        equal(subprocess.run(command, capture_output=True, timeout=60).returncode, 1, "the watch of an aborted one")


def test_abort_may_take_its_time():
    blue, green = pair()
    with blue, green, Sluice(blue, green, service=rolled({"return": "2s", "hold": "1h"})) as sluice:
        sluice.admin.do("rollout start web steps=80,100")
        until_step(sluice, 1)
        sluice.admin.do("rollout abort web")
        equal(status(sluice)["state"], "returning", "just after the abort")
        seen = set()

        def back():
            seen.add(status(sluice)["green"])
            return status(sluice)["state"] == "aborted"

        wait_until(back, 30, "the way back")
        expect(len(seen) > 3, f"the split went {sorted(seen)}")
        equal(status(sluice)["green"], 0.0, "the end")


sys.exit(main(globals()))
