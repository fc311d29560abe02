"""What the tests of rollouts share: traffic, webhooks, and looks at the state."""

import json
import threading
import time

from http1 import Incomplete, wait_until
from origin import Origin

# Nothing here depends on how fast the machine is: no latency is too high.
PLAN = {"steps": [10, 25, 50, 100], "hold": "200ms", "min_requests": 30, "max_latency_ratio": 1000}


class Traffic:
    """Clients that ask one request after the other until they are told to stop."""

    def __init__(self, sluice, clients=4, host=None):
        self.sluice = sluice
        self.more = {"host": host} if host else {}
        self.statuses = {}
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join(20)

    def _run(self):
        client = None
        while not self.ending.is_set():
            try:
                client = client or self.sluice.client()
                status = client.get("/", **self.more).status
            except (Incomplete, OSError):
                client, status = None, "broken"
                time.sleep(0.01)
            with self.lock:
                self.statuses[status] = self.statuses.get(status, 0) + 1
        if client is not None:
            client.close()


class Hook:
    """Takes webhook messages; `answers` are the statuses or bodies of the first."""

    def __init__(self, answers=(), otherwise=b""):
        self.answers = list(answers)
        self.otherwise = otherwise
        self.taken = []
        self.raw = []
        self.origin = Origin(self._script, name="hook")
        self.url = f"http://{self.origin.address}/hook"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.origin.close()

    def _script(self, connection):
        request = connection.request()
        if request is None:
            return
        answer = self.answers.pop(0) if self.answers else self.otherwise
        self.raw.append(request)
        if isinstance(answer, int):
            connection.reply(answer)
            return
        self.taken.append(json.loads(request.body))
        connection.reply(200, body=answer)

    def events(self):
        return [one["event"] for one in self.taken]


def rolled(plan=None, **more):
    return {"rollout": {**PLAN, **(plan or {})}, **more}


def status(sluice):
    (row,) = sluice.admin.show("rollout web")
    return row


def waits(sluice):
    return [one["what"] for one in status(sluice)["waiting_for"]]


def until_waiting_for(sluice, what):
    wait_until(lambda: what in waits(sluice), 30, f"a rollout that waits for {what}")


def until_step(sluice, step):
    wait_until(lambda: status(sluice)["step"] == step, 60, f"step {step}")


def failing_when(event, name):
    def script(connection):
        while connection.request() is not None:
            if event.is_set():
                connection.reply(500, reason="Broken")
            else:
                connection.reply(200, [("X-Origin", name)])

    return script
