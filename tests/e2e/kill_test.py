"""kill -9 at random moments: the next start has the last acknowledged state, or
that of the one command under way, and never more green than that.

With --times N (200) it dies so often. Each life begins with what the last left
behind, gives seeded random commands one after the other, and is killed at a
random moment, mostly in the middle of one. In some lives a rollout with a short
hold goes on by itself meanwhile, on real traffic.

What may be found is what a model of the process allows: split, generation,
latch, freeze, the rollout's position and a limit set by hand are all compared.
"""

import random
import signal
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from harness import Failure, Sluice, arguments, expect, run  # noqa: E402
from http1 import Incomplete, Silence  # noqa: E402
from origin import pair  # noqa: E402
from rolling import Traffic  # noqa: E402

SEED = 20240501
STEPS = [10.0, 50.0, 100.0]
PLAN = {"rollout": {"steps": [10, 50, 100], "hold": "1h", "min_requests": 50, "max_latency_ratio": 1000}}
BRIEF = "rollout start web hold=20ms"


class State(NamedTuple):
    green: float
    generation: int
    tripped: bool
    frozen: bool
    rollout: str
    step: int  # from 1; 0: none was entered
    brief: bool  # the rollout's hold
    limit: int  # of green's connections; 0: no limit

    def moved(self, green, **more):
        """With another split, if it is another."""
        return self._replace(green=green, generation=self.generation + (green != self.green), **more)

    def may_rise_to(self, green):
        return green <= self.green or not (self.frozen or self.tripped)


def state_of(sluice):
    (split,) = sluice.admin.show("split web")
    (trip,) = sluice.admin.show("trip web")
    (rollout,) = sluice.admin.show("rollout web")
    return State(split["green"], split["generation"], trip["state"] == "tripped",
                 sluice.admin.show("info")[0]["frozen"], rollout["state"], rollout["step"],
                 rollout.get("hold_s", 3600.0) < 1, sluice.admin.upstream("green")["max_connections"] or 0)


def steady_state_of(sluice):
    """A look that no step fell into."""
    while True:
        state = state_of(sluice)
        if state == state_of(sluice):
            return state


def by_itself(state):
    """What may become of it without a command, itself included."""
    found = [state]
    while True:
        last = found[-1]
        goes_on = last.rollout == "preflight" or (last.rollout == "holding" and last.brief)
        if not goes_on:
            return found
        if last.step == len(STEPS):
            found.append(last._replace(rollout="completed"))
        elif last.may_rise_to(STEPS[last.step]):
            found.append(last.moved(STEPS[last.step], rollout="holding", step=last.step + 1))
        else:
            return found


def begun(state, brief):
    running = state.rollout in ("preflight", "holding", "paused")
    if running or state.green > STEPS[0] or state.frozen or state.tripped:
        return None
    return state._replace(rollout="preflight", step=0, brief=brief)


def promoted(state):
    if state.rollout == "holding" and state.step == len(STEPS):
        return state._replace(rollout="completed")
    if state.rollout not in ("preflight", "holding") or not state.may_rise_to(STEPS[state.step]):
        return None
    return state.moved(STEPS[state.step], rollout="holding", step=state.step + 1)


def resumed(state):
    if state.rollout != "paused":
        return None
    if state.step == 0:
        return None if state.green > STEPS[0] else state._replace(rollout="preflight")
    green = STEPS[state.step - 1]
    return state.moved(green, rollout="holding") if state.may_rise_to(green) else None


def aborted(state):
    if state.rollout == "idle":
        return state.moved(0.0) if state.green > 0 else None
    return state.moved(0.0) if state.rollout in ("aborted", "tripped") else state.moved(0.0, rollout="aborted")


def weighted(state, green):
    if green > 0 and state.tripped or green > state.green and state.frozen:
        return None
    rollout = "paused" if state.rollout in ("preflight", "holding") else state.rollout
    return state.moved(green, rollout=rollout)


def tripped(state):
    if state.tripped:
        return state
    ends = state.rollout not in ("idle", "aborted", "tripped")
    return state._replace(green=0.0, generation=state.generation + 1, tripped=True,
                          rollout="tripped" if ends else state.rollout)


def after(command, state):
    """The state that a command leads to; None: it is refused."""
    if command.startswith("set weight"):
        return weighted(state, float(command.rpartition("=")[2]))
    if command.startswith("set maxconn"):
        return state._replace(limit=int(command.rpartition(" ")[2]))
    if command.startswith("trip"):
        return tripped(state)
    if command.startswith("reset"):
        return state._replace(tripped=False) if state.tripped else None
    if command.startswith("freeze on"):
        return state._replace(frozen=True)
    if command.startswith("freeze off"):
        return state._replace(frozen=False) if state.frozen else None
    if command.startswith("rollout start"):
        return begun(state, command == BRIEF)
    if command.startswith("rollout pause"):
        return state._replace(rollout="paused") if state.rollout in ("preflight", "holding") else None
    return {"rollout resume web": resumed, "rollout promote web": promoted, "rollout abort web": aborted}[command](state)


