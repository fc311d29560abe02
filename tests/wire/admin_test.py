"""The admin socket by its contract, the process's life and death, and the split
under load."""

import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

from harness import Failure, Sluice, binary, equal, expect, main, to_toml
from http1 import Incomplete, Silence, wait_until
from origin import FastOrigin, Origin

CALM = {"trip": {"enabled": False}}


def pair():
    """A blue and a green that say who they are."""
    return Origin(name="blue"), Origin(name="green")


def refused(reply, code):
    equal(reply["ok"], False, "ok")
    equal(reply["error"]["code"], code, "the error code")
    expect(reply["error"]["message"], "an error without a message")


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
        unreachable = ctl("show split", socket_path="/nonexistent/admin.sock")
        equal(unreachable.returncode, 2, "unreachable")
        expect("/nonexistent/admin.sock" in unreachable.stderr, f"it says: {unreachable.stderr}")


def test_show_events_tells_what_was_changed():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        sluice.admin.do("set weight web green=10")
        changes = sluice.admin.show("events", type="split_changed")
        equal(len(changes), 1, "split changes")
        expect("10" in changes[0]["message"] and changes[0]["service"] == "web", f"the event is {changes[0]}")


# ------------------------------------------------------------------ life and death


def test_reload_applies_what_changed_and_keeps_what_was_set():
    blue, green = pair()
    third = Origin(name="third")
    with blue, green, third, Sluice(blue, green) as sluice:
        sluice.admin.do("set weight web green=40")
        web = {"split": 20, "blue": {"endpoints": [third.address]}}
        sluice.write_config({"service": {"web": web}})
        reply = sluice.admin.do("reload")
        expect(any("endpoints" in change["key"] for change in reply["applied"]), f"the reply is {reply}")
        expect("40" in "".join(reply["kept"]), f"the split set at run time is not named: {reply}")
        equal(sluice.admin.show("split web")[0]["green"], 40.0, "the split")
        sluice.admin.do("set weight web green=0")
        equal(sluice.get("/").get("x-origin"), "third", "who is blue now")


def test_wrong_reload_changes_nothing_and_names_each_error():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        good = sluice.config_file.read_text()
        sluice.config_file.write_text(good.replace("workers", "wrokers") + "\n[service.other]\nsplitt = 1\n")
        reply = sluice.admin.json("reload")
        refused(reply, "invalid")
        message = reply["error"]["message"]
        expect("sluice.toml:1:" in message and "workers" in message, f"no hint with line and column: {message}")
        expect("splitt" in message, f"only one error is named: {message}")
        equal(sluice.get("/").get("x-origin"), "blue", "who answers")
        sluice.config_file.write_text(good)
        sluice.admin.do("reload")


def test_sighup_reloads():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice:
        sluice.write_config({"service": {"web": {"blue": {"endpoints": [green.address]}}}})
        sluice.signal(signal.SIGHUP)
        wait_until(lambda: sluice.get("/").get("x-origin") == "green", what="the reload")


def test_sigterm_finishes_what_is_under_way():
    seen, go = threading.Event(), threading.Event()

    def script(connection):
        connection.request()
        seen.set()
        connection.wait(go)
        connection.reply(200, body=b"finished")

    with Origin(script) as origin, Sluice(origin, config={"drain_timeout": "20s"}) as sluice:
        idle = sluice.client()
        client = sluice.client(timeout=30)
        client.ask("GET", "/")
        expect(seen.wait(10), "the request never arrived")
        sluice.signal(signal.SIGTERM)
        expect(idle.at_end(), "an idle connection stays")
        wait_until(lambda: _is_refused(sluice.address), what="the listener's end")
        go.set()
        answer = client.answer()
        equal(answer.body, b"finished", "the answer")
        expect("close" in answer.options("connection") and client.at_end(), "the connection stays")
        sluice.wait_exit(15)


def _is_refused(address):
    with socket.socket() as sock:
        return sock.connect_ex(address) != 0


def test_sigterm_ends_in_time_though_somebody_stays():
    seen = threading.Event()

    def script(connection):
        connection.request()
        seen.set()
        connection.at_end()

    with Origin(script) as origin, Sluice(origin, config={"drain_timeout": "1s"}) as sluice, sluice.client() as client:
        client.ask("GET", "/")
        expect(seen.wait(10), "the request never arrived")
        began = time.monotonic()
        sluice.stop()
        expect(time.monotonic() - began < 10, "the drain took longer than its bound")


