"""What outlives a process that dies: what operators set by hand, also where the
file lacks the service for a while; and what is done where state_dir is damaged,
or can be read or written no more."""

import contextlib
import os
import resource
import struct
import subprocess
import sys
import threading
from pathlib import Path

from harness import CALM, Sluice, equal, expect, main
from http1 import wait_until
from origin import Origin, pair
from successor import adopt_successors, upgrade


def with_state(sluice):
    sluice.tree["state_dir"] = f"{sluice.folder}/state"
    return sluice


def die(sluice):
    sluice.process.kill()
    sluice.process.wait()


def revive(sluice):
    die(sluice)
    sluice.start()


def await_saved(sluice):
    """A rollout's own steps are saved in their time; who changes something by hand is answered after them."""
    sluice.admin.do("freeze on for a moment")
    sluice.admin.do("freeze off")


def journal(sluice, name="journal"):
    return Path(sluice.folder, "state", name)


def events(sluice, kind):
    return [row["message"] for row in sluice.admin.do("show events")["events"] if row["type"] == kind]


def modes(sluice):
    return {row["endpoint"]: row["mode"] for row in sluice.admin.show("endpoints") if row["mode"] != "ready"}


def test_what_was_set_by_hand_outlives_kill_9():
    blue, green = pair()
    with blue, green, Origin() as other, with_state(Sluice(blue, [green, other], service=CALM)) as sluice:
        for command in ("set maxconn web/blue 7", "set maxconn web/green 0", "maintenance web on",
                        f"set endpoint web/green/{green.address} drain",
                        f"set endpoint web/green/{other.address} maint"):
            expect("saved" not in sluice.admin.do(command), f"'{command}' is not on the disk")
        revive(sluice)
        equal(sluice.admin.upstream()["max_connections"], 7, "the limit")
        equal(sluice.admin.upstream()["max_connections_by_hand"], True, "who set the limit")
        equal(modes(sluice), {green.address: "drain", other.address: "maint"}, "the modes")
        equal(sluice.get("/").status, 503, "the answer in maintenance")
        (config,) = sluice.admin.show("config")
        expect(any("web.blue.max_connections is 7" in one for one in config["set_at_run_time"]), f"{config}")
        expect("max_connections = 7" in config["toml"], f"not in force: {config['toml']}")
        expect("# service.web.maintenance is on" in sluice.admin.text("show config"), "no comment says so")
        expect(any("max_connections is 7" in one for one in events(sluice, "value_restored")), "no event says so")
        # Taken back it stays taken back.
        for command in ("maintenance web off", f"set endpoint web/green/{green.address} ready"):
            sluice.admin.do(command)
        revive(sluice)
        equal(modes(sluice), {other.address: "maint"}, "the modes after one was taken back")
        equal(sluice.get("/").status, 200, "the answer after maintenance")


def test_what_was_set_by_hand_goes_with_its_endpoint():
    with Origin() as one, Origin() as other, with_state(Sluice([one, other], service=CALM)) as sluice:
        sluice.admin.do(f"set endpoint web/blue/{one.address} maint")
        sluice.admin.do("set maxconn web/blue 9")
        sluice.write_config({"service": {"web": {"blue": {"endpoints": [other.address], "max_connections": 9}}}})
        sluice.admin.do("reload")
        sluice.admin.do("wait 5 ready")
        revive(sluice)
        # Neither is remembered: the endpoint has gone, the file says the same.
        both = [one.address, other.address]
        sluice.write_config({"service": {"web": {"blue": {"endpoints": both, "max_connections": 5}}}})
        equal(sluice.admin.do("reload")["kept"], [], "what was kept")
        equal(modes(sluice), {}, "the modes")
        equal(sluice.admin.upstream()["max_connections"], 5, "the limit")


def test_what_was_set_by_hand_goes_with_its_endpoint_while_nobody_runs():
    with Origin() as one, Origin() as other, with_state(Sluice([one, other], service=CALM)) as sluice:
        sluice.admin.do(f"set endpoint web/blue/{one.address} maint")
        die(sluice)
        sluice.tree["service"]["web"]["blue"]["endpoints"] = [other.address]
        sluice.start()
        sluice.write_config({"service": {"web": {"blue": {"endpoints": [one.address, other.address]}}}})
        sluice.admin.do("reload")
        equal(modes(sluice), {}, "the modes")


