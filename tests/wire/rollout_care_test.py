"""Rollouts beside what may go wrong: gates, shared caps, reloads, restarts, full
disks, webhooks that do not listen."""

import json
import resource
import subprocess
import sys
import tempfile
import threading
import time

from harness import CALM, Sluice, binary, equal, expect, main, refused
from http1 import wait_until
from origin import Origin, pair
from rolling import Hook, Traffic, rolled, status, until_step, until_waiting_for, waits

YES = b""
VETO = json.dumps({"allow": False, "reason": "It is Friday."}).encode()


def row(sluice, service):
    (found,) = sluice.admin.show("rollout " + service)
    return found


def two_services(blue, green, **web):
    """Further configuration with a service `other` beside `web`, by the host other.test."""
    other = {**web, "blue": {"endpoints": [blue.address]}, "green": {"endpoints": [green.address]}}
    return {"service": {"other": other},
            "route": [{"host": "other.test", "service": "other"}, {"path": "/", "service": "web"}]}


def test_gate_comes_before_the_operator_and_only_full_goes_past_it():
    blue, green = pair()
    with blue, green, Hook(answers=[YES], otherwise=VETO) as gate:
        service = rolled({"gate": gate.url, "auto_promote": False})
        with Sluice(blue, green, service=service) as sluice, Traffic(sluice):
            sluice.admin.do("rollout start web")
            until_step(sluice, 1)
            wait_until(lambda: "Friday" in str(status(sluice)["waiting_for"]), 30, "the veto")
            reply = sluice.admin.json("rollout promote web")
            refused(reply, "refused")
            expect("Friday" in reply["error"]["message"], f"the reason is missing: {reply}")
            equal(status(sluice)["green"], 10.0, "the split")
            equal([one["green"] for one in gate.taken], [10.0, 25.0], "what the gate was asked")
            sluice.admin.do("rollout promote web --full")
            equal((status(sluice)["state"], status(sluice)["green"]), ("completed", 100.0), "past the gate")
            expect("Friday" in sluice.admin.text("rollout report web"), "the report does not say so")


def test_a_gate_that_a_reload_takes_away_is_asked_on_and_its_words_are_cut_to_a_line():
    blue, green = pair()
    said = json.dumps({"allow": False, "reason": "\x1b[31mNo,\nsays Ämelie. " + "ä" * 1000}).encode()
    with blue, green, Hook(answers=[YES], otherwise=said) as gate:
        service = rolled({"gate": gate.url, "hold": "1h"})
        with Sluice(blue, green, service=service) as sluice:
            sluice.admin.do("rollout start web")
            until_step(sluice, 1)
            del sluice.tree["service"]["web"]["rollout"]["gate"]
            sluice.write_config()
            sluice.admin.do("reload")
            sluice.admin.do("rollout promote web")
            (veto,) = wait_until(lambda: sluice.admin.show("events", type="rollout_veto"), 30, "the veto")
            why = veto["message"]
            expect(why.startswith("The gate said no:  [31mNo, says Ämelie. ä"), f"the reason is {why[:60]}")
            expect(len(why.encode()) < 600 and why.endswith("ä..."), f"the reason ends in {why[-40:]}")
            equal([one["green"] for one in gate.taken], [10.0, 25.0], "what the gate was asked")


def test_promotion_of_a_step_that_is_held_asks_the_gate_first():
    blue, green = pair()
    with blue, green, Hook(otherwise=YES) as gate:
        with Sluice(blue, green, service=rolled({"gate": gate.url, "hold": "1h"})) as sluice:
            sluice.admin.do("rollout start web")
            until_step(sluice, 1)
            equal(sluice.admin.do("rollout promote web")["green"], 10.0, "the split before the answer")
            until_step(sluice, 2)
            equal([one["green"] for one in gate.taken], [10.0, 25.0], "what the gate was asked")


def test_step_keeps_what_it_was_granted_under_a_shared_cap():
    def slow(connection):
        while connection.request() is not None:
            time.sleep(0.02)
            connection.reply(200)

    with Origin(slow) as blue, Origin(slow) as green:
        service = rolled({"steps": [25, 100], "hold": "1h"})
        more = two_services(blue, green, **service)
        more["cap"] = {"db": {"members": ["web/green", "other/green"], "max_connections": 1000}}
        with Sluice(blue, green, service=service, config=more) as sluice:
            with Traffic(sluice, clients=8), Traffic(sluice, clients=8, host="other.test"):
                for name in ("web", "other"):
                    sluice.admin.do("rollout start " + name)
                for name in ("web", "other"):
                    wait_until(lambda: row(sluice, name)["seen"]["green"]["attempts"] > 500, 60, "green's requests")
            # Nobody asks for anything any more: what is granted is not in use.
            for name in ("web", "other"):
                expect("forecast" not in [one["what"] for one in row(sluice, name)["waiting_for"]], row(sluice, name))
            alone = wanted(sluice)
            sluice.write_config({"cap": {"db": {"max_connections": int(alone * 1.5 / 0.7)}}})
            sluice.admin.do("reload")
            wait_until(lambda: "forecast" not in waits(sluice), 10, "room for one of them")
            sluice.admin.do("rollout promote other")
            until_waiting_for(sluice, "forecast")
            sluice.admin.do("rollout abort other")
            wait_until(lambda: "forecast" not in waits(sluice), 10, "the room that it had")


