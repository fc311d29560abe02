"""Endpoints by name. How names change is tests/proxy/resolver_test.cc's, which has
a name server of its own; here the system's names go all the way through."""

import os
import sys
import tempfile

from harness import Sluice, equal, expect, main
from http1 import proxy_error
from origin import Origin


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


# c-ares reads this instead of /etc/hosts, which a machine need not have.
with tempfile.NamedTemporaryFile("w", suffix=".hosts") as hosts:
    hosts.write("127.0.0.1 localhost\n")
    hosts.flush()
    os.environ["CARES_HOSTS"] = hosts.name
    status = main(globals())
sys.exit(status)
