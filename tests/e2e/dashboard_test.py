#!/usr/bin/env python3
"""The dashboard in a real Chromium, while green goes bad and the service trips.

SLUICE_SCREENSHOTS=FOLDER keeps pictures of the page, light and dark, wide and
narrow."""

import os
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import browser  # noqa: E402
from harness import Skipped, Sluice, equal, expect, main  # noqa: E402
from origin import Origin  # noqa: E402

LIVE = "document.querySelector('#link')?.dataset.live === 'yes'"


def page(**more):
    if browser.find() is None:
        raise Skipped("no Chromium is here (Debian: chromium, see ./dev setup)")
    return browser.Browser(**more)


@contextmanager
def incident():
    """A sluice under traffic whose green fails once `bad` is set."""
    bad = threading.Event()
    over = threading.Event()

    def green_script(connection):
        while connection.request() is not None:
            connection.reply(500 if bad.is_set() else 200, reason="whatever")

    with Origin() as blue, Origin(green_script, "green") as green:
        config = {"admin": {"http": "127.0.0.1:0"},
                  "cap": {"database": {"members": ["web/blue", "web/green"], "max_connections": 20, "warn_at": 0.1}},
                  "service": {"shop": {"blue": {"endpoints": [blue.address]}}},
                  "route": [{"path": "/", "service": "web"}, {"path": "/shop/", "service": "shop"}]}
        with Sluice(blue, green, config=config) as sluice:
            def load():
                with sluice.client() as client:
                    while not over.is_set():
                        client.get("/")
                        over.wait(0.005)

            threads = [threading.Thread(target=load) for _ in range(4)]
            for thread in threads:
                thread.start()
            try:
                sluice.url = "http://" + sluice.admin.show("info")[0]["admin_http"]
                yield sluice, bad
            finally:
                over.set()
                for thread in threads:
                    thread.join()


def has_charts(tab):
    """Was uPlot there when the binary was built?"""
    return tab.evaluate("Boolean(window.uPlot)")


def shoot(tab, name):
    folder = os.environ.get("SLUICE_SCREENSHOTS")
    if folder:
        tab.screenshot(f"{folder}/{name}.png")


def test_dashboard_shows_a_trip_as_it_happens():
    with incident() as (sluice, bad), page() as tab:
        sluice.admin.do("set weight web green=40")
        tab.open(sluice.url + "/?service=web")
        tab.wait_for(LIVE)
        tab.wait_for("document.querySelector('#summary').innerText.includes('40 % green')")
        tab.wait_for("[...document.querySelectorAll('#latency tr')].some((row) => /green/.test(row.innerText) && /ms/.test(row.innerText))")
        expect("no rollout" in tab.text("#rollout"), f"the rollout: {tab.text('#rollout')}")
        expect("over its line" in tab.text("#caps") or "10 %" in tab.text("#caps"), f"the caps: {tab.text('#caps')}")
        equal(tab.text("#alarm"), "", "the alarm before")
        shoot(tab, "before-wide-light")
        bad.set()
        tab.wait_for("document.title.startsWith('TRIPPED')")
        (trip,) = sluice.admin.show("trip web")
        expect(trip["reason"] in tab.text("#alarm"), f"the alarm is {tab.text('#alarm')!r}, the reason {trip['reason']!r}")
        expect("tripped" in tab.text("#summary") and "0 % green" in tab.text("#summary"), tab.text("#summary"))
        tab.wait_for("document.querySelector('#events').innerText.includes('tripped')")
        judge = tab.text("#judge")
        for wanted in ("Rise of green", "Comparison", f"{trip['rise_threshold']:.2f}", str(trip["green"]["errors"])):
            expect(wanted in judge, f"no {wanted!r} in {judge!r}")
        expect(sluice.admin.upstream("green")["endpoints"] == 1 and "1 of 1" in tab.text("#upstreams"), "the endpoints")
        shoot(tab, "tripped-wide-light")
        tab.set_scheme("dark")
        tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        shoot(tab, "tripped-wide-dark")
        equal(tab.messages, [], "what the browser complains of")


def test_dashboard_charts_have_the_numbers_and_can_be_read_by_keyboard():
    with incident() as (sluice, _), page() as tab:
        sluice.admin.do("set weight web green=25")
        tab.open(sluice.url + "/?service=web")
        tab.wait_for(LIVE)
        if not has_charts(tab):
            expect("left out of this build" in tab.text("#charts"), "no word about the missing charts")
            raise Skipped("this binary was built without uPlot (./dev build fetches it where npm is)")
        tab.wait_for("/green 25 %/.test(document.querySelector('#chart-split').getAttribute('aria-label'))")
        tab.wait_for("/blue [1-9]/.test(document.querySelector('#chart-rate').getAttribute('aria-label'))")
        expect(tab.evaluate("document.querySelectorAll('.uplot canvas').length") == 4, "the line charts were not drawn")
        tab.wait_for("/most requests of green took/.test(document.querySelector('#chart-heat-green canvas').getAttribute('aria-label'))")
        # Tab leads to every control and every chart; arrows read values.
        seen = set()
        for _ in range(40):
            tab.press("Tab")
            seen.add(tab.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        for wanted in ("web", "shop", "pause", "10 minutes", "2 hours", "chart-split", "chart-latency"):
            expect(wanted in seen, f"Tab does not lead to {wanted!r}: {sorted(seen)}")
        tab.evaluate("document.querySelector('#chart-split').focus()")
        tab.press("ArrowLeft")
        tab.wait_for("/Green's share.*green \\d/.test(document.querySelector('#reading').textContent)")
        equal(tab.messages, [], "what the browser complains of")


def test_dashboard_goes_on_after_a_pause_and_a_lost_connection():
    with incident() as (sluice, _), page() as tab:
        tab.open(sluice.url + "/?service=web")
        tab.wait_for(LIVE)
        tab.evaluate("document.querySelector('#pause').click()")
        sluice.admin.do("set weight web green=10")
        tab.wait_for("document.querySelector('#events').innerText.includes('split_changed')")
        tab.evaluate("new Promise((done) => setTimeout(done, 1500))")
        expect("10 % green" not in tab.text("#summary"), "it changes while it is paused")
        tab.evaluate("document.querySelector('#pause').click()")
        tab.wait_for("document.querySelector('#summary').innerText.includes('10 % green')")
        sluice.admin.do("shutdown")
        tab.wait_for("document.querySelector('#link').dataset.live === 'no'")
        expect("10 % green" in tab.text("#summary"), "what was known is gone")


def test_dashboard_is_readable_on_a_phone():
    with incident() as (sluice, _), page(width=390, height=800, phone=True) as tab:
        sluice.admin.do("set weight web green=40")
        tab.open(sluice.url + "/?service=web")
        tab.wait_for(LIVE)
        tab.wait_for("document.querySelector('#summary').innerText.includes('40 % green')")
        tab.wait_for(r"/\t[1-9][\d.]* ms/.test(document.querySelector('#latency').innerText)")
        equal(tab.evaluate("document.documentElement.scrollWidth"), 390, "the width of the page")
        small = tab.evaluate("[...document.querySelectorAll('button, nav a')].filter((one) => one.offsetHeight < 32).length")
        equal(small, 0, "controls that are too small for a finger")
        shoot(tab, "phone-light")
        tab.set_scheme("dark")
        tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        shoot(tab, "phone-dark")


if __name__ == "__main__":
    sys.exit(main(globals()))