def wanted(sluice):
    """The connections that web's green is foreseen to need: it waits for a cap of 1."""
    sluice.write_config({"cap": {"db": {"max_connections": 1}}})
    sluice.admin.do("reload")
    until_waiting_for(sluice, "forecast")
    (forecast,) = [one for one in status(sluice)["waiting_for"] if one["what"] == "forecast"]
    return forecast["have"]


def test_preflight_never_passes_a_cap_for_want_of_data():
    blue, green = pair()
    service = rolled(blue={"max_connections": 8}, green={"max_connections": 8})
    caps = {"cap": {"db": {"members": ["web/blue", "web/green"], "max_connections": 10}}}
    with blue, green, Sluice(blue, green, service=service, config=caps) as sluice:
        sluice.admin.do("rollout start web")
        until_waiting_for(sluice, "caps")
        refused(sluice.admin.json("wait 1 rollout-done web"), "timeout")
        row = status(sluice)
        equal((row["state"], row["green"]), ("preflight", 0.0), "without traffic")
        equal(row["waiting_for"][0]["unit"], "requests", "what it waits for")
        with Traffic(sluice, clients=2):
            until_step(sluice, 1)


def test_idle_connections_are_not_foreseen_to_multiply():
    crowd = threading.Event()

    def script(connection):
        while (request := connection.request()) is not None:
            if request.target == "/crowd":
                crowd.wait(20)
            connection.reply(200)

    with Origin(script) as blue, Origin(script) as green:
        service = rolled({"steps": [50, 100], "hold": "1h"}, green={"max_connections": 20})
        with Sluice(blue, green, service=service) as sluice:
            sluice.admin.do("set weight web green=100")
            threads = [threading.Thread(target=sluice.get, args=("/crowd",)) for _ in range(10)]
            for thread in threads:
                thread.start()
            wait_until(lambda: green.open == 10, 20, "the crowd")
            crowd.set()
            for thread in threads:
                thread.join(30)
            sluice.admin.do("set weight web green=50")
            sluice.admin.do("rollout start web")
            with Traffic(sluice, clients=1):
                wait_until(lambda: status(sluice)["seen"]["green"]["attempts"] > 300, 60, "green's requests")
                wait_until(lambda: waits(sluice) == ["hold"], 30, "all but the hold")
            expect(sluice.admin.upstream("green")["connections"] >= 9, "the pool is not as full as was meant")


def test_errors_count_by_what_a_reload_says_from_then_on():
    mode = {"answer": "ok"}

    def script(connection):
        while connection.request() is not None:
            if mode["answer"] == "reset":
                connection.reset()
                return
            connection.reply(500 if mode["answer"] == "500" else 200)

    with Origin(name="blue") as blue, Origin(script) as green:
        service = rolled({"steps": [60, 100], "hold": "1h"}, retry={"max": 0},
                         trip={"enabled": False, "on": ["5xx", "reset"]})
        with Sluice(blue, green, service=service) as sluice, Traffic(sluice):
            mode["answer"] = "500"
            sluice.admin.do("set weight web green=50")
            wait_until(lambda: len(green.requests) > 500, 60, "errors before the rollout")
            mode["answer"] = "ok"
            sluice.admin.do("rollout start web")
            until_step(sluice, 1)
            sluice.write_config({"service": {"web": {"trip": {"on": ["reset"]}}}})
            sluice.admin.do("reload")
            before = status(sluice)["seen"]["green"]["errors"]
            mode["answer"] = "reset"
            wait_until(lambda: status(sluice)["seen"]["green"]["errors"] > before + 20, 20, "errors that count")
            mode["answer"] = "ok"
            time.sleep(0.3)
            before = status(sluice)["seen"]["green"]["errors"]
            sluice.write_config({"service": {"web": {"trip": {"on": ["5xx", "reset"]}}}})
            sluice.admin.do("reload")
            time.sleep(0.5)
            equal(status(sluice)["seen"]["green"]["errors"], before, "errors when more count than did")