def test_a_restart_without_the_service_is_no_reset():
    blue, green = pair()
    plan = {**CALM, "split": 25, "rollout": {"steps": [30, 100], "hold": "1h"}}
    with blue, green, with_state(Sluice(blue, green, service=plan)) as sluice:
        sluice.admin.do("set weight web green=10")
        sluice.admin.do("trip web smells of smoke")
        generation = sluice.admin.show("split")[0]["generation"]
        sluice.lack_web(lambda: revive(sluice))
        (trip,) = sluice.admin.show("trip")
        equal((trip["state"], trip["reason"]), ("tripped", "smells of smoke"), "the trip")
        (split,) = sluice.admin.show("split")
        equal(split["green"], 0.0, "green's share")
        expect(split["generation"] >= generation, "the generation began anew")
        revive(sluice)
        equal(sluice.admin.show("trip")[0]["state"], "tripped", "the trip after another start")


def test_a_rollout_whose_service_a_restart_lacked_is_paused():
    blue, green = pair()
    plan = {**CALM, "rollout": {"steps": [30, 100], "hold": "1h"}}
    with blue, green, with_state(Sluice(blue, green, service=plan)) as sluice:
        sluice.admin.do("rollout start web")
        sluice.admin.do("wait 10 split web green=30")
        await_saved(sluice)
        sluice.lack_web(lambda: revive(sluice))
        (rollout,) = sluice.admin.show("rollout")
        equal((rollout["state"], rollout["step"]), ("paused", 1), "the rollout")
        equal(sluice.admin.show("split")[0]["green"], 0.0, "the split, which the file says")
        sluice.admin.do("rollout resume web")
        equal(sluice.admin.show("split")[0]["green"], 30.0, "the split of its step")


def test_a_state_dir_that_cannot_be_written_begins_on_blue_and_serves():
    blue, green = pair()
    with blue, green, with_state(Sluice(blue, green, service={**CALM, "split": 50})) as sluice:
        sluice.admin.do("set weight web green=60")
        die(sluice)
        journal(sluice, "journal.lock").unlink()
        journal(sluice, "journal.lock").mkdir()  # as a disk that is read-only would, it gives no lock
        sluice.start()
        equal({sluice.get("/").get("x-origin") for _ in range(30)}, {"blue"}, "who answers")
        (split,) = sluice.admin.show("split")
        equal((split["green"], split["source"]), (0.0, "recovery"), "the split")
        expect("begins on blue" in "".join(events(sluice, "state_damaged")), "no event says so")
        expect("begins on blue" in sluice.log(), "the log does not say so")
        wait_until(lambda: sluice.admin.show("info")[0]["unsaved"] == ["", "web"], what="what is not saved")
        equal(sluice.admin.show("info")[0]["state_saved"], False, "what show info says")
        equal(sluice.admin.do("set weight web green=20").get("saved"), False, "what the answer says")
        journal(sluice, "journal.lock").rmdir()
        wait_until(lambda: sluice.admin.show("info")[0]["state_saved"], what="another try")
        expect(events(sluice, "state_saved_again"), "no event says so")
        revive(sluice)
        equal(sluice.admin.show("split")[0]["green"], 20.0, "the split after another start")


def test_a_journal_that_cannot_be_read_begins_on_blue_and_serves():
    blue, green = pair()
    with blue, green, with_state(Sluice(blue, green, service={**CALM, "split": 50})) as sluice:
        sluice.admin.do("freeze on the weekend")
        die(sluice)
        os.rename(journal(sluice), journal(sluice, "hidden"))
        journal(sluice).mkdir()
        sluice.start()
        equal({sluice.get("/").get("x-origin") for _ in range(30)}, {"blue"}, "who answers")
        expect("cannot be read" in "".join(events(sluice, "state_damaged")), "no event says so")
        wait_until(lambda: sluice.admin.show("info")[0]["state_saved"] is False, what="what is not saved")
        journal(sluice).rmdir()
        os.rename(journal(sluice, "hidden"), journal(sluice))
        wait_until(lambda: sluice.admin.show("info")[0]["state_saved"], what="another try")
        revive(sluice)
        equal(sluice.admin.show("split")[0]["green"], 0.0, "the split after another start")


def start_without_the_journal(sluice):
    """Starts anew while it cannot be read."""
    die(sluice)
    os.rename(journal(sluice), journal(sluice, "hidden"))
    journal(sluice).symlink_to(sluice.folder)  # a folder
    sluice.start()


def bring_the_journal(sluice):
    os.replace(journal(sluice, "hidden"), journal(sluice))