def outcomes(command, states):
    """All states in which it may leave one of these, which may have gone on first."""
    found = {after(command, one) for state in states for one in by_itself(state)}
    return found - {None}


def command(chance):
    return chance.choice([
        f"set weight web green={chance.randint(0, 100)}",
        f"set weight web green={chance.randint(0, 100)}",
        "set weight web green=0",
        f"set maxconn web/green {chance.randint(50, 99)}",  # more than is ever needed
        "trip web by hand",
        "reset web",
        "freeze on a test",
        "freeze off",
        "rollout start web",
        BRIEF,
        "rollout pause web",
        "rollout resume web",
        "rollout promote web",
        "rollout abort web",
    ])


class Life:
    """One process from its start to its death."""

    MOST_SECONDS = 60

    def __init__(self, sluice, chance):
        self.sluice = sluice
        self.chance = chance
        self.asked = None  # not acknowledged
        # What may be on the disk: each of these may have gone on by itself.
        self.states = {steady_state_of(sluice)}

    def live(self, seconds, commands):
        """Is killed so long after its begin."""
        with self.killed_after(seconds) as timer:
            timer.start()
            for one in commands:
                self.give(one)
            while True:
                self.look()

    def live_for_steps(self, steps, seconds, commands):
        """Is killed so long after its rollout has passed so many, or stands still."""
        with self.killed_after(seconds) as timer:
            for one in commands:
                self.give(one)
            latest = time.monotonic() + self.MOST_SECONDS
            seen = self.look()
            while seen.step <= steps and by_itself(seen) != [seen]:
                expect(time.monotonic() < latest, f"nothing has become of {seen}")
                seen = self.look()
            timer.start()
            while True:
                self.look()

    @contextmanager
    def killed_after(self, seconds):
        timer = threading.Timer(seconds, self.sluice.process.kill)
        try:
            yield timer
        except (Incomplete, Silence, OSError, ValueError):
            pass
        finally:
            if timer.ident is None:
                self.sluice.process.kill()
            else:
                timer.join()
            code = self.sluice.process.wait()
        expect(code == -signal.SIGKILL, f"it ended by itself with {code}: {self.sluice.log()}")

    def give(self, one):
        self.asked = one
        done = self.sluice.admin.json(one)["ok"]
        self.asked = None
        results = outcomes(one, self.states)
        if done:
            expect(results, f"'{one}' was done in {self.states}")
            self.states = results
        self.look()

    def look(self):
        """Narrows down what may be on the disk to what may have led to what is seen, and returns that."""
        for _ in range(3):  # a step may fall into a look
            seen = state_of(self.sluice)
            states = {state for state in self.states if seen in by_itself(state)}
            if states:
                self.states = states
                return seen
        raise Failure(f"{seen} is there, which cannot have come from {self.states}")

    def check(self, found):
        allowed = set(self.states)
        if self.asked is not None:
            allowed |= outcomes(self.asked, self.states)
        allowed = {one for state in allowed for one in by_itself(state)}
        expect(found in allowed, f"after '{self.asked}': {found}, but only {sorted(allowed)} may be")


def endless(chance):
    while True:
        yield command(chance)


def brief_life(chance):
    """A rollout that goes on by itself, now and then with a command on its way."""
    yield from ["reset web", "freeze off", "rollout abort web", "set weight web green=0", BRIEF]
    while chance.random() < 0.5:
        time.sleep(chance.uniform(0, 0.3))
        yield command(chance)


def die(times):
    chance = random.Random(SEED)
    checked = 0
    passed = 0
    blue, green = pair()
    with blue, green, tempfile.TemporaryDirectory() as state:
        config = {"state_dir": state, "log": {"access": "off", "level": "warning"}}
        with Sluice(blue, green, service=PLAN, config=config, workers=1) as sluice, Traffic(sluice, clients=2):
            began = time.monotonic()
            for number in range(times):
                try:
                    life = Life(sluice, chance)
                    if number % 5 == 4:
                        life.live_for_steps(chance.randrange(len(STEPS)), chance.uniform(0, 0.05), brief_life(chance))
                    else:
                        life.live(chance.uniform(0.0, 0.03), endless(chance))
                    sluice.start()
                    found = steady_state_of(sluice)
                    life.check(found)
                except Failure as failure:
                    raise Failure(f"seed {SEED}, death {number}: {failure}") from None
                checked += life.asked is not None
                passed += found.brief and found.step > 1
            print(f"{times} deaths in {time.monotonic() - began:.0f} s, {checked} within a command, "
                  f"{passed} in a rollout that had passed steps")
        expect(checked > times // 8, f"only {checked} of {times} deaths came within a command")
        expect(passed > times // 40, f"only {passed} of {times} deaths came after steps that passed by themselves")


def main():
    options = arguments(__doc__, (["--times"], {"type": int, "default": 200})).parse_args()
    return run([("test_kill_9_loses_nothing", lambda: die(options.times))], options.k, options.v)


sys.exit(main())