def test_rollout_whose_service_leaves_the_configuration_is_paused_until_it_is_back():
    blue, green = pair()
    with blue, green, tempfile.TemporaryDirectory() as state:
        more = {"state_dir": state, **two_services(blue, green)}
        with Sluice(blue, green, service=rolled({"hold": "1h"}), config=more) as sluice:
            sluice.admin.do("rollout start web steps=30,100")
            until_step(sluice, 1)
            web, routes = sluice.tree["service"].pop("web"), sluice.tree["route"]
            sluice.tree["route"] = [{"path": "/", "service": "other"}]
            sluice.write_config()
            sluice.admin.do("reload")
            (event,) = sluice.admin.show("events", type="rollout_pause")
            expect("left the configuration" in event["message"], event)
            refused(sluice.admin.json("rollout resume web"), "not_found")
            sluice.tree["service"]["web"], sluice.tree["route"] = web, routes
            sluice.write_config()
            sluice.admin.do("reload")
            equal((status(sluice)["state"], status(sluice)["green"]), ("paused", 0.0), "when it is back")
            sluice.process.kill()
            sluice.process.wait()
            sluice.start()
            equal((status(sluice)["state"], status(sluice)["green"]), ("paused", 0.0), "after kill -9")
            sluice.admin.do("rollout resume web")
            equal((status(sluice)["state"], status(sluice)["step"]), ("holding", 1), "after resume")
            equal(sluice.admin.show("split web")[0]["green"], 30.0, "green's share of the step")


def test_graceful_restart_keeps_the_evidence():
    blue, green = pair()
    with blue, green, tempfile.TemporaryDirectory() as state:
        with Sluice(blue, green, service=rolled({"hold": "1h"}), config={"state_dir": state}) as sluice:
            with Traffic(sluice):
                sluice.admin.do("rollout start web steps=50,100")
                wait_until(lambda: status(sluice)["seen"]["green"]["attempts"] > 200, 60, "green's requests")
            before = status(sluice)
            sluice.stop()
            sluice.start()
            after = status(sluice)
            expect(after["held_s"] >= before["held_s"], f"held {before['held_s']} s, then {after['held_s']} s")
            expect(after["seen"]["green"]["attempts"] >= before["seen"]["green"]["attempts"], f"{before}, then {after}")


