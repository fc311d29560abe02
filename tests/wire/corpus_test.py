"""Several hundred odd, hostile or ambiguous HTTP/1.1 exchanges (corpus.jsonl,
corpus.py), each against a running proxy.

Without options sluice must get every one right. --against nginx, haproxy or
nghttpx shows how another proxy does; --markdown FILE writes the table of
sluice and those of the three that are installed.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import peers
from corpus import LEVELS, Recorder, load, run_case
from harness import Failure, Sluice, arguments

LANES = 4
TIMEOUTS = {
    "connect": "10s",
    "first_byte": "10s",
    "idle": "4s",
    "client_header": "2s",
    "client_idle": "2s",
    "client_body": "2s",
}
KINDS = ("nginx", "haproxy", "nghttpx")
SHARED_LEVELS = LEVELS[:3]


def sluice_for(recorder):
    """One worker, so that what a connection to the origin is left with meets
    the very next request."""
    common = {
        "timeouts": TIMEOUTS,
        "limits": {"body_bytes": "1MiB"},
        "retry": {"max": 0},
        "trip": {"enabled": False},
    }
    private = {**common, "blue": {"endpoints": [recorder.private.address]}}
    return Sluice(
        recorder.web,
        service=common,
        workers=1,
        config={
            "listener": [{"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:0", "trusted": ["127.0.0.0/8"]}],
            "route": [{"path": "/", "service": "web"}, {"path": "/private/", "service": "private"}],
            "service": {"private": private},
        },
    )


def in_lanes(cases, run_lane):
    """Most of a case is waiting: LANES proxies, each with its own origins, take
    every LANES-th case. The verdicts in the order of the cases."""
    lanes = [cases[at::LANES] for at in range(min(LANES, len(cases)))]
    with ThreadPoolExecutor(LANES) as pool:
        results = list(pool.map(run_lane, lanes))
    return [results[at % LANES][at // LANES] for at in range(len(cases))]


def against_sluice(cases, show):
    def run_lane(lane):
        with Recorder() as recorder, sluice_for(recorder) as sluice:

            def address_of(case):
                return sluice.listeners[1 if case.get("listener") == "trusted" else 0]

            return [show(run_case(case, at, address_of(case), recorder)) for at, case in enumerate(lane)]

    return in_lanes(cases, run_lane)


def against_peer(kind, cases, show):
    def run_lane(lane):
        with Recorder() as recorder, peers.Peer(kind, recorder.web.address) as peer:
            return [show(run_case(case, at, peer.address, recorder)) for at, case in enumerate(lane)]

    return in_lanes([case for case in cases if "only" not in case], run_lane)


def shower(verbose):
    def show(verdict):
        if verbose or not verdict.right:
            case = verdict.case
            mark = "ok    " if verdict.right else "FAILED"
            head = f"{mark} {case['name']} [{case['level']}; {case['rfc']}] {verdict.outcome}: {case['why']}"
            print("\n         ".join([head, *verdict.complaints]), flush=True)
        return verdict

    return show


def score(verdicts, level=None, family=None):
    chosen = [
        one
        for one in verdicts
        if (level is None or one.case["level"] == level)
        and (family is None or one.case["name"].startswith(family + "/"))
    ]
    return sum(one.right for one in chosen), len(chosen)


def print_scores(verdicts):
    for level in LEVELS:
        right, count = score(verdicts, level)
        if count:
            print(f"{level:<10} {right:>4} of {count}")
    print(f"dangerous  {sum(one.dangerous for one in verdicts):>4}")


HEADER = """# HTTP/1.1, case by case

The tables are made by `tests/wire/corpus_test.py --markdown`: do not edit them. What the RFCs leave to a proxy is in
[Policy](#policy).

Each of the {count} cases of `tests/wire/corpus.jsonl` that concern every proxy is one exchange with odd, hostile
or ambiguous octets from the client or from the origin. It is right when the outcome is one that the RFC allows,
everything that went on to the other side is well-formed, no request arrived that nobody sent, and a clean
request afterwards got its own answer. {policies} further cases hold sluice to what its own documentation
promises; it gets {policies_right} of them right.

*Dangerous* counts failures in which malformed octets or a hidden request went on, or the next client got a
wrong answer. The other proxies are Debian's, configured as plainly as possible, with the same timeouts.
"""


def table(title, rows, columns):
    lines = [f"| {title} | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    return lines + [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows] + [""]


def write_markdown(path, results, cases):
    """`results`: verdicts by the proxy's name, sluice first."""
    shared = [case for case in cases if case["level"] in SHARED_LEVELS and "only" not in case]
    names = {case["name"] for case in shared}
    compared = {name: [one for one in verdicts if one.case["name"] in names] for name, verdicts in results.items()}
    own = [one for one in results["sluice"] if one.case["name"] not in names]
    text = HEADER.format(count=len(shared), policies=len(own), policies_right=sum(one.right for one in own))

    def row(**chosen):
        return ["%d of %d" % score(verdicts, **chosen) for verdicts in compared.values()]

    levels = [(level, row(level=level)) for level in SHARED_LEVELS] + [("all", row())]
    levels.append(("dangerous", [str(sum(one.dangerous for one in verdicts)) for verdicts in compared.values()]))
    families = list(dict.fromkeys(case["name"].split("/")[0] for case in shared))
    lines = table("level", levels, list(results))
    lines += table("family", [(family, row(family=family)) for family in families], list(results))
    document = Path(path)
    _, mark, policy = document.read_text().partition("## Policy\n") if document.exists() else ("", "", "")
    document.write_text(text + "\n" + "\n".join(lines) + ("\n" + mark + policy if mark else ""))


def compare(cases, path):
    quiet = shower(False) if path is None else lambda verdict: verdict
    results = {"sluice": against_sluice(cases, quiet)}
    for kind in KINDS:
        if version := peers.version(kind):
            results[f"{kind} {version}"] = against_peer(kind, cases, lambda verdict: verdict)
    write_markdown(path, results, cases)
    return results["sluice"]


def main():
    options = arguments(
        __doc__,
        (["--against"], {"choices": KINDS}),
        (["--markdown"], {"metavar": "FILE"}),
    ).parse_args()
    cases = [case for case in load() if options.k in case["name"]]
    try:
        if options.markdown:
            verdicts = compare(cases, options.markdown)
        elif options.against:
            verdicts = against_peer(options.against, cases, shower(options.v))
        else:
            verdicts = against_sluice(cases, shower(options.v))
    except Failure as error:
        print(f"FAILED: {error}\n0 passed, {len(cases)} failed")
        return 1
    print_scores(verdicts)
    failed = sum(not one.right for one in verdicts)
    print(f"{len(verdicts) - failed} passed, {failed} failed")
    return 1 if failed or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
