"""Webhooks and gates over https: whom sluice talks to, and whom it does not."""

import sys

from harness import Sluice, equal, expect, main, refused
from http1 import wait_until
from origin import Origin
from rolling import Hook, Traffic, rolled, status, waits
from tls import authority, secured, serving


class SecureHook(Hook):
    """A Hook that shows `pair`."""

    def __init__(self, pair, **more):
        super().__init__(**more)
        self.origin.close()
        self.origin = Origin(secured(serving(pair), self._script), name="hook")
        self.url = f"https://{self.origin.address}/hook"


def pair_of_origins():
    return Origin(name="blue"), Origin(name="green")


def local(root, name, **more):
    return root.issue(name, **{"san": "IP:127.0.0.1", **more})


def failures(sluice):
    return [event["message"] for event in sluice.admin.show("events", type="webhook_failed")]


def test_https_webhook_and_gate_are_asked_and_carry_the_rollout():
    blue, green = pair_of_origins()
    with authority() as root, blue, green, SecureHook(local(root, "hook")) as hook:
        plan = {"webhook": hook.url, "gate": hook.url, "webhook_ca": root.cert, "steps": [50, 100]}
        with Sluice(blue, green, service=rolled(plan)) as sluice, Traffic(sluice):
            sluice.admin.do("rollout start web")
            sluice.admin.do("wait 120 rollout-done web")
            wait_until(lambda: "done" in hook.events(), 30, "the last message")
        expect("gate" in hook.events(), f"the gate was never asked: {hook.events()}")
        equal(hook.raw[0].get("host"), hook.origin.address, "Host")


def test_https_gate_that_is_not_who_it_should_be_gives_no_leave_and_is_told_nothing():
    with authority() as root, authority() as stranger:
        impostors = {"wrong-name": root.issue("wrong", san="DNS:else.test"),
                     "expired": local(root, "old", days=-1),
                     "unknown": local(stranger, "unknown")}
        for name, pair in impostors.items():
            blue, green = pair_of_origins()
            with blue, green, SecureHook(pair) as hook:
                with Sluice(blue, green, service=rolled({"gate": hook.url, "webhook_ca": root.cert})) as sluice:
                    sluice.admin.do("rollout start web")
                    wait_until(lambda: "TLS: " in str(status(sluice)["waiting_for"]), 20,
                               f"a reason why the {name} gate was not heard")
                    equal(status(sluice)["green"], 0.0, f"the split under the {name} gate")
                equal(hook.raw, [], f"what the {name} gate was told")


def test_https_webhook_without_a_ca_is_verified_with_the_roots_of_the_system():
    blue, green = pair_of_origins()
    with authority() as root, blue, green, SecureHook(local(root, "hook")) as hook:
        with Sluice(blue, green, service=rolled({"webhook": hook.url, "hold": "1h"})) as sluice:
            sluice.admin.do("rollout start web")
            sluice.stop()
            line = next(line for line in sluice.log().splitlines() if "webhook_failed" in line)
            expect("'start'" in line, line)
        equal(hook.raw, [], "what a hook was told that no root knows")


def test_ca_that_is_not_there_is_refused_before_anything_starts():
    blue, green = pair_of_origins()
    with blue, green, Sluice(blue, green, service=rolled({})) as sluice:
        settings = {"service": {"web": rolled({"gate": "https://127.0.0.1:1/", "webhook_ca": "/nowhere/ca.pem"})}}
        sluice.write_config(settings)
        reply = sluice.admin.json("reload")
        refused(reply, reply["error"]["code"])
        expect("/nowhere/ca.pem" in reply["error"]["message"], f"the refusal is {reply}")
        expect("the rollout of web" in reply["error"]["message"], f"the refusal is {reply}")


def test_ca_that_is_replaced_is_in_force_for_the_next_call():
    blue, green = pair_of_origins()
    with authority() as root, authority() as other, blue, green, SecureHook(local(root, "hook")) as hook:
        ca = other.cert + ".used"
        replace(ca, other.cert)
        with Sluice(blue, green, service=rolled({"gate": hook.url, "webhook_ca": ca})) as sluice, Traffic(sluice):
            sluice.admin.do("rollout start web")
            wait_until(lambda: "TLS: " in str(status(sluice)["waiting_for"]), 20, "a gate that is not believed")
            sluice.admin.do("rollout abort web")
            replace(ca, root.cert)
            wait_until(lambda: sluice.admin.show("events", type="certificates_loaded"), 20, "the other root")
            sluice.admin.do("rollout start web")
            wait_until(lambda: hook.raw, 20, "a question to the gate")
            wait_until(lambda: "gate" not in waits(sluice), 30, "its leave")


def replace(path, source):
    with open(source, "rb") as old, open(path, "wb") as new:
        new.write(old.read())


if __name__ == "__main__":
    sys.exit(main(globals()))
