"""The admin socket by its contract."""

import json
import os
import pty
import socket
import stat
import subprocess
import sys
import tempfile
import threading

from harness import Failure, Sluice, binary, equal, expect, main, refused
from http1 import Silence, wait_until
from origin import Origin, pair

# --------------------------------------------------------------------- the line


def test_admin_text_reply_ends_with_an_empty_line_and_the_connection():
    with Origin() as origin, Sluice(origin) as sluice, sluice.admin.connect() as client:
        client.send(b"show split\n")
        reply = client.rest().decode()
        expect(reply.endswith("\n\n"), f"the reply ends with {reply[-20:]!r}")
        expect("web" in reply and "\n\n" not in reply[:-2], f"the reply is {reply!r}")


def test_admin_json_reply_is_one_line():
    with Origin() as origin, Sluice(origin) as sluice:
        for command in ("show info", "show split", "show config", "show sessions", "show events", "help", "nonsense"):
            reply = sluice.admin.json(command)
            expect(isinstance(reply["ok"], bool), f"{command}: {reply}")


def test_admin_commands_are_joined_by_semicolons():
    with Origin() as origin, Origin() as green, Sluice(origin, green) as sluice:
        text = sluice.admin.text("json set weight web green=5; json nonsense ;json show split")
        set_weight, nonsense, show = [json.loads(one) for one in text.split("\n\n")]
        equal(set_weight, {"ok": True, "service": "web", "green": 5.0, "generation": 2}, "set weight")
        refused(nonsense, "usage")
        equal(show["split"][0]["green"], 5.0, "the split in the same line")


def test_admin_last_line_needs_no_line_feed():
    with Origin() as origin, Sluice(origin) as sluice, sluice.admin.connect() as client:
        client.send(b"json show split")
        client.half_close()
        equal(json.loads(client.rest())["ok"], True, "ok")


def test_admin_prompt_keeps_the_session():
    with Origin() as origin, Sluice(origin) as sluice, sluice.admin.connect() as client:

        def until_prompt():
            while not client.buffer.endswith(b"> "):
                expect(client.fill(), "the session ended")
            text = bytes(client.buffer[:-2])
            client.buffer.clear()
            return text.decode()

        client.send(b"prompt\n")
        until_prompt()
        for _ in range(3):
            client.send(b"json show split\n")
            equal(json.loads(until_prompt())["ok"], True, "ok")
        client.send(b"nonsense\n")
        expect("nonsense" in until_prompt(), "no word about the unknown command")
        client.send(b"\n")
        equal(until_prompt(), "", "the reply to an empty line")
        client.send(b"quit\n")
        client.rest()


def test_admin_unknown_commands_get_a_hint():
    with Origin() as origin, Sluice(origin) as sluice:
        for wrong, right in (("shwo split", "show split"), ("show spilt", "show split"), ("relaod", "reload")):
            reply = sluice.admin.json(wrong)
            refused(reply, "usage")
            expect(f"'{right}'" in reply["error"]["message"], f"the hint for {wrong}: {reply}")


def test_admin_help_lists_and_explains():
    with Origin() as origin, Sluice(origin) as sluice:
        listing = sluice.admin.text("help")
        for command in ("show info", "show split", "set weight", "set maxconn", "reload", "drain", "shutdown", "wait"):
            expect(command in listing, f"help does not list {command}")
        expect("if-gen" in sluice.admin.text("help set weight"), "help set weight does not explain if-gen")


def test_ctl_helps_without_a_process():
    environment = {name: value for name, value in os.environ.items() if name not in ("SLUICE_SOCKET", "SLUICE_CONFIG")}

    def ctl(*words):
        return subprocess.run([binary(), "ctl", *words], env=environment, capture_output=True, text=True, timeout=30)

    expect("set weight" in ctl("help").stdout, "help lists no commands")
    expect("if-gen" in ctl("help", "set", "weight").stdout, "help set weight does not explain if-gen")
    equal(ctl("help", "shwo").returncode, 1, "the exit code for what is not there")
    equal(ctl("show", "split").returncode, 2, "the exit code without a process")


def test_admin_changes_are_made_though_their_client_hung_up():
    with Origin() as blue, Origin() as green, Sluice(blue, green, service={"split": 50}) as sluice:
        sluice.tree["state_dir"] = f"{sluice.folder}/state"  # so each waits for the disk
        sluice.stop()
        sluice.write_config()
        sluice.start()
        with sluice.admin.connect() as client:
            client.send(b"freeze on today; show split; set maxconn web/blue 11; trip web\n")
        wait_until(lambda: sluice.admin.show("split")[0]["state"] == "tripped", what="the trip")
        equal(sluice.admin.upstream()["max_connections"], 11, "the cap")


