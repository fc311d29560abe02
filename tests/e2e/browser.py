"""A headless Chromium, driven through the DevTools protocol over its pipe
(--remote-debugging-pipe: descriptors 3 and 4, JSON ended by NUL), so that
nothing but the browser itself is needed."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time


def find():
    """Chromium's path; None: it is not here."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class BrowserError(Exception):
    """Chromium refused a command, a script threw, or an answer is overdue."""


class Browser:
    """One page. `messages` has what the page logged, complained of or failed to load."""

    def __init__(self, width=1280, height=900, scheme="light", phone=False):
        self.folder = tempfile.mkdtemp(prefix="chromium-")
        # Chromium's ends must be 3 and 4, and ours must not be among those.
        from_us, to_browser = os.pipe()
        from_browser, to_us = os.pipe()
        self.reader, self.writer = from_browser, to_browser
        command = [find(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--no-first-run", "--disable-extensions", "--disable-background-networking", "--mute-audio",
                   f"--user-data-dir={self.folder}", "--remote-debugging-pipe", "about:blank"]
        script = f'exec 3<&{from_us} 4>&{to_us} && exec "$@"'
        self.process = subprocess.Popen(["/bin/bash", "-c", script, "chromium", *command], pass_fds=[from_us, to_us],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        os.close(from_us)
        os.close(to_us)
        self.buffer = b""
        self.number = 0
        self.session = None
        self.messages = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(one["targetId"] for one in targets if one["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=2 if phone else 1, mobile=phone)
        self.set_scheme(scheme)

    def set_scheme(self, scheme):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def call(self, method, seconds=60, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writer, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + seconds
        while True:
            reply = self._next(deadline)
            if reply.get("id") != self.number:
                self._note(reply)
            elif "error" in reply:
                raise BrowserError(f"{method}: {reply['error']['message']}")
            else:
                return reply["result"]

    def _next(self, deadline):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.reader], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self.reader, 1 << 16) if ready else b""
            if not data:
                raise BrowserError("chromium ended" if ready else "chromium does not answer")
            self.buffer += data
        text, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(text)

    def _note(self, event):
        parameters = event.get("params", {})
        if event.get("method") == "Log.entryAdded":
            self.messages.append(parameters["entry"]["text"] + " " + parameters["entry"].get("url", ""))
        elif event.get("method") == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.messages.append(details.get("exception", {}).get("description", details["text"]))
        elif event.get("method") == "Runtime.consoleAPICalled":
            self.messages.append(" ".join(str(one.get("value", one.get("description"))) for one in parameters["args"]))

    def open(self, url):
        self.call("Page.navigate", url=url)

    def evaluate(self, expression):
        reply = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in reply:
            details = reply["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return reply["result"].get("value")

    def wait_for(self, expression, seconds=30):
        """Until the expression is true; its value."""
        deadline = time.monotonic() + seconds
        while True:
            value = self.evaluate(expression)
            if value:
                return value
            if time.monotonic() > deadline:
                raise BrowserError(f"within {seconds} s this did not come true: {expression}\n{self.messages}")
            # Its own clock turns the page's events; ours only asks again.
            self.evaluate("new Promise((done) => setTimeout(done, 100))")

    def text(self, selector):
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode={"Tab": 9, "ArrowLeft": 37, "ArrowRight": 39, "Enter": 13}.get(key, 0))

    def screenshot(self, path, whole=True):
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def close(self):
        try:
            self.session = None
            self.call("Browser.close", seconds=10)
            self.process.wait(10)
        except (BrowserError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        for descriptor in (self.reader, self.writer):
            os.close(descriptor)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
