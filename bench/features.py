#!/usr/bin/env python3
"""What each thing that can be left out costs: CPU per request of sluice with more
and more turned on, in interleaved rounds, as a ratio to nothing.

    bench/features.py [--rounds N] [--seconds N] [--bound RATIO]

With --bound it exits with 1 when everything costs more than so many times nothing.
"""

import argparse
import os
import pathlib
import signal
import statistics
import sys

import loads as loads_module
import processes as processes_module
import proxies as proxies_module
import run as run_module

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONNECTIONS = 64


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(ROOT / "build" / "release"))
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--bound", type=float)
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error("--rounds: at least 2, or there is no spread")
    return arguments


def variants(sluice, origins):
    """Name: (the proxy, with an access log?). The origin is the collector as well."""
    def one(**what):
        return proxies_module.Sluice("sluice", sluice, **what)

    return {
        "nothing": (one(guarded=False), False),
        "split, caps, checks, ejection, judge": (one(), False),
        "and traces, 1 % sampled": (one(collector=origins[0]), False),
        "and the access log: everything": (one(collector=origins[0]), True),
    }


def measure(arguments, processes):
    """Variant: [µs of CPU a request, of each round]."""
    proxy_cpus, load_cpus = run_module.split_cpus()
    os.sched_setaffinity(0, load_cpus)
    loads = loads_module.Loads(processes, arguments.build, load_cpus)
    origins = run_module.start_origin(processes, arguments.build, load_cpus)
    running, found = {}, {}
    try:
        for name, (proxy, access_log) in variants(os.path.join(arguments.build, "sluice"), origins).items():
            setup = proxies_module.Setup(origins, access_log=access_log)
            running[name] = proxies_module.Instance(processes, proxy, setup, proxy_cpus)
        for number in range(arguments.rounds):
            for name in run_module.rotated(list(running), number):
                run_module.progress(f"round {number + 1}: {name}")
                sample = loads.wrk(running[name], "/1k", CONNECTIONS, arguments.seconds, body_bytes=1024)
                found.setdefault(name, []).append(sample.cpu_us)
    finally:
        run_module.progress("")
        for instance in running.values():
            instance.stop()
    return found


def main():
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, run_module.interrupted)
    proxies_module.raise_descriptor_limit()
    with processes_module.Processes() as processes:
        found = measure(arguments, processes)
    base = next(iter(found.values()))
    print(f"1 KiB GET, keep-alive, {CONNECTIONS} connections: µs of CPU a request\n"
          f"  {'turned on':<40}{'median':>8}{'lowest':>8}{'highest':>9}{'ratio':>8}{'quartiles':>16}")
    for name, values in found.items():
        ratios = [value / nothing for value, nothing in zip(values, base)]
        low, ratio, high = statistics.quantiles(ratios, n=4)
        print(f"  {name:<40}{statistics.median(values):>8.2f}{min(values):>8.2f}{max(values):>9.2f}{ratio:>8.3f}"
              f"{low:>9.3f}-{high:.3f}")
    if arguments.bound is None:
        return 0
    print(f"everything: {ratio:.3f} of nothing, bar {arguments.bound}: {'met' if ratio <= arguments.bound else 'NOT MET'}")
    return 0 if ratio <= arguments.bound else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