def test_ctl_says_when_not_all_commands_of_its_line_were_answered():
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/admin.sock")
        server.listen()

        def answer_one(answer):
            client, _ = server.accept()
            with client, client.makefile() as lines:
                lines.readline()
                client.sendall(answer.encode() + b"\n\n")

        for answer, shown in [("frozen", "frozen\n"), ("error: conflict: no", "")]:
            answering = threading.Thread(target=answer_one, args=[answer])
            answering.start()
            run = subprocess.run([binary(), "ctl", "-s", f"{folder}/admin.sock", "freeze on today; trip web"],
                                 capture_output=True, text=True, timeout=30)
            answering.join()
            equal((run.returncode, run.stdout), (2, shown), "the exit code and what was answered")
            expect("after 1 of 2 answers" in run.stderr, f"what it says: {run.stderr}")


def test_ctl_finds_the_process_by_a_file_that_was_spoilt_since():
    with Origin() as blue, Origin() as green, Sluice(blue, green, service={"split": 50}) as sluice:
        environment = {**os.environ, "SLUICE_CONFIG": str(sluice.config_file)}
        environment.pop("SLUICE_SOCKET", None)
        text = sluice.config_file.read_text()
        for spoilt in (text + "\n[log]\nlevle = 1\n", text.replace("split = 50", "split = fifty")):
            expect(spoilt != text, "the file is as it was")
            sluice.config_file.write_text(spoilt)
            run = subprocess.run([binary(), "ctl", "trip", "web", "broken"], env=environment, capture_output=True,
                                 text=True, timeout=30)
            equal(run.returncode, 0, f"the exit code of trip, which says {run.stdout + run.stderr}")
            sluice.admin.do("reset web")


def test_admin_line_without_end_is_refused():
    with Origin() as origin, Sluice(origin) as sluice, sluice.admin.connect() as client:
        before = sluice.rss_bytes()
        try:
            for _ in range(1024):
                client.send(b"x" * 65536)
        except (OSError, Silence):
            pass
        try:
            reply = client.rest()
        except Silence as error:
            raise Failure("the session with an endless line stays open") from error
        expect(not reply or reply.startswith(b"error: "), f"the reply is {reply[:80]!r}")
        expect(sluice.rss_bytes() - before < 32 << 20, "an endless line is hoarded")
        equal(sluice.admin.json("show split")["ok"], True, "another client's command")


def test_admin_over_long_line_is_refused():
    with Origin() as origin, Sluice(origin) as sluice:
        for size in (100_000, 1_000_000):
            with sluice.admin.connect() as client:
                try:
                    client.send(b"show split " + b"a" * size + b"\n")
                except OSError:
                    pass
                reply = client.rest().decode()
                expect(not reply or reply.startswith("error: "), f"{size} octets: {reply[:80]!r}")


def test_admin_odd_octets_do_no_harm():
    with Origin() as origin, Sluice(origin) as sluice:
        for line in (b"\0", b"\xff\xfe", b"\x1b[2J", b'show "split', b"show split\r", b"show split \xff", b"\xc3\xa9"):
            for form in (b"", b"json "):
                with sluice.admin.connect() as client:
                    client.send(form + line + b"\n")
                    client.half_close()
                    reply = client.rest()
                expect(reply.endswith(b"\n\n"), f"the reply to {line} is {reply}")
                if form:
                    expect(isinstance(json.loads(reply.decode())["ok"], bool), f"the reply to {line} is {reply}")
        equal(sluice.admin.json("show split")["ok"], True, "a command afterwards")


def test_admin_serves_many_clients_at_once():
    with Origin() as origin, Origin() as green, Sluice(origin, green) as sluice:
        waiting = [sluice.admin.connect() for _ in range(20)]
        for client in waiting:
            client.send(b"json wait 20 split web green=33\n")
        silent = [sluice.admin.connect() for _ in range(10)]
        partial = sluice.admin.connect()
        partial.send(b"json show sp")
        equal(sluice.admin.do("set weight web green=33")["green"], 33.0, "a command among them")
        for client in waiting:
            equal(json.loads(client.rest())["ok"], True, "the end of a wait")
        partial.send(b"lit\n")
        equal(json.loads(partial.rest())["split"][0]["green"], 33.0, "a line in two pieces")
        for client in [*waiting, *silent, partial]:
            client.close()


def test_admin_client_that_does_not_read_blocks_nobody():
    with Origin() as origin, Sluice(origin) as sluice, sluice.admin.connect() as client:
        client.sock.setblocking(False)
        try:
            client.sock.send(b"prompt\n" + b"help\n" * 20_000)
        except BlockingIOError:
            pass
        for _ in range(5):
            equal(sluice.admin.json("show split")["ok"], True, "another client's command")