def test_drain_command_ends_the_process():
    with Origin() as origin, Sluice(origin) as sluice:
        equal(sluice.admin.json("drain")["ok"], True, "ok")
        sluice.wait_exit(15)


def test_shutdown_command_cuts_off():
    seen = threading.Event()

    def script(connection):
        connection.request()
        seen.set()
        connection.at_end()

    with Origin(script) as origin, Sluice(origin, config={"drain_timeout": "1m"}) as sluice, sluice.client() as client:
        client.ask("GET", "/")
        expect(seen.wait(10), "the request never arrived")
        equal(sluice.admin.json("shutdown")["ok"], True, "ok")
        sluice.wait_exit(15)


def test_waits_end_when_the_process_does():
    blue, green = pair()
    with blue, green, Sluice(blue, green) as sluice, sluice.admin.connect() as client:
        client.send(b"json wait 60 split web green=50\n")
        equal(sluice.admin.json("show split")["ok"], True, "a command meanwhile")
        sluice.stop()
        try:
            reply = client.rest()
        except Silence as error:
            raise Failure("the wait outlived the process") from error
        if reply:
            equal(json.loads(reply)["ok"], False, "ok")


def check_start_fails(text, *wanted):
    with Origin() as origin:
        sluice = Sluice(origin)
        try:
            sluice.config_file.write_text(text.replace("BLUE", origin.address).replace("FOLDER", sluice.folder))
            run = subprocess.run(
                [binary(), "run", "-c", str(sluice.config_file)], capture_output=True, text=True, timeout=20
            )
            said = run.stdout + run.stderr
            expect(run.returncode != 0, f"it started: {said}")
            for part in wanted:
                expect(part in said, f"{part!r} is not in: {said}")
        finally:
            sluice._remove()


GOOD = '[[listener]]\nbind = "127.0.0.1:0"\n[service.web]\n[service.web.blue]\nendpoints = ["BLUE"]\n'


def test_wrong_configuration_starts_nothing_and_names_every_error():
    wrong = GOOD + 'balanse = "p2c"\nmax_queue = "many"\n'
    check_start_fails(wrong, "sluice.toml:6:1: error: ", "sluice.toml:7:", "balance")


def test_missing_configuration_is_one_clear_line():
    run = subprocess.run([binary(), "run", "-c", "/nonexistent.toml"], capture_output=True, text=True, timeout=20)
    expect(run.returncode != 0 and "/nonexistent.toml" in run.stderr + run.stdout, f"it says: {run}")


def test_occupied_port_is_one_clear_line():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        address = "127.0.0.1:%d" % sock.getsockname()[1]
        check_start_fails(GOOD.replace("127.0.0.1:0", address), address)


# ------------------------------------------------------------------------- load


class Load:
    """Connections that each have `depth` requests under way, driven by one
    thread; counts who answered. The origins answer one octet, `b` or `g`."""

    REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"

    def __init__(self, address, connections, depth):
        self.depth = depth
        self.counts = {b"b": 0, b"g": 0}
        self.wrong = []
        self.poller = select.epoll()
        self.sockets = {}
        for _ in range(connections):
            sock = socket.create_connection(address, timeout=30)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets[sock.fileno()] = [sock, b"", 0]
            self.poller.register(sock.fileno(), select.EPOLLIN)

    def close(self):
        for sock, _, _ in self.sockets.values():
            sock.close()
        self.poller.close()

    def ask(self, number):
        self.sockets[number][0].sendall(self.REQUEST * self.depth)
        self.sockets[number][2] = self.depth

    def run(self, total=None, until=lambda: False):
        """Sends until `total` requests or until() holds; all are answered then."""
        left = total if total is not None else float("inf")
        for number in self.sockets:
            self.ask(number)
            left -= self.depth
        busy = len(self.sockets)
        while busy:
            events = self.poller.poll(30)
            if not events:
                raise Silence("no answer within 30 s")
            for number, _ in events:
                if not self.take(number):
                    continue
                if left > 0 and not until():
                    self.ask(number)
                    left -= self.depth
                else:
                    busy -= 1

    def take(self, number):
        """Reads answers; True when a batch is complete."""
        entry = self.sockets[number]
        data = entry[0].recv(262144)
        if not data:
            raise Incomplete("the proxy closed a connection under load")
        data = entry[1] + data
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0 or len(data) < end + 5:
                break
            if not data.startswith(b"HTTP/1.1 200 "):
                raise Failure(f"an answer under load: {data[:200]!r}")
            self.counts[data[end + 4 : end + 5]] += 1
            entry[2] -= 1
            data = data[end + 5 :]
        entry[1] = data
        return entry[2] == 0