@contextlib.contextmanager
def hidden_at_the_start(sluice):
    """Starts anew while the journal cannot be read, and lets it be read again on leaving."""
    start_without_the_journal(sluice)
    yield
    bring_the_journal(sluice)
    wait_until(lambda: sluice.admin.show("info")[0]["state_saved"], what="another try")


def test_a_trip_in_a_journal_that_is_read_late_is_latched_again():
    blue, green = pair()
    with blue, green, with_state(Sluice(blue, green, service={**CALM, "split": 50})) as sluice:
        sluice.admin.do("trip web smells of smoke")
        sluice.admin.do("set maxconn web/blue 7")
        sluice.admin.do(f"set endpoint web/green/{green.address} maint")
        sluice.admin.do("freeze on the weekend")
        generation = sluice.admin.show("split")[0]["generation"]
        with hidden_at_the_start(sluice):
            equal(sluice.admin.show("trip")[0]["state"], "serving", "what is known of the trip")
            sluice.admin.do("set weight web green=0")  # to be sure
        for after in ("the journal was read", "another start"):
            (trip,) = sluice.admin.show("trip")
            equal((trip["state"], trip["reason"]), ("tripped", "smells of smoke"), f"the trip after {after}")
            (split,) = sluice.admin.show("split")
            equal(split["green"], 0.0, f"the split after {after}")
            expect(split["generation"] > generation, f"the generation began anew after {after}")
            equal(sluice.admin.upstream()["max_connections"], 7, f"the limit after {after}")
            equal(modes(sluice), {green.address: "maint"}, f"the modes after {after}")
            equal(sluice.admin.show("info")[0]["freeze_reason"], "the weekend", f"the freeze after {after}")
            if after == "the journal was read":
                expect("latched again" in "".join(events(sluice, "state_found")), "no event says so")
                revive(sluice)


def test_a_rollout_that_began_before_the_journal_was_read_ends_with_its_trip():
    blue, green = pair()
    plan = {**CALM, "rollout": {"steps": [30, 100], "hold": "1h", "gate": "http://127.0.0.1:9/"}}
    with blue, green, with_state(Sluice(blue, green, service=plan)) as sluice:
        sluice.admin.do("trip web smells of smoke")
        with hidden_at_the_start(sluice):
            sluice.admin.do("rollout start web")
        equal(sluice.admin.show("trip")[0]["state"], "tripped", "the trip")
        equal(sluice.admin.show("rollout")[0]["state"], "tripped", "the rollout")
        equal(sluice.admin.show("split")[0]["green"], 0.0, "the split")


def test_a_trip_in_a_journal_that_a_successor_is_the_first_to_read_is_latched_again():
    blue, green = pair()
    with blue, green, with_state(Sluice(blue, green, service={**CALM, "split": 50})) as sluice:
        sluice.admin.do("trip web smells of smoke")
        sluice.admin.do("freeze on the weekend")
        start_without_the_journal(sluice)
        bring_the_journal(sluice)
        upgrade(sluice)
        for after in ("the upgrade", "another start"):
            (trip,) = sluice.admin.show("trip")
            equal((trip["state"], trip["reason"]), ("tripped", "smells of smoke"), f"the trip after {after}")
            equal(sluice.admin.show("split")[0]["green"], 0.0, f"the split after {after}")
            equal(sluice.admin.show("info")[0]["freeze_reason"], "the weekend", f"the freeze after {after}")
            wait_until(lambda: sluice.admin.show("info")[0]["state_saved"], what="another try")
            if after == "the upgrade":
                revive(sluice)


def test_a_successor_that_cannot_read_the_journal_goes_on_with_what_is_in_force():
    blue, green = pair()
    with blue, green, with_state(Sluice(blue, green, service=CALM)) as sluice:
        sluice.admin.do("set weight web green=30")
        os.rename(journal(sluice), journal(sluice, "hidden"))
        journal(sluice).symlink_to(sluice.folder)
        upgrade(sluice)
        equal(sluice.admin.show("split")[0]["green"], 30.0, "the split after the upgrade")
        (damaged,) = events(sluice, "state_damaged")
        expect("begins on blue" not in damaged, f"it says: {damaged}")
        bring_the_journal(sluice)
        wait_until(lambda: sluice.admin.show("info")[0]["state_saved"], what="another try")
        equal(sluice.admin.show("split")[0]["green"], 30.0, "the split when the journal can be read")


