"""kill -9 at random moments: the next start has the last acknowledged state, or
that of the one command under way, and never more green than that.

With --times N (200) it dies so often. Each life begins with what the last left
behind, gives seeded random commands one after the other, and is killed at a
random moment, mostly in the middle of one.
"""

import random
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from harness import Failure, Sluice, arguments, expect, run  # noqa: E402
from http1 import Incomplete, Silence  # noqa: E402
from origin import pair  # noqa: E402

SEED = 20240501
PLAN = {"rollout": {"steps": [10, 50, 100], "hold": "1h", "min_requests": 50}}


def state_of(sluice):
    (split,) = sluice.admin.show("split web")
    (trip,) = sluice.admin.show("trip web")
    (rollout,) = sluice.admin.show("rollout web")
    frozen = sluice.admin.show("info")[0]["frozen"]
    return {"green": split["green"], "generation": split["generation"], "trip": trip["state"],
            "rollout": rollout["state"], "frozen": frozen}


def command(chance):
    return chance.choice([
        f"set weight web green={chance.randint(0, 100)}",
        f"set weight web green={chance.randint(0, 100)}",
        "set weight web green=0",
        "trip web by hand",
        "reset web",
        "freeze on a test",
        "freeze off",
        "rollout start web",
        "rollout pause web",
        "rollout resume web",
        "rollout promote web",
        "rollout abort web",
    ])


class Life:
    """One process from its start to its death."""

    def __init__(self, sluice, chance):
        self.sluice = sluice
        self.chance = chance
        self.known = state_of(sluice)  # acknowledged
        self.asked = None              # not acknowledged

    def live(self):
        delay = self.chance.uniform(0.0, 0.03)
        killer = threading.Timer(delay, self.sluice.process.kill)
        killer.start()
        try:
            while True:
                self.asked = command(self.chance)
                self.sluice.admin.json(self.asked)
                self.asked = None
                self.known = state_of(self.sluice)
        except (Failure, Incomplete, Silence, OSError, ValueError):
            pass
        killer.join()
        self.sluice.process.wait()

    def check(self, found):
        if self.asked is None:
            # Killed between an acknowledgement and our look at what it did.
            return
        if found == self.known:
            return
        # The command under way may have come through, and a pre-flight have ended.
        by_itself = self.known["rollout"] == "preflight"
        most = self.known["generation"] + 1 + by_itself
        expect(self.known["generation"] <= found["generation"] <= most,
               f"after '{self.asked}': {found}, before it {self.known}")
        wanted = max(self.known["green"], 10.0 if by_itself else 0.0)
        if self.asked.startswith("set weight"):
            wanted = max(wanted, float(self.asked.rpartition("=")[2]))
        if self.asked.startswith("rollout"):
            wanted = max(wanted, 100.0 if "promote" in self.asked else 50.0 if "resume" in self.asked else 10.0)
        expect(found["green"] <= wanted, f"after '{self.asked}' green has {found['green']}, at most {wanted} was allowed")


def die(times):
    chance = random.Random(SEED)
    checked = 0
    blue, green = pair()
    with blue, green, tempfile.TemporaryDirectory() as state:
        config = {"state_dir": state, "log": {"access": "off", "level": "warning"}}
        with Sluice(blue, green, service=PLAN, config=config, workers=1) as sluice:
            began = time.monotonic()
            for number in range(times):
                life = Life(sluice, chance)
                life.live()
                sluice.start()
                try:
                    life.check(state_of(sluice))
                except Failure as failure:
                    raise Failure(f"seed {SEED}, death {number}: {failure}") from None
                checked += life.asked is not None
            print(f"{times} deaths in {time.monotonic() - began:.0f} s, {checked} within a command")
        expect(checked > times // 4, f"only {checked} of {times} deaths came within a command")


def main():
    options = arguments(__doc__, (["--times"], {"type": int, "default": 200})).parse_args()
    return run([("test_kill_9_loses_nothing", lambda: die(options.times))], options.k, options.v)


sys.exit(main())