def test_admin_socket_has_its_mode_and_goes_with_the_process():
    with Origin() as origin:
        with Sluice(origin, config={"admin": {"mode": "0600"}}) as sluice:
            equal(stat.S_IMODE(os.stat(sluice.socket).st_mode), 0o600, "the socket's mode")
            sluice.stop()
            expect(not os.path.exists(sluice.socket), "the socket is still there")


def test_admin_socket_of_a_running_process_is_not_taken():
    with Origin() as origin, Sluice(origin) as sluice:
        second = subprocess.run(
            [binary(), "run", "-c", str(sluice.config_file)], capture_output=True, text=True, timeout=20
        )
        expect(second.returncode != 0, "a second process took the admin socket")
        expect(sluice.socket in second.stdout + second.stderr, f"it says: {second.stdout}{second.stderr}")
        equal(sluice.admin.json("show split")["ok"], True, "the first process's socket")


# ------------------------------------------------------------------ set and wait


def test_set_weight_moves_by_hundredths_and_counts_generations():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        for generation, (text, value) in enumerate([("0.01", 0.01), ("99.99", 99.99), ("100", 100.0), ("0", 0.0)], 2):
            reply = sluice.admin.do(f"set weight web green={text}")
            equal(reply, {"ok": True, "service": "web", "green": value, "generation": generation}, "the reply")
            (row,) = sluice.admin.show("split web")
            equal((row["green"], row["generation"], row["source"]), (value, generation, "admin"), "show split")


def test_set_weight_if_gen_holds_off_who_looked_too_early():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        (before,) = sluice.admin.show("split web")
        sluice.admin.do(f"set weight web green=10 if-gen {before['generation']}")
        refused(sluice.admin.json(f"set weight web green=20 if-gen {before['generation']}"), "conflict")
        equal(sluice.admin.show("split web")[0]["green"], 10.0, "the split after the conflict")


def test_set_weight_to_what_it_is_changes_nothing():
    blue, green = pair()
    with blue, green, Sluice(blue, green, {"split": 10}) as sluice:
        reply = sluice.admin.do("set weight web green=10")
        equal(reply, {"ok": True, "service": "web", "green": 10.0, "generation": 1}, "the reply")
        (row,) = sluice.admin.show("split web")
        equal((row["generation"], row["source"]), (1, "admin"), "show split")
        types = [event["type"] for event in sluice.admin.show("events")]
        expect("split_changed" not in types, "an event tells of a change that was none")


def test_set_weight_refuses_what_is_no_percentage():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        for wrong in ("101", "-1", "12.345", "x", "", "1e1", "nan", "50%%", "1 2"):
            expect(not sluice.admin.json(f"set weight web green={wrong}")["ok"], f"green={wrong} was taken")
        refused(sluice.admin.json("set weight nobody green=1"), "not_found")
        equal(sluice.admin.show("split web")[0]["generation"], 1, "the generation")