def check_split(green, got, total):
    mean = total * green / 100
    deviation = (total * (green / 100) * (1 - green / 100)) ** 0.5
    off = abs(got - mean) / deviation
    expect(off <= 4, f"green got {got} of {total} at {green} %: {off:.1f} standard deviations off")


def test_split_of_100000_requests_is_exact_in_expectation():
    total, green = 100_000, 25
    with FastOrigin(b"b") as blue, FastOrigin(b"g") as other:
        with Sluice(blue, other, {**CALM, "split": green}, {"log": {"access": "off"}}) as sluice:
            load = Load(sluice.address, connections=16, depth=25)
            load.run(total)
            load.close()
            equal(load.counts[b"b"] + load.counts[b"g"], total, "answers")
            check_split(green, load.counts[b"g"], total)
            rows = {colour: sluice.admin.upstream(colour) for colour in ("blue", "green")}
            equal(rows["green"]["requests"], load.counts[b"g"], "green's requests by its counter")
            equal(rows["blue"]["requests"], load.counts[b"b"], "blue's requests by its counter")
            equal(rows["blue"]["responses"], {"200": load.counts[b"b"]}, "blue's responses")
            equal((blue.total, other.total), (load.counts[b"b"], load.counts[b"g"]), "what the origins counted")


def test_split_is_exact_from_the_first_request_on():
    """Not only in the long run: the first request of 400 fresh processes would
    be too slow to try, so the first of each generation stands for it."""
    blue, green = pair()
    with blue, green, Sluice(blue, green, CALM) as sluice, sluice.client() as client:
        got = 0
        for round_ in range(400):
            sluice.admin.do(f"set weight web green={30 if round_ % 2 else 30.01}")
            got += client.get("/").get("x-origin") == "green"
        check_split(30, got, 400)


def test_set_weight_under_load_loses_nothing_and_is_in_force_with_its_reply():
    with FastOrigin(b"b") as blue, FastOrigin(b"g") as green:
        with Sluice(blue, green, CALM, {"log": {"access": "off"}}) as sluice:
            stop, errors = threading.Event(), []
            load = Load(sluice.address, connections=64, depth=1)

            def work():
                try:
                    load.run(until=stop.is_set)
                except BaseException as error:
                    errors.append(error)

            thread = threading.Thread(target=work)
            thread.start()
            probe = Load(sluice.address, connections=8, depth=5)
            try:
                for turn in range(60):
                    share = 100 if turn % 2 == 0 else 0
                    sluice.admin.do(f"set weight web green={share}")
                    before = dict(probe.counts)
                    probe.run(total=40)
                    other = b"b" if share else b"g"
                    equal(probe.counts[other] - before[other], 0, f"requests elsewhere after green={share} was confirmed")
            finally:
                stop.set()
                thread.join(60)
            if errors:
                raise errors[0]
            load.close()
            probe.close()
            answered = sum(load.counts.values()) + sum(probe.counts.values())
            rows = [sluice.admin.upstream(colour) for colour in ("blue", "green")]
            equal(sum(row["requests"] for row in rows), answered, "requests by the counters")
            equal(sum(row["attempts_failed"] + row["rejected_total"] for row in rows), 0, "failures and refusals")


def test_reload_under_load_loses_nothing():
    with FastOrigin(b"b") as blue, FastOrigin(b"g") as green:
        with Sluice(blue, green, {**CALM, "split": 50}, {"log": {"access": "off"}}) as sluice:
            stop, errors = threading.Event(), []
            load = Load(sluice.address, connections=32, depth=1)

            def work():
                try:
                    load.run(until=stop.is_set)
                except BaseException as error:
                    errors.append(error)

            thread = threading.Thread(target=work)
            thread.start()
            try:
                for turn in range(100):
                    sluice.write_config({"service": {"web": {"timeouts": {"connect": f"{1000 + turn}ms"}}}})
                    sluice.admin.do("reload")
            finally:
                stop.set()
                thread.join(60)
            load.close()
            if errors:
                raise errors[0]
            rows = [sluice.admin.upstream(colour) for colour in ("blue", "green")]
            equal(sum(row["requests"] for row in rows), sum(load.counts.values()), "requests by the counters")


if __name__ == "__main__":
    sys.exit(main(globals()))
