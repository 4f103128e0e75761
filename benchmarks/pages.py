"""How soon the pages show something, what they load, and how much memory an open one takes.

    PYTHONPATH=. python benchmarks/pages.py [--minutes 60]

The demo with its past year, in Chromium without a window, each page in a browser without a cache.
The reference of a time is the page of an unknown address, which has one line of text. The heap is
that of JavaScript after a forced collection of garbage; traces are full after 15 minutes.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from benchmarks.figures import Verdict, line, ms, title
from tests.support.parts import CHROMIUM_OPTIONS, Part, free_port, require

ROUNDS = 9
STORED = "the past year of the demo's meters is stored"
EVERY_S = 300
FILLED_S = 900
"""Seconds after which the traces of an open page are full."""
MOST = {"first value": 500, "a year after the click": 150}
MOST_KB, MOST_REQUESTS, MOST_SHIFT, MOST_GROWTH_MB = 75, 15, 0.05, 10
NOTE_FIRST_VALUE = """new MutationObserver(() => {
  const shown = document.getElementById("house-power")?.textContent.trim();
  if (shown && shown !== "\\u2013") window.firstValue ??= performance.now();
}).observe(document, { childList: true, subtree: true, characterData: true });
window.shifted = 0;
new PerformanceObserver((found) => {
  for (const { value } of found.getEntries()) window.shifted += value;
}).observe({ type: "layout-shift", buffered: true });"""
CLICK_YEAR = """async () => {
  const [past, began] = [document.getElementById("past"), performance.now()];
  document.querySelector('[data-span="year"]').click();
  while (past.getAttribute("aria-busy") === "true") {
    await new Promise((resolve) => {
      new MutationObserver(resolve).observe(past, { attributes: true });
    });
  }
  await new Promise((resolve) => { requestAnimationFrame(() => setTimeout(resolve)); });
  return performance.now() - began;
}"""


@contextmanager
def demo() -> Iterator[str]:
    """Run the demo and give its address once its past is stored."""
    settings = {"MQTT_PORT": free_port(), "HTTP_PORT": free_port(), "TIMEZONE": "Europe/Berlin"}
    with (
        tempfile.TemporaryDirectory() as directory,
        Part.module("meterflow", "run", directory=Path(directory), **settings) as whole,
    ):
        whole.wait_for(STORED, 300)
        yield f"http://127.0.0.1:{settings['HTTP_PORT']}"


@contextmanager
def opened(browser: Browser, script: str = "") -> Iterator[tuple[Page, CDPSession]]:
    """Give a page of a browser without a cache, and the session that looks into it."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    if script:
        page.add_init_script(script)
    yield page, context.new_cdp_session(page)
    context.close()


class Load(NamedTuple):
    """The load of a page: when its first value was there, its size, and how far parts moved."""

    first_s: float
    files_kb: float
    data_kb: float
    requests: int
    shift: float


def loaded(browser: Browser, url: str) -> Load:
    """Return how the overview loads."""
    sizes, files = dict[str, float](), set[str]()

    def note(received: dict[str, Any]) -> None:
        path = urlsplit(received["response"]["url"]).path
        if path == "/" or "." in path:
            files.add(received["requestId"])

    def add(finished: dict[str, Any]) -> None:
        sizes[finished["requestId"]] = finished["encodedDataLength"] / 1000

    with opened(browser, NOTE_FIRST_VALUE) as (page, session):
        session.on("Network.responseReceived", note)
        session.on("Network.loadingFinished", add)
        session.send("Network.enable")
        page.goto(url)
        page.locator("#day-chart .line").wait_for(state="attached")
        page.wait_for_load_state("networkidle")
        first_s, shift = page.evaluate("[window.firstValue / 1000, window.shifted]")
    files_kb = sum(kb for request, kb in sizes.items() if request in files)
    return Load(first_s, files_kb, sum(sizes.values()) - files_kb, len(sizes), shift)


