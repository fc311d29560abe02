"""Load on a running proxy, and what it cost: wrk where it will do, bench_load
for constant rates, full handshakes and idle connections.

A load either succeeds whole or raises LoadFailed: a figure with errors in it
says nothing.
"""

import dataclasses
import json
import os
import subprocess
import tempfile

import processes as processes_module

WRK_MARK = "RESULT "
WRK_REPORT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "errors": %d, "non_2xx": %d, "bytes": %d, "seconds": %.6f}\\n',
    summary.requests, e.connect + e.read + e.write + e.timeout, e.status, summary.bytes, summary.duration / 1e6))
end
"""
WRK_POST = 'wrk.method = "POST"\nwrk.body = string.rep("x", {bytes})\n'
WARM_SECONDS = 0.3
WARM_CONNECTIONS = 64  # where most of many connections are idle at any time


class LoadFailed(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class Sample:
    cpu_us: float  # of the proxy, per request
    requests_per_s: float
    details: dict  # what the load generator said


@dataclasses.dataclass(frozen=True)
class Loads:
    """Where the load generators are and on which CPUs they run."""
    processes: processes_module.Processes
    build: str
    cpus: frozenset

    def wrk(self, instance, path, connections, seconds, post_bytes=0, close=False, body_bytes=0):
        self.warm(instance, path, connections)
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write((WRK_POST.format(bytes=post_bytes) if post_bytes else "") + WRK_REPORT)
            script.flush()
            argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script.name]
            argv += ["-H", "Connection: close"] if close else []
            return self._measure(instance, argv + [instance.url(path)], body_bytes)

    def rate(self, instance, path, connections, seconds, rate):
        self.warm(instance, path, min(connections, WARM_CONNECTIONS))
        return self._measure(instance, self._own("rate", instance, path, connections, seconds, f"--rate={rate}"))

    def closed(self, instance, path, connections, seconds, close=False):
        self.warm(instance, path, connections)
        return self._measure(instance, self._own("closed", instance, path, connections, seconds,
                                                 *(["--close"] if close else [])))

    def warm(self, instance, path, connections):
        """Connections to the origin opened, pages touched, branches learned."""
        self._run(self._own("closed", instance, path, connections, WARM_SECONDS))

    def rss_with_idle(self, instance, path, connections, settle):
        """The proxy's memory while `connections` clients that made a request stay."""
        argv = self._own("idle", instance, path, connections, 0)
        child = self.processes.start(argv, self.cpus, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)
        try:
            if not child.stdout.readline():
                raise LoadFailed(child.stderr.read().strip())
            settle()
            used = processes_module.rss_bytes(instance.pid)
            output, complaint = child.communicate("", timeout=30)
            if child.returncode != 0:
                raise LoadFailed(complaint.strip()[-200:])
            said = json.loads(output)
        finally:
            self.processes.stop(child)
        if said["open"] != connections or said["errors"] or said["non_2xx"]:
            raise LoadFailed(f"{said['open']} of {connections} connections were left, {said['errors']} errors, "
                             f"{said['non_2xx']} answers other than 2xx")
        return used

    def _own(self, mode, instance, path, connections, seconds, *flags):
        flags = [flag for pair in flags for flag in pair.split("=")]
        return [os.path.join(self.build, "bench", "bench_load"), mode, instance.address, path, "--connections",
                str(connections), "--seconds", str(seconds), *(["--tls"] if instance.setup.tls else []), *flags]

    def _measure(self, instance, argv, body_bytes=0):
        before = processes_module.cpu_ns(instance.pid)
        said = self._run(argv)
        used_ns = processes_module.cpu_between(before, processes_module.cpu_ns(instance.pid))
        instance.drop_logs()
        if said["bytes"] < said["requests"] * body_bytes:
            raise LoadFailed(f"bodies are short: {said['bytes']} bytes in {said['requests']} answers")
        return Sample(used_ns / said["requests"] / 1000, said["requests"] / said["seconds"], said)

    def _run(self, argv):
        child = self.processes.start(argv, self.cpus, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)
        try:
            output, complaint = child.communicate()
        finally:
            self.processes.stop(child)
        line = next((line for line in output.splitlines() if line.startswith(("{", WRK_MARK))), None)
        if child.returncode != 0 or line is None:
            raise LoadFailed(f"{os.path.basename(argv[0])}: {(complaint or output).strip()[-200:]}")
        said = json.loads(line.removeprefix(WRK_MARK))
        if said["errors"] or said["non_2xx"] or not said["requests"]:
            raise LoadFailed(f"{said['errors']} errors and {said['non_2xx']} answers other than 2xx in "
                             f"{said['requests']} requests")
        return said