def test_a_trip_since_the_start_stays_when_the_journal_is_read():
    blue, green = pair()
    with blue, green, with_state(Sluice(blue, green, service={**CALM, "split": 50})) as sluice:
        sluice.admin.do("set weight web green=10")
        with contextlib.ExitStack() as hiding:
            hiding.enter_context(hidden_at_the_start(sluice))
            sluice.admin.do("trip web smells of smoke")

            def lacks_web_while_the_journal_is_read():
                sluice.reload()
                hiding.close()
            sluice.lack_web(lacks_web_while_the_journal_is_read)
        equal(sluice.admin.show("trip")[0]["state"], "tripped", "the trip")
        equal(sluice.admin.show("split")[0]["green"], 0.0, "the split")


def test_a_split_that_was_set_before_the_journal_was_read_stays():
    blue, green = pair()
    with blue, green, with_state(Sluice(blue, green, service={**CALM, "split": 50})) as sluice:
        sluice.admin.do("trip web smells of smoke")
        with hidden_at_the_start(sluice):
            sluice.admin.do("set weight web green=20")
        expect("is not latched" in "".join(events(sluice, "state_found")), "no event says so")
        revive(sluice)
        equal(sluice.admin.show("split")[0]["green"], 20.0, "the split")
        expect(sluice.admin.show("trip")[0]["state"] != "tripped", "tripped")


def test_a_journal_with_a_damaged_head_is_kept_and_begins_on_blue():
    for octets, kept in ((b"Sluice", "journal.damaged"), (b"sluice-journal 7\n", "journal.other-version")):
        blue, green = pair()
        with blue, green, with_state(Sluice(blue, green, service=CALM)) as sluice:
            sluice.admin.do("set weight web green=60")
            sluice.admin.do("set maxconn web/blue 7")
            die(sluice)
            damaged = octets + journal(sluice).read_bytes()[len(octets):]
            journal(sluice).write_bytes(damaged)
            sluice.start()
            equal({sluice.get("/").get("x-origin") for _ in range(30)}, {"blue"}, "who answers")
            expect(kept in "".join(events(sluice, "state_damaged")), "no event names the file")
            equal(journal(sluice, kept).read_bytes(), damaged, "what was kept")
            equal(sluice.admin.upstream()["max_connections"], 7 if kept == "journal.damaged" else None, "the limit")
            sluice.admin.do("set weight web green=5")
            revive(sluice)
            equal(sluice.admin.show("split")[0]["green"], 5.0, "the split after another start")


def crc32c(octets):
    crc = 0xFFFFFFFF
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def mark_that_something_may_be_missing(path):
    """Adds the record that a repair leaves."""
    content = path.read_bytes()
    last, at = 0, content.index(b"\n") + 1
    while at < len(content):
        size, _, last = struct.unpack_from("<IIQ", content, at)
        at += 16 + size
    payload = b"+" + struct.pack("<H", 9) + b"unsettled"
    size, body = struct.pack("<I", len(payload)), struct.pack("<Q", last + 1) + payload
    path.write_bytes(content + size + struct.pack("<I", crc32c(size + body)) + body)


def test_a_damage_is_not_forgotten_by_who_died_before_all_was_on_blue():
    blue, green = pair()
    with blue, green, with_state(Sluice(blue, green, service=CALM)) as sluice:
        sluice.admin.do("set weight web green=60")
        die(sluice)
        mark_that_something_may_be_missing(journal(sluice))
        sluice.start()
        equal(sluice.admin.show("split")[0]["green"], 0.0, "the split")
        expect("An earlier start found" in "".join(events(sluice, "state_damaged")), "no event says so")
        await_saved(sluice)
        sluice.admin.do("set weight web green=20")
        revive(sluice)
        equal(sluice.admin.show("split")[0]["green"], 20.0, "the split after another start")
        expect(not events(sluice, "state_damaged"), "the damage is told again")


def test_a_service_that_is_absent_when_a_trip_may_be_lost_comes_back_on_blue():
    blue, green = pair()
    with blue, green, with_state(Sluice(blue, green, service={**CALM, "split": 50})) as sluice:
        sluice.admin.do("set weight web green=60")
        die(sluice)
        mark_that_something_may_be_missing(journal(sluice))

        def starts_and_starts_again():
            sluice.start()
            await_saved(sluice)
            revive(sluice)
            expect(not events(sluice, "state_damaged"), "the damage is told again")
        sluice.lack_web(starts_and_starts_again)
        (split,) = sluice.admin.show("split")
        equal((split["green"], split["source"]), (0.0, "recovery"), "the split")
        sluice.admin.do("set weight web green=20")
        sluice.lack_web(sluice.reload)
        equal(sluice.admin.show("split")[0]["green"], 50.0, "the split once somebody has looked")


