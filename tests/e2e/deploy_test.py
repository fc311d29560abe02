"""What lies in deploy/: that it parses, that it says what the running daemon
says, and that the shell asks the daemon for its names."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from harness import SOURCE, Sluice, binary, equal, expect, free_port, main  # noqa: E402
from origin import pair  # noqa: E402

DEPLOY = SOURCE / "deploy"
NAME = re.compile(r"\bsluice_[a-z0-9_]+")


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, **more)
    expect(done.returncode == 0, lambda: f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def queries():
    """Each expression of the alerts and the dashboard, with its title."""
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for panel in json.loads((DEPLOY / "grafana/dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def test_alerts_and_dashboard_use_metrics_that_there_are():
    port = free_port()
    more = {"admin": {"http": f"127.0.0.1:{port}"},
            "cap": {"database": {"members": ["web/blue", "web/green"], "max_connections": 10}}}
    with Sluice(*pair(), {"rollout": {"steps": [10, 100]}}, more) as sluice:
        equal(sluice.get("/").status, 200, "status")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            known = set(re.findall(r"^# TYPE (\S+)", answer.read().decode(), re.M))
    names = [(title, name) for title, query in queries() for name in NAME.findall(query)]
    expect(len(names) > 15, f"only {len(names)} names were found")
    for title, name in names:
        expect(re.sub(r"_bucket$", "", name) in known, f"{title}: nothing is called {name}")


def test_alerts_fire_when_they_should():
    run("promtool", "test", "rules", str(SOURCE / "tests/deploy/alerts.yaml"))


def test_every_alert_is_in_the_runbook_and_in_its_test():
    runbook = (SOURCE / "docs/runbook.md").read_text()
    tested = (SOURCE / "tests/deploy/alerts.yaml").read_text()
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            expect(f"**{rule['alert']}**" in runbook, f"the runbook does not know {rule['alert']}")
            expect(f"alertname: {rule['alert']}\n" in tested, f"{rule['alert']} is not tested")


def test_configurations_are_valid():
    found = sorted(DEPLOY.rglob("*.toml"))
    expect(found, "no configuration was found")
    for path in found:
        run(binary(), "check", str(path))


def test_kubernetes_base_is_a_native_sidecar_without_privileges():
    objects = list(yaml.safe_load_all(run("kubectl", "kustomize", str(DEPLOY / "kubernetes"))))
    equal(sorted(one["kind"] for one in objects), ["ConfigMap", "Deployment", "Service", "Service", "Service"], "kinds")
    (deployment,) = (one for one in objects if one["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (sidecar,) = pod["initContainers"]
    equal(sidecar["restartPolicy"], "Always", "restartPolicy")
    equal(pod["securityContext"]["runAsNonRoot"], True, "runAsNonRoot")
    volumes = {one["name"] for one in pod["volumes"]}
    for container in [sidecar] + pod["containers"]:
        context = container["securityContext"]
        equal(context["readOnlyRootFilesystem"], True, "read-only root")
        equal(context["capabilities"], {"drop": ["ALL"]}, "capabilities")
        expect({one["name"] for one in container["volumeMounts"]} <= volumes, "a mount without its volume")
    ports = {one["name"] for one in sidecar["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        expect(sidecar[probe]["httpGet"]["port"] in ports, f"{probe} asks a port that there is not")


def complete(*words, socket):
    """What bash would offer for the last of the words."""
    script = (f'. "{DEPLOY}/completion/sluice.bash"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sluice; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    return run("bash", "-c", script, "bash", binary(), *words, env={**os.environ, "SLUICE_SOCKET": socket}).split()


def test_bash_completes_names_that_the_daemon_knows():
    with Sluice(*pair()) as sluice:
        equal(complete("c", socket=sluice.socket), ["check", "ctl"], "subcommands")
        equal(complete("ctl", "set", "we", socket=sluice.socket), ["weight"], "what to set")
        equal(complete("ctl", "trip", "", socket=sluice.socket), ["web"], "services")
        equal(complete("ctl", "set", "maxconn", "web/g", socket=sluice.socket), ["web/green"], "upstreams")
    equal(complete("ctl", "trip", "", socket="/nonexistent"), [], "services of no daemon")


sys.exit(main(globals()))