def bare(browser: Browser, url: str) -> float:
    """Return seconds until the page of an unknown address is there."""
    with opened(browser) as (page, _):
        page.goto(f"{url}/nothing")
        found = page.evaluate("performance.getEntriesByType('navigation')[0].domComplete")
        return float(found) / 1000


def drawn(browser: Browser, url: str) -> float:
    """Return seconds from the click until a year of the house is drawn."""
    with opened(browser) as (page, _):
        page.goto(f"{url}/view/history?span=month")
        page.locator("#past[data-ready]").wait_for()
        return float(page.evaluate(CLICK_YEAR)) / 1000


def times(browser: Browser, url: str, verdict: Verdict) -> None:
    """Measure what a person waits for, and what is loaded for it."""
    title("The pages of the demo")
    rounds = [
        (loaded(browser, url), bare(browser, url), drawn(browser, url)) for _ in range(ROUNDS)
    ]
    floor = median(each for _, each, _ in rounds)
    _, kb, data_kb, requests, shift = rounds[-1][0]
    for what, taken in (
        ("first value", median(load.first_s for load, _, _ in rounds)),
        ("a year after the click", median(each for _, _, each in rounds)),
    ):
        beside = f"{taken / floor:.1f} of the bare page ({ms(floor)})"
        ok = taken * 1000 <= MOST[what]
        verdict.figure(what, ms(taken), beside, f"<= {MOST[what]} ms", ok=ok)
    beside = f"and {data_kb:.1f} kB of data"
    verdict.figure("first load", f"{kb:.1f} kB", beside, f"<= {MOST_KB} kB", ok=kb <= MOST_KB)
    few = requests <= MOST_REQUESTS
    verdict.figure("its requests", str(requests), "", f"<= {MOST_REQUESTS}", ok=few)
    still = shift <= MOST_SHIFT
    verdict.figure("its layout shift", f"{shift:.3f}", "", f"<= {MOST_SHIFT}", ok=still)


def held(session: CDPSession) -> dict[str, Any]:
    """Return what a page holds after a collection of garbage."""
    for _ in range(2):
        session.send("HeapProfiler.collectGarbage")
    found = session.send("Performance.getMetrics")["metrics"]
    return {each["name"]: each["value"] for each in found}


def grown(browser: Browser, url: str, minutes: float, verdict: Verdict) -> None:
    """Keep the overview open, and compare its heap with that of the first minutes."""
    title(f"The overview open for {minutes:.0f} minutes")
    began_s, heaps = time.monotonic(), list[float]()
    with opened(browser) as (page, session):
        session.send("Performance.enable")
        page.goto(url)
        while (age_s := time.monotonic() - began_s) < minutes * 60 + 1:
            now = held(session)
            heap = now["JSHeapUsedSize"] / 1e6
            if not heaps or age_s <= FILLED_S:
                first = heap
            heaps.append(heap)
            nodes, listeners = int(now["Nodes"]), int(now["JSEventListeners"])
            line(f"{age_s / 60:.0f} min", f"{heap:.2f} MB", f"{nodes} nodes, {listeners} listeners")
            page.wait_for_timeout(1000 * max(1, EVERY_S - (age_s % EVERY_S)))
    beside = f"{heaps[-1] - first:+.2f} MB since the traces are full"
    growth = max(heaps) - heaps[0]
    ok = growth < MOST_GROWTH_MB
    verdict.figure(
        "growth of the heap", f"{growth:.2f} MB", beside, f"< {MOST_GROWTH_MB} MB", ok=ok
    )


def main() -> None:
    """Start the demo and a browser, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0, help="keep a page open for so long")
    options = parser.parse_args()
    verdict = Verdict()
    with demo() as url, sync_playwright() as playwright:
        chromium = require("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_OPTIONS)
        times(browser, url, verdict)
        if options.minutes:
            grown(browser, url, options.minutes, verdict)
        browser.close()
    verdict.end()


if __name__ == "__main__":
    main()
