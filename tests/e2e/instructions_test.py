"""Gates: what a request may cost in instructions, counted by callgrind, so that no
machine's speed comes in. Raise a bound only with a reason in the commit.
Without -O2, or with a sanitizer in it, the binary is not measured."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "wire"), str(Path(__file__).resolve().parents[2] / "bench")]
import instructions  # noqa: E402
from harness import Skipped, expect, main, sanitized  # noqa: E402

BOUND = 17_000


def require_plain():
    if sanitized():
        raise Skipped("a sanitizer's instructions are not the binary's")


def test_a_request_costs_no_more_than_it_did():
    require_plain()
    found = instructions.per_request()
    expect(found <= BOUND, f"{found:.0f} instructions per request, at most {BOUND}")


def test_most_requests_allocate_nothing():
    require_plain()
    found = instructions.allocations()
    expect(found <= instructions.MOST_ALLOCATIONS,
           f"{found:.3f} allocations per request, at most {instructions.MOST_ALLOCATIONS}")


def test_scrapes_of_a_thousand_endpoints_cost_the_worker_nothing():
    require_plain()
    without, with_scrapes = instructions.scraped(2000, 0), instructions.scraped(2000, 20)
    # What may come on top are ticks of its own, as scrapes take time. A single one
    # of them in its thread would be more.
    expect(with_scrapes <= 1.02 * without, f"{with_scrapes} instructions with scrapes, {without} without")


sys.exit(main(globals()))
