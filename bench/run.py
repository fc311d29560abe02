#!/usr/bin/env python3
"""Measures sluice against the kernel's own price and against other proxies.

    bench/run.py                          everything, on build/release
    bench/run.py --only get_1k,tail --rounds 9 --seconds 10
    bench/run.py --peers floor,nginx --quick
    SLUICE_BENCH_PEER_NEW=haproxy:/opt/haproxy bench/run.py

The proxy has CPU 0 for itself; origin and load generator share CPU 1. Rounds
are interleaved (A B C A B C …), so that what disturbs the machine disturbs all
alike, and ratios are taken within a round. CPU is what the kernel says that the
proxy's threads used, divided by the requests done. bench/README.md says more.
"""

import argparse
import json
import os
import pathlib
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import loads as loads_module
import processes as processes_module
import proxies as proxies_module
import tables
import works as works_module

ROOT = pathlib.Path(__file__).resolve().parent.parent


def parse_arguments():
    parser = argparse.ArgumentParser(description="Measure sluice against its peers.")
    parser.add_argument("--sluice", help="the binary (default: BUILD/sluice)")
    parser.add_argument("--build", default=str(ROOT / "build" / "release"), help="build folder with the programs")
    parser.add_argument("--only", help="works, by comma: " + ", ".join(works_module.WORKS))
    parser.add_argument("--peers", help="proxies, by comma (default: all that are there)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each sample")
    parser.add_argument("--idle", type=int, default=5000, help="idle clients of the memory works")
    parser.add_argument("--access-log", action="store_true", help="access logs on, for all")
    parser.add_argument("--plain-malloc", action="store_true", help="let glibc trim the peers' heaps")
    parser.add_argument("--json", metavar="FILE", help="write all samples there")
    parser.add_argument("--quick", action="store_true", help="two short rounds: does the bench itself work?")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds, arguments.idle = 2, 1, 500
    arguments.sluice = arguments.sluice or os.path.join(arguments.build, "sluice")
    return arguments


def chosen(wanted, there, what):
    if not wanted:
        return dict(there)
    names = wanted.split(",")
    unknown = [name for name in names if name not in there]
    if unknown:
        raise SystemExit(f"no such {what}: {', '.join(unknown)} (there are {', '.join(there)})")
    return {name: thing for name, thing in there.items() if name in names}


def split_cpus():
    """(the proxy's, the load's): the first CPU we may use, and the others."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) == 1:
        print("only one CPU: proxy and load share it, the figures mean little", file=sys.stderr)
        return frozenset(cpus), frozenset(cpus)
    return frozenset(cpus[:1]), frozenset(cpus[1:2])


def start_origin(processes, build, cpus, addresses=("127.0.0.1:0",)):
    """Starts the origin; the addresses that it listens on."""
    program = os.path.join(build, "bench", "bench_origin")
    if not os.access(program, os.X_OK):
        raise SystemExit(f"{program} is missing: build the targets bench_origin, bench_load and bench_floor_relay")
    flags = [word for address in addresses for word in ("--listen", address)]
    origin = processes.start([program, *flags], cpus, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    return tuple(origin.stdout.readline().split()[1] for _ in addresses)


def rotated(names, count):
    count %= len(names)
    return names[count:] + names[:count]


class Bench:
    """One run: what the works need, and what they found."""

    def __init__(self, arguments, processes, folder):
        self.arguments = arguments
        self.processes = processes
        self.proxy_cpus, load_cpus = split_cpus()
        os.sched_setaffinity(0, load_cpus)  # this program must not disturb the proxy
        self.loads = loads_module.Loads(processes, arguments.build, load_cpus)
        self.proxies = chosen(arguments.peers, proxies_module.find_proxies(arguments.build, arguments.sluice), "proxy")
        self.works = chosen(arguments.only, works_module.WORKS, "work")
        self.certificate = proxies_module.make_certificate(folder)
        self.origins = start_origin(processes, arguments.build, load_cpus)
        self.results = {}  # work -> metric -> proxy -> [value of each round]
        self.problems = {}  # work -> proxy -> why there is no figure

    def setup(self, work):
        return proxies_module.Setup(self.origins, self.certificate if work.tls else None, self.arguments.access_log,
                                    keep_heap=not work.fresh and not self.arguments.plain_malloc)

    def start(self, name, setup, guard=True):
        return proxies_module.Instance(self.processes, self.proxies[name], setup, self.proxy_cpus, guard)

    def run(self, work):
        """All rounds of a work, all proxies in turn in each; another one begins each round."""
        found = self.results[work.name] = {metric.name: {} for metric in work.metrics}
        problems = self.problems[work.name] = {}
        running = {}
        try:
            for number in range(self.arguments.rounds):
                for name in rotated(list(self.proxies), number):
                    if name in problems:
                        continue
                    progress(f"{work.title}: round {number + 1}, {name}")
                    try:
                        values = self._sample(work, name, running)
                    except (proxies_module.ProxyFailed, loads_module.LoadFailed) as problem:
                        problems[name] = str(problem)
                        continue
                    for metric, value in values.items():
                        found[metric].setdefault(name, []).append(value)
        finally:
            progress("")
            for instance in running.values():
                instance.stop()
        for name in problems:  # a work with errors has no figure
            for values in found.values():
                values.pop(name, None)

    def _sample(self, work, name, running):
        setup = self.setup(work)
        if not self.proxies[name].supports(setup):
            raise proxies_module.ProxyFailed("skipped: it does not do this")
        if work.fresh:
            return work.measure(self, name, setup)
        if name not in running:
            try:
                running[name] = self.start(name, setup)
            except proxies_module.ProxyFailed as problem:
                raise proxies_module.ProxyFailed(f"{'skipped: no TLS' if work.tls else 'failed'}: {problem}") from None
        return work.measure(self, running[name], setup)

    def report(self):
        return {
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": {"kernel": platform.release(), "cpu": cpu_model(), "cpus": os.cpu_count()},
            "settings": {key: getattr(self.arguments, key)
                         for key in ("rounds", "seconds", "idle", "access_log", "plain_malloc")},
            "versions": {name: proxy.version() for name, proxy in self.proxies.items()},
            "samples": self.results,
            "medians": {work: {metric: {name: statistics.median(values) for name, values in by_name.items()}
                               for metric, by_name in metrics.items()} for work, metrics in self.results.items()},
            "problems": self.problems,
        }


def progress(text):
    if sys.stderr.isatty():
        print(text.ljust(100), end="\r", file=sys.stderr, flush=True)


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def interrupted(number, frame):
    raise KeyboardInterrupt


def main():
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, interrupted)
    proxies_module.raise_descriptor_limit()
    with processes_module.Processes() as processes, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = Bench(arguments, processes, folder)
        for name, proxy in bench.proxies.items():
            print(f"{name:<10} {proxy.version()}")
        for work in bench.works.values():
            bench.run(work)
            print("\n" + tables.block(work, bench.results[work.name], bench.problems[work.name]), flush=True)
        print("\n" + tables.summary(bench.works.values(), bench.results, list(bench.proxies)))
        if arguments.json:
            pathlib.Path(arguments.json).write_text(json.dumps(bench.report(), indent=1) + "\n")
        failed = [f"{work}: {name}: {why}" for work, by_name in bench.problems.items() for name, why in by_name.items()
                  if not why.startswith("skipped")]
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