def test_commands_say_where_the_disk_did_not_take_them():
    blue, green = pair()
    with blue, green, tempfile.TemporaryDirectory() as state:
        with Sluice(blue, green, service=rolled({"hold": "1h"}), config={"state_dir": state}) as sluice:
            sluice.admin.do("rollout start web steps=50,100")
            until_step(sluice, 1)
            limit = (0, resource.RLIM_INFINITY)
            resource.prlimit(sluice.process.pid, resource.RLIMIT_FSIZE, limit)
            reply = sluice.admin.do("rollout abort web")
            equal((reply["state"], reply.get("saved")), ("aborted", False), "an abort on a full disk")
            expect("NOT saved" in sluice.admin.text("rollout abort web"), "the text does not say so")
            resource.prlimit(sluice.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


def test_webhook_is_told_of_every_trip():
    blue, green = pair()
    with blue, green, Hook() as hook, Sluice(blue, green, service=rolled({"webhook": hook.url})) as sluice:
        sluice.admin.do("set weight web green=50")
        sluice.admin.do("trip web by hand")
        wait_until(lambda: hook.events() == ["trip"], 20, "the trip without a rollout")
        equal((hook.taken[0]["state"], hook.taken[0]["green"]), ("idle", 0.0), "what it was told")
        sluice.admin.do("reset web")
        sluice.admin.do("rollout start web")
        sluice.admin.do("rollout abort web")
        sluice.admin.do("set weight web green=50")
        sluice.admin.do("trip web once more")
        wait_until(lambda: hook.events()[-1] == "trip" and len(hook.events()) > 2, 20, "the trip after an abort")
        expect("once more" in hook.taken[-1]["text"], hook.taken[-1])


def test_webhook_gets_what_waits_when_the_process_stops():
    blue, green = pair()
    deliveries = set()
    with blue, green, Hook(answers=[503]) as hook:
        with Sluice(blue, green, service=rolled({"webhook": hook.url, "hold": "1h"})) as sluice:
            for _ in range(2):
                sluice.admin.do("rollout start web")
                wait_until(lambda: hook.raw, 20, "the first try")
                sluice.stop()
                equal(hook.events()[0], "start", "what was told")
                fresh = {one.get("x-sluice-delivery") for one in hook.raw}
                expect(not fresh & deliveries, f"{fresh} were used before: {deliveries}")
                deliveries |= fresh
                hook.raw.clear()
                sluice.start()


def test_what_no_webhook_took_is_named_when_the_process_stops():
    blue, green = pair()
    release = threading.Event()

    def silent(connection):
        connection.request()
        release.wait(30)

    with blue, green, Origin(silent) as hook:
        service = rolled({"webhook": f"http://{hook.address}/", "hold": "1h"})
        with Sluice(blue, green, service=service) as sluice:
            sluice.admin.do("rollout start web")
            until_step(sluice, 1)
            began = time.monotonic()
            sluice.stop()
            expect(time.monotonic() - began < 10, "the end waits for the webhook")
            (line,) = [line for line in sluice.log().splitlines() if "webhook_failed" in line]
            expect("'start'" in line and "'step'" in line, line)
            release.set()


def test_watch_of_all_services_ends_with_the_last_that_runs():
    blue, green = pair()
    service = rolled({"steps": [50, 100], "hold": "2s"})
    with blue, green, Sluice(blue, green, service=service, config=two_services(blue, green)) as sluice:
        command = [binary(), "ctl", "-s", sluice.socket, "rollout", "status", "-w"]
        equal(subprocess.run(command, capture_output=True, timeout=60).returncode, 1, "a watch of nothing")
        with Traffic(sluice):
            sluice.admin.do("rollout start web")
            watch = subprocess.run(command, capture_output=True, text=True, timeout=120)
        equal((watch.returncode, watch.stderr), (0, ""), "the watch beside an idle service")
        expect("other: idle" in watch.stdout and "web: completed" in watch.stdout, watch.stdout)
        expect("to the end of the rollout" in watch.stdout, watch.stdout)
        sluice.admin.do("set weight web green=0")
        sluice.admin.do("rollout start web hold=1h")
        watch = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        watch.stdout.readline()
        sluice.admin.do("rollout abort web")
        equal(watch.wait(20), 1, "the watch of an aborted one")
        watch.stdout.close()


def test_way_back_waits_while_blue_is_full():
    """A blue that is cold, and slow for that, gets no more before it has coped."""
    warm = threading.Event()

    def script(connection):
        while connection.request() is not None:
            connection.wait(warm, 60)
            connection.reply(200, body=b"ok")

    # The way back takes 20 steps of a second; blue is given as long again.
    limits = {"max_connections": 4, "max_queue": 1000, "queue_timeout": "1m"}
    plan = rolled({"return": "20s", "hold": "1h"}, blue=limits, timeouts={"first_byte": "1m"}, **CALM)
    with Origin(script, name="blue") as blue, Origin(name="green") as green:
        with Sluice(blue, green, service=plan) as sluice:
            sluice.admin.do("set weight web green=100")
            sluice.admin.do("rollout start web steps=100")
            until_step(sluice, 1)
            sluice.admin.do("rollout abort web")
            with Traffic(sluice, clients=12) as traffic:
                wait_until(lambda: sluice.admin.upstream()["connections"] == 4, 30, "a blue that is full")
                full_at = status(sluice)["green"]
                expect(full_at >= 60, f"green had {full_at} % only when blue was full")
                # Nothing may happen meanwhile: this runs out of time, three steps later.
                refused(sluice.admin.json(f"wait 3 split web green={full_at - 15}"), "timeout")
                expect(status(sluice)["green"] >= full_at - 5, f"{status(sluice)['green']} % while blue was full")
                equal(status(sluice)["state"], "returning", "the rollout")
                warm.set()
                wait_until(lambda: status(sluice)["green"] <= full_at - 10, 30, "the way on when blue is warm")
                sluice.admin.do("rollout abort web")  # at once
            equal(status(sluice)["green"], 0.0, "the end")
            expect(blue.most_open <= 4, f"blue saw {blue.most_open} connections")
            equal(list(traffic.statuses), [200], "what clients got")


def test_reload_keeps_the_plan_of_a_rollout_and_a_retry_takes_the_new_one():
    blue, green = pair()
    with blue, green, Sluice(blue, green, service=rolled({"hold": "1h"})) as sluice:
        sluice.admin.do("rollout start web")
        until_step(sluice, 1)
        sluice.write_config({"service": {"web": {"rollout": {"hold": "2h", "steps": [20, 40]}}}})
        reply = sluice.admin.do("reload")
        equal(sorted(one["key"] for one in reply["next_start"]),
              ["service.web.rollout.hold", "service.web.rollout.steps"], "what counts later")
        equal(reply["applied"], [], "what is in force")
        equal((status(sluice)["hold_s"], status(sluice)["steps"][0]), (3600.0, 10.0), "the plan")
        sluice.admin.do("rollout abort web")
        sluice.admin.do("rollout retry web")
        equal((status(sluice)["hold_s"], status(sluice)["steps"]), (7200.0, [20.0, 40.0]), "the plan of the retry")
        sluice.admin.do("rollout abort web")
        sluice.admin.do("rollout start web steps=30,60")
        sluice.admin.do("rollout abort web")
        sluice.admin.do("rollout retry web")
        equal((status(sluice)["hold_s"], status(sluice)["steps"]), (7200.0, [30.0, 60.0]), "what the command gave")


sys.exit(main(globals()))