def test_a_rollout_of_a_service_that_is_absent_when_a_trip_may_be_lost_stays_paused():
    def green_script(connection):
        while connection.request() is not None:
            connection.reply(200 if well.is_set() else 500)

    well = threading.Event()
    plan = {**CALM, "rollout": {"steps": [30, 100], "hold": "1h", "smoke_requests": 5}, "override": "header:X-Colour"}
    with Origin() as blue, Origin(green_script) as green, with_state(Sluice(blue, green, service=plan)) as sluice:
        sluice.admin.do("rollout start web")
        equal(sluice.admin.show("rollout")[0]["state"], "preflight", "the rollout")
        await_saved(sluice)
        die(sluice)
        mark_that_something_may_be_missing(journal(sluice))
        web = sluice.tree["service"].pop("web")
        sluice.tree["service"]["other"] = {"blue": web["blue"]}
        sluice.start()
        await_saved(sluice)
        die(sluice)
        well.set()
        sluice.tree["service"] = {"web": web}
        sluice.start()
        equal(sluice.admin.show("rollout")[0]["state"], "paused", "the rollout after a start with the service")
        equal(sluice.admin.show("split")[0]["green"], 0.0, "the split")


def test_what_a_full_disk_did_not_take_of_a_service_that_has_left_is_saved_later():
    blue, green = pair()
    with blue, green, with_state(Sluice(blue, green, service={**CALM, "split": 50})) as sluice:
        sluice.admin.do("set weight web green=60")
        resource.prlimit(sluice.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        equal(sluice.admin.do("trip web smells of smoke").get("saved"), False, "what the answer says")

        def leaves_and_the_disk_has_room_again():
            sluice.reload()
            resource.prlimit(sluice.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            wait_until(lambda: sluice.admin.show("info")[0]["state_saved"], what="another try")
            revive(sluice)
        sluice.lack_web(leaves_and_the_disk_has_room_again)
        equal(sluice.admin.show("trip")[0]["state"], "tripped", "the trip")


def test_a_damage_that_is_found_late_is_told_once():
    blue, green = pair()
    with blue, green, with_state(Sluice(blue, green, service={**CALM, "split": 50})) as sluice:
        sluice.admin.do("set weight web green=60")
        with hidden_at_the_start(sluice):
            mark_that_something_may_be_missing(journal(sluice, "hidden"))
        wait_until(lambda: len(events(sluice, "state_damaged")) == 2, what="that it may miss something")
        await_saved(sluice)
        revive(sluice)
        expect(not events(sluice, "state_damaged"), "the damage is told again")


def test_a_rollout_does_not_go_on_where_a_trip_may_be_lost():
    blue, green = pair()
    plan = {**CALM, "rollout": {"steps": [30, 100], "hold": "100ms", "min_requests": 1000000}}
    with blue, green, with_state(Sluice(blue, green, service=plan)) as sluice:
        sluice.admin.do("rollout start web")
        sluice.admin.do("wait 10 split web green=30")
        await_saved(sluice)
        die(sluice)
        journal(sluice).write_bytes(b"?" + journal(sluice).read_bytes()[1:])
        sluice.start()
        equal(sluice.admin.show("rollout")[0]["state"], "paused", "the rollout")
        equal(sluice.admin.show("split")[0]["green"], 0.0, "the split")
        sluice.admin.do("rollout resume web")
        equal(sluice.admin.show("split")[0]["green"], 30.0, "the split when somebody has looked")


def test_a_state_dir_that_is_a_file_starts_nothing():
    with Origin() as origin, Sluice(origin) as sluice:
        sluice.stop()
        sluice.write_config({"state_dir": f"{sluice.folder}/state"})
        Path(sluice.folder, "state").write_text("")
        run = subprocess.run(sluice.command(), capture_output=True, text=True, timeout=20)
        equal(run.returncode, 1, "the exit code")
        expect("is no folder" in run.stderr, f"what it says: {run.stderr}")


def test_a_state_dir_that_another_process_has_starts_nothing():
    with Origin() as origin, with_state(Sluice(origin)) as sluice, Sluice(origin) as other:
        other.stop()
        other.write_config({"state_dir": sluice.tree["state_dir"]})
        run = subprocess.run(other.command(), capture_output=True, text=True, timeout=20)
        equal(run.returncode, 1, "the exit code")
        expect("Another process uses this state_dir" in run.stderr, f"what it says: {run.stderr}")


if __name__ == "__main__":
    adopt_successors()
    sys.exit(main(globals()))
