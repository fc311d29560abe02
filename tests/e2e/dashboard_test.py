#!/usr/bin/env python3
"""The dashboard in a real Chromium, while green goes bad and the service trips.

SLUICE_SCREENSHOTS=FOLDER keeps pictures of the page, light and dark, wide and
narrow."""

import json
import os
import re
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import browser  # noqa: E402
from harness import Skipped, Sluice, equal, expect, main  # noqa: E402
from origin import Origin, pair  # noqa: E402
from rolling import rolled, until_step  # noqa: E402

LIVE = "document.querySelector('#link')?.dataset.live === 'yes'"

# What the judge's panel calls what `show trip` has, and its threshold.
FIGURES = {"Rise of green": ("rise", "rise_threshold"),
           "Recent": ("recent_log", "recent_log_threshold"),
           "Only green": ("only_green_log", "only_green_log_threshold"),
           "Rise of blue": ("blue_rise", "blue_rise_threshold"),
           "Comparison": ("comparison_log", "comparison_log_threshold")}
# Its rows in a box: what it is called, figure, threshold, and how the bar is drawn.
ROWS = """(box) => [...box.querySelector('table').tBodies[0].rows].map((row) =>
    [...[...row.cells].slice(0, 3).map((cell) => cell.textContent), row.querySelector('.bar > i').className])"""


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


def figures(trip):
    """What the panel should have of it."""
    return [[name, f"{trip[value]:.2f}", f"{trip[threshold]:.2f}"] for name, (value, threshold) in FIGURES.items()]


def luminance(colour):
    """Of "rgb(…)" by WCAG 2: 0 is black, 1 is white."""
    parts = [int(one) / 255 for one in re.findall(r"\d+", colour)[:3]]
    red, green, blue = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def shades(tab):
    """The luminance of the page, of a card, and of the text on both."""
    colours = tab.evaluate("""[['body', 'backgroundColor'], ['.cards > div', 'backgroundColor'], ['.cards > div', 'color']]
        .map(([selector, key]) => getComputedStyle(document.querySelector(selector))[key])""")
    return [luminance(one) for one in colours]


def turn_dark(tab):
    """From light; both must be what they are called, and can be read."""
    light = shades(tab)
    tab.set_scheme("dark")
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    dark = shades(tab)
    for what, before, after in zip(("page", "card"), light, dark):
        expect(after < 0.1 and before > 0.7, f"the luminance of the {what}: light {before:.3f}, dark {after:.3f}")
    for scheme, (page_shade, card, text) in (("light", light), ("dark", dark)):
        for what, ground in (("page", page_shade), ("card", card)):
            contrast = (max(ground, text) + 0.05) / (min(ground, text) + 0.05)
            expect(contrast >= 4.5, f"the contrast of text on the {what}, {scheme}: {contrast:.1f}")


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
        # A connection of each colour at least, which are kept.
        tab.wait_for("document.querySelector('#caps').innerText.includes('over its line')")
        for wanted in ("database", "of 20", "10 %", "web/blue, web/green"):
            expect(wanted in tab.text("#caps"), f"no {wanted!r} in the caps: {tab.text('#caps')}")
        equal(tab.text("#alarm"), "", "the alarm before")
        shoot(tab, "before-wide-light")
        bad.set()
        tab.wait_for("document.title.startsWith('TRIPPED')")
        (trip,) = sluice.admin.show("trip web")
        expect(trip["reason"] in tab.text("#alarm"), f"the alarm is {tab.text('#alarm')!r}, the reason {trip['reason']!r}")
        expect("tripped" in tab.text("#summary") and "0 % green" in tab.text("#summary"), tab.text("#summary"))
        tab.wait_for("document.querySelector('#events').innerText.includes('tripped')")
        expect(str(trip["green"]["errors"]) in tab.text("#judge"), f"no errors in {tab.text('#judge')!r}")
        rows = tab.evaluate(f"({ROWS})(document.querySelector('#judge'))")
        equal([row[:3] for row in rows], figures(trip), "the judge's figures")
        equal(trip["blue_rise_threshold"], 18, "where the rise of blue holds that of green")
        red = [name for name, *_, bar in rows if bar == "is-red"]
        if trip["detector"] == "comparison":
            equal(red, ["Comparison"], "what is red")
        else:
            expect("Rise of green" in red and set(red) <= {"Rise of green", "Recent", "Only green"}, f"what is red: {red}")
        expect(sluice.admin.upstream("green")["endpoints"] == 1 and "1 of 1" in tab.text("#upstreams"), "the endpoints")
        shoot(tab, "tripped-wide-light")
        turn_dark(tab)
        shoot(tab, "tripped-wide-dark")
        equal(tab.messages, [], "what the browser complains of")


def test_dashboard_is_red_where_it_tripped_whatever_else_is_at_its_threshold():
    seen = {"rise": 12, "rise_threshold": 10, "recent_log": 7, "recent_log_threshold": 5.9,
            "only_green_log": 4, "only_green_log_threshold": 8.7, "blue_rise": 12, "blue_rise_threshold": 18,
            "comparison_log": 1, "comparison_log_threshold": 9.4}
    with incident() as (sluice, _), page() as tab:
        tab.open(sluice.url + "/?service=web")
        tab.wait_for(LIVE)
        for verdict, detector, changes, bars in (
                ("none", "none", {}, "amber amber green amber green"),
                ("hold", "rise", {"blue_rise": 18}, "amber amber green amber green"),
                ("trip", "rise", {"only_green_log": 9}, "red red red amber green"),
                ("trip", "rise", {"blue_rise": 8, "comparison_log": 10}, "red red green blue amber"),
                ("trip", "comparison", {"comparison_log": 10}, "amber amber green amber red")):
            trip = {**seen, **changes, "verdict": verdict, "detector": detector}
            rows = tab.evaluate(f"""import(location.origin + '/panels.js').then((panels) => {{
                const box = document.createElement('div');
                box.append(...panels.judge({{ trip: [{json.dumps(trip)}] }}));
                return ({ROWS})(box);
            }})""")
            wanted = [[*row, f"is-{bar}"] for row, bar in zip(figures(trip), bars.split())]
            equal(rows, wanted, f"{verdict} by {detector} with {changes}")


def test_dashboard_draws_the_steps_of_a_rollout():
    blue, green = pair()
    config = {"admin": {"http": "127.0.0.1:0"}}
    with blue, green, Sluice(blue, green, rolled({"hold": "1h"}), config) as sluice, page() as tab:
        tab.open("http://" + sluice.admin.show("info")[0]["admin_http"] + "/?service=web")
        tab.wait_for(LIVE)
        expect("no rollout" in tab.text("#rollout"), f"the rollout: {tab.text('#rollout')}")
        sluice.admin.do("rollout start web")
        until_step(sluice, 1)
        sluice.admin.do("rollout promote web")
        tab.wait_for("document.querySelector('#rollout [aria-current=step]')?.textContent === '25 %'")
        steps = tab.evaluate("[...document.querySelectorAll('#rollout ol > li')].map((step) => [step.textContent, step.className])")
        equal(steps, [["10 % ✓", "done"], ["25 %", ""], ["50 %", ""], ["100 %", ""]], "the steps")
        expect("holding, step 2 of 4" in tab.text("#summary"), f"the summary: {tab.text('#summary')}")
        tab.wait_for("/requests: /.test(document.querySelector('#rollout ul')?.innerText)")
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
        turn_dark(tab)
        shoot(tab, "phone-dark")


if __name__ == "__main__":
    sys.exit(main(globals()))
