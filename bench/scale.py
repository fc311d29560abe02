#!/usr/bin/env python3
"""Cost of a request against the size of things, drawn as a picture.

    bench/scale.py --svg scale.svg --json scale.json
    bench/scale.py --only routes,endpoints --peers sluice,nginx --quick

routes, endpoints   CPU per request as fast as it goes, 64 connections; the
                    request is for the last route, endpoints are addresses of
                    one origin
connections         CPU per request at 4,000 requests/s spread over that many
                    open connections
workers             requests per second with 1 and 2 workers; one CPU each where
                    there are CPUs left for the load, else they share them

Every sample runs on a proxy started for it; rounds are interleaved.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import sys

import chart
import loads as loads_module
import processes as processes_module
import proxies as proxies_module
import run as run_module

SIZES = {
    "routes": (1, 10, 100, 1000, 10000),
    "endpoints": (1, 10, 100, 1000),
    "connections": (100, 1000, 5000, 15000),
    "workers": (1, 2),
}
TITLES = {
    "routes": "routes",
    "endpoints": "endpoints of the upstream",
    "connections": "open connections, at 4,000 requests/s",
}
CONNECTIONS_RATE = 4000
DEFAULT_PEERS = "floor,sluice,haproxy,nginx"
COLOURS = {"sluice": "#0b6e99", "floor": "#8a8a8a", "nginx": "#3f9142", "haproxy": "#b4530a", "h2o": "#7a4cb0",
           "nghttpx": "#a33b5a"}


def parse_arguments():
    parser = argparse.ArgumentParser(description="Measure cost per request against size.")
    parser.add_argument("--sluice", help="the binary (default: BUILD/sluice)")
    parser.add_argument("--build", default=str(run_module.ROOT / "build" / "release"))
    parser.add_argument("--only", help="by comma: " + ", ".join(SIZES))
    parser.add_argument("--peers", default=DEFAULT_PEERS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--svg", default="scale.svg", metavar="FILE")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--quick", action="store_true", help="one short round")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 1
    arguments.sluice = arguments.sluice or os.path.join(arguments.build, "sluice")
    return arguments


class Scale:
    def __init__(self, arguments, processes):
        self.arguments = arguments
        self.processes = processes
        self.proxy_cpus, load_cpus = run_module.split_cpus()
        self.all_cpus = frozenset(os.sched_getaffinity(0))
        os.sched_setaffinity(0, load_cpus)
        self.loads = loads_module.Loads(processes, arguments.build, load_cpus)
        there = proxies_module.find_proxies(arguments.build, arguments.sluice)
        wanted = [name for name in arguments.peers.split(",") if name in there or arguments.peers != DEFAULT_PEERS]
        self.proxies = run_module.chosen(",".join(wanted), there, "proxy")
        # Addresses of the loopback network, each an endpoint of its own.
        addresses = [f"127.1.{i // 250}.{1 + i % 250}:0" for i in range(max(SIZES["endpoints"]))]
        self.origins = run_module.start_origin(processes, arguments.build, load_cpus, addresses)
        self.samples = {}  # dimension -> proxy -> size -> [value of each round]

    def run(self, dimension):
        found = self.samples[dimension] = {}
        for number in range(self.arguments.rounds):
            for size in SIZES[dimension]:
                for name in self.proxies:
                    run_module.progress(f"{dimension} {size}: round {number + 1}, {name}")
                    try:
                        value = self._sample(dimension, size, name)
                    except (proxies_module.ProxyFailed, loads_module.LoadFailed) as problem:
                        print(f"{name}, {dimension} {size}: {problem}", file=sys.stderr)
                        continue
                    if value is not None:
                        found.setdefault(name, {}).setdefault(size, []).append(value)
        run_module.progress("")

    def _sample(self, dimension, size, name):
        setup = proxies_module.Setup(
            self.origins[:size] if dimension == "endpoints" else self.origins[:1], keep_heap=True,
            workers=size if dimension == "workers" else 1, routes=size if dimension == "routes" else 1,
            connections=20000 if dimension == "connections" else 8192)
        if not self.proxies[name].supports(setup):
            return None
        instance = proxies_module.Instance(self.processes, self.proxies[name], setup, self._cpus(setup.workers))
        try:
            if dimension == "connections":
                return self.loads.rate(instance, "/1k", size, self.arguments.seconds, CONNECTIONS_RATE).cpu_us
            sample = self.loads.wrk(instance, setup.path("1k"), 64, self.arguments.seconds, body_bytes=1024)
            return sample.requests_per_s if dimension == "workers" else sample.cpu_us
        finally:
            instance.stop()

    def _cpus(self, workers):
        """As many CPUs as workers, not those of the load if that can be helped."""
        own = sorted(self.all_cpus - self.loads.cpus)[:workers]
        return frozenset(own) if len(own) == workers else frozenset(sorted(self.all_cpus)[:workers])

    def medians(self, dimension):
        return {name: {size: statistics.median(values) for size, values in by_size.items()}
                for name, by_size in self.samples[dimension].items()}

    def print(self, dimension):
        unit = "requests/s" if dimension == "workers" else "µs of CPU a request"
        print(f"\n{dimension}: {unit}\n  {'proxy':<12}" + "".join(f"{size:>10,}" for size in SIZES[dimension]))
        for name, by_size in self.medians(dimension).items():
            print(f"  {name:<12}" + "".join(f"{by_size[size]:>10,.1f}" if size in by_size else f"{'-':>10}"
                                            for size in SIZES[dimension]))
        if dimension == "workers":
            for name, by_size in self.medians(dimension).items():
                if len(by_size) == 2:
                    print(f"  {name}: {by_size[2] / by_size[1]:.2f} times with two workers")
            if len(self.all_cpus) < 3:
                print("  (no CPU of its own for the second worker: it shares one with origin and load)")

    def picture(self):
        panels = [chart.Panel(TITLES[dimension], self.medians(dimension))
                  for dimension in TITLES if self.samples.get(dimension)]
        return chart.draw("CPU of the proxy per request, µs", panels, COLOURS)


def main():
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, run_module.interrupted)
    proxies_module.raise_descriptor_limit()
    with processes_module.Processes() as processes:
        scale = Scale(arguments, processes)
        for dimension in run_module.chosen(arguments.only, SIZES, "dimension"):
            scale.run(dimension)
            scale.print(dimension)
        if any(dimension in TITLES for dimension in scale.samples):
            pathlib.Path(arguments.svg).write_text(scale.picture())
            print(f"\ndrawn: {arguments.svg}")
        if arguments.json:
            pathlib.Path(arguments.json).write_text(json.dumps({"samples": scale.samples}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