def test_only_one_of_many_wins_a_generation():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        replies = []

        def contend(number):
            replies.append(sluice.admin.json(f"set weight web green={number} if-gen 1"))

        threads = [threading.Thread(target=contend, args=(number,)) for number in range(1, 17)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        equal(sum(reply["ok"] for reply in replies), 1, "winners")


def test_wait_ends_when_it_is_met_runs_out_or_is_impossible():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        equal(sluice.admin.json("wait 5 ready")["ok"], True, "ready")
        refused(sluice.admin.json("wait 0 split web green=50"), "timeout")
        refused(sluice.admin.json("wait 1 split nobody green=50"), "not_found")
        refused(sluice.admin.json("wait 1 nonsense"), "usage")
    with Origin() as blue, Sluice(blue) as sluice:
        refused(sluice.admin.json("wait 60 split web green=50"), "refused")  # there is no green: not after a minute


def test_ctl_exit_codes():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:

        def ctl(*words, socket_path=None):
            command = [binary(), "ctl", "-s", socket_path or sluice.socket, *words]
            return subprocess.run(command, capture_output=True, text=True, timeout=20)

        equal(ctl("show", "split").returncode, 0, "done")
        equal(json.loads(ctl("--json", "set weight web green=7").stdout)["green"], 7.0, "--json")
        equal(ctl("set weight web green=8 if-gen 1").returncode, 1, "refused")
        equal(ctl("nonsense").returncode, 2, "usage")
        for line in ("show split;", "show split; ", "show split; ; show info;"):
            answer = ctl(line)
            equal((answer.returncode, answer.stderr), (0, ""), f"what became of '{line}'")
        for words, code in [(["json set weight web green=8 if-gen 1"], 1), (["json", "set", "weight", "no", "green=8"], 1),
                            (["json nonsense"], 2), (["show split; json nonsense"], 2), (["json show split"], 0)]:
            answer = ctl(*words)
            equal((answer.returncode, answer.stderr), (code, ""), f"the exit code of {words}")
        with open("/dev/full", "w") as full:
            answer = subprocess.run([binary(), "ctl", "-s", sluice.socket, "show", "split"], stdout=full,
                                    stderr=subprocess.PIPE, text=True, timeout=20)
            equal(answer.returncode, 1, "the exit code where the output is lost")
            expect("could be written" in answer.stderr, f"it says: {answer.stderr}")
        for words, said in [([""], "no command"), ([";"], "no command"), (["prompt"], "dialogue"), (["show split; quit"], "dialogue")]:
            answer = ctl(*words)
            equal(answer.returncode, 2, f"the exit code of {words}")
            expect(said in answer.stderr, f"{words} is refused by: {answer.stderr}")
        unreachable = ctl("show split", socket_path="/nonexistent/admin.sock")
        equal(unreachable.returncode, 2, "unreachable")
        expect("/nonexistent/admin.sock" in unreachable.stderr, f"it says: {unreachable.stderr}")
        for words in (["--json", "show split"], ["--json"]):
            unreachable = ctl(*words, socket_path="/nonexistent/admin.sock")
            equal((unreachable.returncode, unreachable.stderr), (2, ""), f"what became of {words}")
            equal(json.loads(unreachable.stdout)["ok"], False, "the answer in JSON")


def test_ctl_on_a_terminal_says_how_long_it_waits():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        command = [binary(), "ctl", "-s", str(sluice.admin.path), "wait", "60", "tripped", "web"]
        ours, theirs = pty.openpty()
        waiting = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs)
        silent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.close(theirs)
        said = b""
        while b"waiting, 2 s" not in said:
            said += os.read(ours, 4096)
        sluice.admin.do("trip web bad")
        equal(waiting.wait(20), 0, "the exit code")
        try:
            while part := os.read(ours, 4096):
                said += part
        except OSError:  # the last of the terminal's other side is closed
            pass
        os.close(ours)
        expect(said.endswith(b"\r" + 24 * b" " + b"\r"), f"the terminal is left with {said[-40:]!r}")
        equal(silent.communicate(timeout=20)[1], b"", "what is said where nobody watches")
        waiting.stdout.close()


def test_show_events_tells_what_was_changed():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        sluice.admin.do("set weight web green=10")
        changes = sluice.admin.show("events", type="split_changed")
        equal(len(changes), 1, "split changes")
        expect("10" in changes[0]["message"] and changes[0]["service"] == "web", f"the event is {changes[0]}")


def test_the_log_tells_who_gave_each_command_that_changes():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        commands = [
            ("rollout start web steps=1,100 hold=60s", True),
            ("rollout abort web", True),
            ("rollout start nobody", False),
            ("set weight web green=10", True),
            ("set weight web green=101", False),
            ("measure web/green on", True),
            ("trip web a bad build", True),
        ]
        for command, ok in commands:
            sluice.admin.json("show split")
            equal(sluice.admin.json(command)["ok"], ok, f"the answer to {command}")
        sluice.admin.text("show events; show trip; help; nonsense; trip")
        lines = [json.loads(line) for line in sluice.log().splitlines() if '"admin_command"' in line]
        equal([(line["command"], line["ok"]) for line in lines], [(f"json {one}", ok) for one, ok in commands], "the log")
        for line in lines:
            equal(line["who"], f"uid {os.getuid()} pid {os.getpid()}", "who")
            equal(line["level"], "info", "the level")
        before = sluice.log().count('"admin_command"')
        for number in range(100):
            sluice.admin.do(f"set maxconn web/blue {100 + number}")
        equal(sluice.log().count('"admin_command"') - before, 100, "lines, however many there are in a moment")
        expect(not sluice.admin.show("events", type="admin_command"), "the commands are events too")


def test_an_unknown_subcommand_is_named():
    def sluice(*words):
        return subprocess.run([binary(), *words], capture_output=True, text=True, timeout=20)

    for word in ("nope", "--nope"):
        answer = sluice(word)
        equal(answer.returncode, 2, f"the exit code of {word}")
        for said in (f"'{word}'", "run, check, ctl, top, version, demo"):
            expect(said in answer.stderr, f"{word}: {answer.stderr}")
    equal(sluice().returncode, 2, "the exit code without a word")
    equal(sluice("--help").returncode, 0, "the exit code of --help")
    for signal in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        expect(signal in sluice("run", "--help").stdout, f"run --help lacks {signal}")


if __name__ == "__main__":
    sys.exit(main(globals()))
