"""Ejection of endpoints by what live traffic shows."""

import sys

from harness import Sluice, equal, main, run_at_once
from http1 import wait_until
from origin import Origin


class Sick:
    """Serves well until told otherwise, then fails all but one of ten."""

    def __init__(self):
        self.sick = False
        self.count = 0

    def script(self, connection):
        while connection.request() is not None:
            self.count += 1
            connection.reply(500 if self.sick and self.count % 10 else 200, body=b"")


def test_an_endpoint_that_begins_to_fail_most_requests_is_ejected_and_comes_back():
    sick = Sick()
    with Origin(sick.script) as one, Origin() as other:
        service = {"blue": {"balance": "round-robin"}, "retry": {"max": 0},
                   "outlier": {"consecutive": 5, "eject": "1s", "max_ejected": 50}}
        with Sluice([one, other], service=service) as sluice:

            def ask():
                with sluice.client(timeout=30) as client:
                    for _ in range(50):
                        client.get("/")

            def events(kind):
                return [row for row in sluice.admin.do("show events")["events"] if row["type"] == kind]

            run_at_once(ask, 4)
            equal(events("endpoint_ejected"), [], "ejections while all is well")
            sick.sick = True

            def ejected():
                ask()
                return events("endpoint_ejected")

            wait_until(ejected, 30, "the ejection")
            (first, *_) = events("endpoint_ejected")
            equal(first["fields"]["endpoint"], one.address, "who was ejected")
            sick.sick = False
            wait_until(lambda: events("endpoint_returned"), 30, "the return")


if __name__ == "__main__":
    sys.exit(main(globals()))
