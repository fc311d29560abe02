"""The works that are measured, each with its bars.

A work is measured either on an instance that runs through all rounds, or, when
`fresh`, on one that it starts for each sample.
"""

import dataclasses
import time

import processes as processes_module

SETTLE_SECONDS = 1  # until memory is read
MB = 1e6


@dataclasses.dataclass(frozen=True)
class Metric:
    name: str
    unit: str
    floor_bar: float = None  # at most this, as a ratio to the floor relay
    bar: float = None  # at most this, in the unit
    beat_peers: bool = True  # below every peer
    shown: bool = True  # in the summary, and judged


@dataclasses.dataclass(frozen=True)
class Work:
    name: str
    title: str
    metrics: tuple
    measure: object  # (bench, instance or proxy's name, setup) -> {metric: value}
    tls: bool = False
    fresh: bool = False


def cpu_work(name, title, path, connections, floor_bar=None, tls=False, **wrk):
    """CPU per request under wrk, as fast as it goes."""

    def measure(bench, instance, setup):
        sample = bench.loads.wrk(instance, path, connections, bench.arguments.seconds, **wrk)
        return {"cpu": sample.cpu_us, "rate": sample.requests_per_s}

    return Work(name, f"{title}, {connections} connections", cpu_metrics(floor_bar), measure, tls)


def cpu_metrics(floor_bar=None):
    return (Metric("cpu", "µs of CPU a request", floor_bar=floor_bar), Metric("rate", "requests/s", shown=False))


def measure_tail(bench, instance, setup):
    sample = bench.loads.rate(instance, "/1k", 64, bench.arguments.seconds, 8000)
    said = sample.details
    return {"p50": said["p50_us"], "p99": said["p99_us"], "p999": said["p999_us"], "cpu": sample.cpu_us}


def measure_handshake(bench, instance, setup):
    sample = bench.loads.closed(instance, "/1k", 32, bench.arguments.seconds, close=True)
    return {"cpu": sample.cpu_us, "rate": sample.requests_per_s}


def settle():
    time.sleep(SETTLE_SECONDS)


def measure_memory(bench, name, setup):
    instance = bench.start(name, setup)
    try:
        settle()
        at_rest = processes_module.rss_bytes(instance.pid)
        with_idle = bench.loads.rss_with_idle(instance, "/1k", bench.arguments.idle, settle)
        return {"rest": at_rest / MB, "idle": with_idle / MB}
    finally:
        instance.stop()


def measure_start(bench, name, setup):
    instance = bench.start(name, setup, guard=False)
    instance.stop()
    return {"start": instance.started_s * 1000}


def measure_binary(bench, name, setup):
    return {"size": bench.proxies[name].stripped_bytes() / MB}


WORKS = {work.name: work for work in (
    cpu_work("get_1k", "1 KiB GET, keep-alive", "/1k", 64, floor_bar=1.15, body_bytes=1024),
    cpu_work("get_1m", "1 MiB GET, keep-alive", "/1m", 16, floor_bar=1.00, body_bytes=1024 * 1024),
    cpu_work("post_64k", "64 KiB POST, keep-alive", "/up", 32, floor_bar=1.15, post_bytes=65536),
    cpu_work("get_close", "1 KiB GET, a connection each", "/1k", 64, close=True, body_bytes=1024),
    Work("tail", "latency at 8,000 requests/s, 64 connections",
         (Metric("p50", "µs, median", beat_peers=False, shown=False), Metric("p99", "µs, p99"),
          Metric("p999", "µs, p99.9"), Metric("cpu", "µs of CPU a request", shown=False)), measure_tail),
    cpu_work("tls_get_1k", "1 KiB GET over TLS 1.3, keep-alive", "/1k", 64, tls=True, body_bytes=1024),
    Work("tls_handshake", "full TLS 1.3 handshake (P-256) and 1 KiB GET, 32 connections", cpu_metrics(),
         measure_handshake, tls=True),
    cpu_work("tls_get_1m", "1 MiB GET over TLS 1.3, keep-alive", "/1m", 16, tls=True, body_bytes=1024 * 1024),
    Work("memory", "memory at rest and with idle clients",
         (Metric("rest", "MB at rest", bar=8), Metric("idle", "MB with idle clients", bar=12)), measure_memory,
         fresh=True),
    Work("tls_memory", "memory at rest and with idle TLS clients",
         (Metric("rest", "MB at rest", beat_peers=False, shown=False),
          Metric("idle", "MB with idle TLS clients", bar=100)), measure_memory, tls=True, fresh=True),
    Work("start", "from start to the first answer",
         (Metric("start", "ms to the first answer", bar=50, beat_peers=False),), measure_start, fresh=True),
    Work("binary", "the program, stripped",
         (Metric("size", "MB, libraries not counted", bar=5, beat_peers=False),), measure_binary, fresh=True),
)}
