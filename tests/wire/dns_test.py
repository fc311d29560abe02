"""Endpoints by name. How names change is tests/proxy/resolver_test.cc's, which has
a name server of its own; here the system's names go all the way through."""

import os
import sys
import tempfile

from harness import CALM, Sluice, equal, expect, main
from http1 import proxy_error, wait_until
from origin import Origin
from tls import authority, secured, serving


def by_name(origin, name="localhost"):
    return f"dns:{name}:{origin.address.rpartition(':')[2]}"


def test_name_becomes_its_addresses():
    with Origin(name="named") as origin, Sluice(by_name(origin)) as sluice:
        equal(sluice.get("/").get("x-origin"), "named", "who answers")
        names = [row["endpoint"] for row in sluice.admin.show("endpoints web")]
        expect(origin.address in names, f"the endpoints are {names}")


def test_reload_takes_another_name():
    with Origin(name="one") as one, Origin(name="two") as two, Sluice(one) as sluice:
        sluice.write_config({"service": {"web": {"blue": {"endpoints": [by_name(two)]}}}})
        sluice.admin.do("reload")
        sluice.wait_ready()
        equal(sluice.get("/").get("x-origin"), "two", "who answers")


def test_reload_takes_the_name_of_the_same_address():
    with authority() as root:
        asked = []
        context = serving(root.issue("o", "DNS:localhost"))
        context.sni_callback = lambda _sock, name, _context: asked.append(name)
        with Origin(secured(context)) as origin:
            service = {**CALM, "blue": {"endpoints": [by_name(origin)], "tls": {"ca": root.cert}}}
            with Sluice(origin, service=service) as sluice:
                equal(sluice.get().status, 200, "the status under the name")
                for endpoint, status in ((origin.address, 502), (by_name(origin), 200)):
                    sluice.write_config({"service": {"web": {"blue": {"endpoints": [endpoint]}}}})
                    sluice.admin.do("reload")
                    sluice.wait_ready()
                    asked.clear()
                    answer = sluice.get()
                    equal(answer.status, status, f"the status under {endpoint}")
                    expect(asked, f"no handshake under {endpoint}")
                    equal(set(asked), {"localhost" if status == 200 else None}, f"the name under {endpoint}")
                    equal(proxy_error(answer), None if status == 200 else "tls_certificate_error",
                          f"the error under {endpoint}")


def test_name_without_an_address_is_no_endpoint_and_stops_nobody():
    with Origin(name="other") as origin, Sluice(by_name(origin, "no-such-name.invalid"), ready=False) as sluice:
        answer = sluice.get("/")
        equal((answer.status, proxy_error(answer)), (503, "destination_unavailable"), "what the client sees")
        equal(sluice.admin.show("info")[0]["ready"], False, "ready")
        (row,) = sluice.admin.show("endpoints web")
        expect("no-such-name.invalid" in row["endpoint"], f"the endpoint is called {row['endpoint']}")
        equal((row["usable"], row["health"]), (False, "unresolved"), "what is said of it")
        sluice.write_config({"service": {"web": {"blue": {"endpoints": [origin.address]}}}})
        sluice.admin.do("reload")
        equal(sluice.get("/").get("x-origin"), "other", "who answers after the reload")


def test_a_mode_outlives_the_time_in_which_its_name_has_no_address_yet():
    with Origin(name="named") as origin, Sluice(by_name(origin)) as sluice:
        sluice.stop()
        sluice.write_config({"state_dir": f"{sluice.folder}/state"})
        sluice.start()
        sluice.admin.do(f"set endpoint web/blue/{origin.address} maint")
        sluice.process.kill()
        sluice.process.wait()
        sluice.start(ready=False)  # names are asked for only now
        wait_until(lambda: [row["mode"] for row in sluice.admin.show("endpoints", endpoint=origin.address)] == ["maint"],
                   what="the endpoint, in maint")
        equal(sluice.get("/").status, 503, "the answer")
        sluice.admin.do(f"set endpoint web/blue/{origin.address} ready")
        equal(sluice.get("/").get("x-origin"), "named", "who answers")


# c-ares reads this instead of /etc/hosts, which a machine need not have.
with tempfile.NamedTemporaryFile("w", suffix=".hosts") as hosts:
    hosts.write("127.0.0.1 localhost\n")
    hosts.flush()
    os.environ["CARES_HOSTS"] = hosts.name
    status = main(globals())
sys.exit(status)
