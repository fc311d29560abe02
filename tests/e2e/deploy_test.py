"""What lies in deploy/, but for the completion and the package: that it parses, and
that it says what the running daemon says."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import yaml

try:
    from kubernetes import client as kubernetes
except ImportError:
    kubernetes = None

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from harness import (  # noqa: E402
    SOURCE, Failure, KiB, MiB, Skipped, Sluice, binary, equal, expect, free_port, main, sanitized)
from http1 import wait_until  # noqa: E402
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


def test_the_dashboard_counts_no_attempt_as_failed_that_a_client_gave_up():
    (query,) = (query for title, query in queries() if title == "Failed attempts")
    rates = {"ok": 7, "timeout": 1, "cancelled": 12}
    series = [{"series": f'sluice_attempts_total{{service="web",upstream="green",outcome="{outcome}"}}',
               "values": f"0+{60 * count}x10"} for outcome, count in rates.items()]
    wanted = {"expr": query, "eval_time": "5m",
              "exp_samples": [{"labels": '{service="web", upstream="green"}', "value": 1 / 8}]}
    rules = {"tests": [{"interval": "30s", "input_series": series, "promql_expr_test": [wanted]}]}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(rules, file)
        file.flush()
        run("promtool", "test", "rules", file.name)


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


# Where the manifests have what is newer than Debian 12's client, which is of
# Kubernetes 1.22. Other tests here read both.
SIDECAR = "Deployment.spec.template.spec.initContainers[0]"
NEWER = {f"{SIDECAR}.restartPolicy", f"{SIDECAR}.lifecycle.preStop.sleep"}


def manifests(folder):
    """What lies there, but for what only kustomize reads."""
    return [one for path in sorted(folder.glob("*.yaml")) if path.name != "kustomization.yaml"
            for one in yaml.safe_load_all(path.read_text())]


def modelled(one):
    """An object as Kubernetes' client for Python writes it again: without what its
    schema does not have. It asks no cluster."""
    if kubernetes is None:
        raise Skipped("no python3-kubernetes is here (see ./dev setup)")
    with kubernetes.ApiClient() as client:
        answer = type("Answer", (), {"data": json.dumps(one)})
        try:
            return client.sanitize_for_serialization(client.deserialize(answer, f"V1{one['kind']}"))
        except ValueError as error:
            raise Failure(f"{one['kind']} {one['metadata']['name']}: {error}") from None


def laid_over(base, patch):
    """As kustomize does it, as far as the patches here take it: lists go by names."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {**base, **{key: laid_over(base.get(key), value) for key, value in patch.items()}}
    if isinstance(base, list) and isinstance(patch, list):
        ours, theirs = ({one["name"]: one for one in many} for many in (base, patch))
        return list(laid_over(ours, theirs).values())
    return patch


def require_kubectl(minor, what):
    """20 of Kubernetes 1.20 is Debian 12's."""
    version = json.loads(run("kubectl", "version", "--client", "-o", "json"))["clientVersion"]
    got = int(re.match(r"\d+", version["minor"])[0])
    if got < minor:
        raise Skipped(f"kubectl here is 1.{got}, and {what} takes 1.{minor}")


def understood(one):
    """An object as kubectl, which has the schema, writes it again: without what it
    does not know. It asks no cluster, but wants something to set."""
    if one["kind"] == "Deployment":
        change = ["image", "sluice=another"]
    elif one["kind"] == "Service":
        change = ["selector", ",".join(f"{key}={value}" for key, value in one["spec"]["selector"].items())]
    else:
        raise Failure(f"no way to check a {one['kind']}")
    command = ["kubectl", "set", change[0], "--local", "-f", "-", "-o", "json", change[1]]
    return json.loads(run(*command, input=json.dumps(one)))


def kustomized(folder):
    """The objects of a kustomization, by kind."""
    kinds = {}
    for one in yaml.safe_load_all(run("kubectl", "kustomize", str(folder))):
        kinds.setdefault(one["kind"], []).append(one)
    return kinds


@contextmanager
def with_tls():
    """A folder with the kustomization of an overlay that takes the base and its TLS."""
    with tempfile.TemporaryDirectory(prefix="overlay-") as folder:
        # kustomize wants relative paths.
        base = os.path.relpath(DEPLOY / "kubernetes", os.path.realpath(folder))
        overlay = {"resources": [base], "components": [f"{base}/tls"]}
        Path(folder, "kustomization.yaml").write_text(json.dumps(overlay))
        yield folder


def expect_known(part, whole, where, excepted):
    """All of `part` is in `whole` as well, but for the fields that are `excepted`."""
    if isinstance(part, dict):
        for key, value in part.items():
            if f"{where}.{key}" not in excepted:
                expect(key in whole, f"nobody knows {where}.{key}")
                expect_known(value, whole[key], f"{where}.{key}", excepted)
    elif isinstance(part, list):
        equal(len(whole), len(part), f"the length of {where}")
        for number, value in enumerate(part):
            expect_known(value, whole[number], f"{where}[{number}]", excepted)
    else:
        equal(whole, part, where)


def expect_in_schema(one):
    expect_known(one, modelled(one), one["kind"], NEWER)


def test_kubernetes_manifests_have_only_fields_that_there_are():
    base = manifests(DEPLOY / "kubernetes")
    equal(sorted(one["kind"] for one in base), ["Deployment", "Service", "Service", "Service"], "the kinds")
    for one in base:
        expect_in_schema(one)
    patches = manifests(DEPLOY / "kubernetes/tls")
    equal(sorted(one["kind"] for one in patches), ["Deployment", "Service"], "the kinds of the patches")
    for patch in patches:
        (one,) = (one for one in base if (one["kind"], one["metadata"]["name"]) ==
                  (patch["kind"], patch["metadata"]["name"]))
        expect_in_schema(laid_over(one, patch))


def test_a_field_that_there_is_not_is_found():
    """Each of these, alone, in manifests that are right otherwise."""
    sidecar = "spec.template.spec.initContainers.0"
    wrong = {
        f"{sidecar}.readynessProbe": {"httpGet": {"path": "/ready", "port": "admin"}},  # misspelt
        f"{sidecar}.securityContext.fsGroup": 65532,  # of a pod, not of a container
        "spec.restartPolicy": "Always",  # in another place than that of a sidecar
        f"{sidecar}.resources.limit": {"memory": "192Mi"},
        f"{sidecar}.ports.0.containerPort": "8080",  # a text instead of a number
        f"{sidecar}.ports": {"name": "http"},  # an object instead of a list
        "spec.selector": None,  # required, and not there
    }
    for path, value in wrong.items():
        one = yaml.safe_load((DEPLOY / "kubernetes/deployment.yaml").read_text())
        expect_in_schema(one)
        *way, last = path.split(".")
        part = one
        for step in way:
            part = part[int(step) if step.isdigit() else step]
        part[last] = value
        try:
            expect_in_schema(one)
        except Failure:
            continue
        raise Failure(f"nobody minds that {path} is {value!r}")


def test_kubectl_knows_all_that_kustomize_makes():
    require_kubectl(30, "all that the manifests have")
    with with_tls() as overlay:
        for folder in (DEPLOY / "kubernetes", overlay):
            for kind, objects in kustomized(folder).items():
                for one in objects:
                    if kind == "ConfigMap":
                        equal(sorted(one), ["apiVersion", "data", "kind", "metadata"], "fields of a ConfigMap")
                    else:
                        expect_known(one, understood(one), kind, {f"{SIDECAR}.image"})


def expect_ports(kinds):
    """Each listener has a port of the sidecar, and whoever names a port names one."""
    (deployment,) = kinds["Deployment"]
    (sidecar,) = deployment["spec"]["template"]["spec"]["initContainers"]
    ports = {one["name"]: one["containerPort"] for one in sidecar["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        expect(sidecar[probe]["httpGet"]["port"] in ports, f"{probe} asks a port that there is not")
    (front,) = (one for one in kinds["Service"] if one["metadata"]["name"] == "web")
    for port in front["spec"]["ports"]:
        expect(port["targetPort"] in ports, f"the Service leads to {port['targetPort']}, which is no port")
    config = tomllib.loads(kinds["ConfigMap"][0]["data"]["sluice.toml"])
    bound = [one["bind"] for one in [*config["listener"], {"bind": config["admin"]["http"]}]]
    equal(sorted(int(one.rpartition(":")[2]) for one in bound), sorted(ports.values()), "what sluice listens on")


def test_kubernetes_base_is_a_native_sidecar_without_privileges():
    kinds = kustomized(DEPLOY / "kubernetes")
    counts = {kind: len(objects) for kind, objects in kinds.items()}
    equal(counts, {"ConfigMap": 1, "Deployment": 1, "Service": 3}, "kinds")
    (deployment,) = kinds["Deployment"]
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
    expect_ports(kinds)


def test_kubernetes_gives_the_sidecar_the_memory_that_it_may_take():
    """Against the ceiling of docs/hardening.md, which ./dev hostile holds."""
    said = r"ceiling is .*\((\d+) MiB, (\d+) MiB for\s+each worker, (\d+) KiB for each client\)"
    ((process, worker, client),) = re.findall(said, (SOURCE / "docs/hardening.md").read_text())
    pod = yaml.safe_load((DEPLOY / "kubernetes/deployment.yaml").read_text())["spec"]["template"]["spec"]
    (sidecar,) = pod["initContainers"]
    limit = int(re.fullmatch(r"(\d+)Mi", sidecar["resources"]["limits"]["memory"])[1]) * MiB
    for path in (DEPLOY / "kubernetes").rglob("sluice.toml"):
        config = tomllib.loads(path.read_text())
        clients = config.get("overload", {}).get("max_connections", 0)
        expect(clients > 0, f"{path} does not say how many clients there may be")
        ceiling = (int(process) + config["workers"] * int(worker)) * MiB + clients * int(client) * KiB
        expect(ceiling <= limit, f"{path}: {ceiling / MiB:.0f} MiB may be taken, and the limit is {limit / MiB:.0f}")


def test_kubernetes_gives_a_pod_the_time_to_drain():
    pod = yaml.safe_load((DEPLOY / "kubernetes/deployment.yaml").read_text())["spec"]["template"]["spec"]
    (sidecar,) = pod["initContainers"]
    # Clients are led elsewhere first, in a time that Kubernetes counts as of the grace.
    away = sidecar["lifecycle"]["preStop"]["sleep"]["seconds"]
    (amount,) = re.findall(r'^drain_timeout = "(\d+)s"$', (DEPLOY / "kubernetes/sluice.toml").read_text(), re.M)
    expect(away >= 5, f"only {away} s until no Service leads here any more")
    grace = pod["terminationGracePeriodSeconds"]
    expect(away + int(amount) + 10 <= grace, f"{away} s, then {amount} s to drain, in {grace} s and no more")


def test_kubernetes_other_container_ends_when_it_is_told_to():
    """It is the first process of its container, where SIGTERM ends only who has a
    handler; and as long as it is there the sidecar is not told to drain."""
    pod = yaml.safe_load((DEPLOY / "kubernetes/deployment.yaml").read_text())["spec"]["template"]["spec"]
    (other,) = pod["containers"]
    equal(other["command"][0], "sluice", "the program")
    apart = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--pid", "--fork", "--kill-child"]
    with Sluice(*pair()) as sluice:
        environment = {**os.environ, other["env"][0]["name"]: sluice.admin.path}
        with subprocess.Popen([*apart, binary(), *other["command"][1:]], env=environment,
                              stdout=subprocess.PIPE, text=True) as container:
            try:
                expect("started" in container.stdout.readline(), "it does not show the events")
                (child,) = Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split()
                os.kill(int(child), signal.SIGTERM)
                equal(container.wait(20), 128 + signal.SIGTERM, "its exit code")
            finally:
                container.kill()


def test_kubernetes_tls_names_the_files_that_it_mounts():
    folder = DEPLOY / "kubernetes/tls"
    pod = yaml.safe_load((folder / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    ((volume,), (sidecar,)) = pod["volumes"], pod["initContainers"]
    (mount,) = sidecar["volumeMounts"]
    equal((mount["name"], mount["readOnly"]), (volume["name"], True), "the mount")
    config = tomllib.loads((folder / "sluice.toml").read_text())
    (tls,) = (one["tls"] for one in config["listener"] if "tls" in one)
    # The two keys that a Secret of the type kubernetes.io/tls has.
    wanted = {"cert": f"{mount['mountPath']}/tls.crt", "key": f"{mount['mountPath']}/tls.key"}
    equal(tls, wanted, "the files that sluice.toml names, and those that are mounted")
    expect(f"create secret tls {volume['secret']['secretName']} " in (folder / "kustomization.yaml").read_text(),
           "the command at the top makes another Secret")
    # But for the listener it is the base's configuration.
    config["listener"] = [one for one in config["listener"] if "tls" not in one]
    equal(config, tomllib.loads((DEPLOY / "kubernetes/sluice.toml").read_text()), "the rest of the configuration")


def test_kubernetes_tls_fits_onto_the_base():
    require_kubectl(21, "a component")
    with with_tls() as folder:
        kinds = kustomized(folder)
    expect_ports(kinds)
    (front,) = (one for one in kinds["Service"] if one["metadata"]["name"] == "web")
    equal(sorted(port["port"] for port in front["spec"]["ports"]), [80, 443], "the ports of the Service")
    (config,) = kinds["ConfigMap"]
    equal(config["data"]["sluice.toml"], (DEPLOY / "kubernetes/tls/sluice.toml").read_text(), "the configuration")


def stages():
    """{name: its instructions, each as (WORD, the rest)} of the Dockerfile."""
    found = {}
    for word, rest in re.findall(r"^([A-Z]+) (.*)$", (DEPLOY / "docker/Dockerfile").read_text(), re.M):
        if word == "FROM":
            instructions = found.setdefault(rest.partition(" AS ")[2], [])
        else:
            instructions.append((word, rest))
    return found


def test_the_image_is_built_with_the_charts():
    """As Docker would do it, with folders for its stages: what `build` has then is
    what ./dev takes instead of asking npm, which is not there."""
    build = stages()["build"]
    (charts,) = (rest.split() for word, rest in build if word == "COPY" and rest.startswith("--from=charts "))
    (copied,) = (rest.split()[:-1] for word, rest in stages()["charts"] if word == "COPY")
    (command,) = (rest for word, rest in stages()["charts"] if word == "RUN" and rest.startswith("npm "))
    (function,) = re.findall(r"^fetch_charts\(\) \{.*?^\}\n", (SOURCE / "dev").read_text(), re.M | re.S)
    expect(command in function, "the image fetches the charts in another way than ./dev")
    expect(build.index(("COPY", " ".join(charts))) < build.index(("RUN", "./dev package")), "the charts come too late")
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        target = Path(folder, charts[-1])
        (target / "node_modules/uplot").mkdir(parents=True)
        for name in copied:
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / name, Path(folder, name))
            shutil.copy(SOURCE / name, target)
        without_npm = "command() { return 1; }\n" + function + "fetch_charts 2>&1"
        said = run("/bin/bash", "-euc", without_npm, cwd=folder)
        (target / "package-lock.json").write_text("{}")
        missed = run("/bin/bash", "-euc", without_npm, cwd=folder)
    equal(said, "", "what ./dev says with the charts of the image")
    expect("npm is not here" in missed, f"./dev takes what is no longer locked, and says {missed!r}")


def test_the_shared_libraries_are_those_of_the_list():
    (item,) = re.findall(r"^- \*\*Not one file\.\*\*(.*?)^- ", (SOURCE / "docs/limits.md").read_text(), re.M | re.S)
    taken_in, kept = (set(re.findall(r"`([\w+-]+\.so\.\d+)`", part)) for part in item.split("`./dev build static`"))
    needed = set(re.findall(r"\(NEEDED\).*\[((?!ld-).*)\]", run("readelf", "-d", binary())))
    if sanitized() or "libssl.so.0" not in needed:
        raise Skipped("what a sanitizer brings, and a build with libraries of one's own, is not meant")
    static = "libuv.so.1" not in needed
    equal(sorted(needed - kept - (set() if static else taken_in)), [], "libraries that docs/limits.md has not")


def test_logrotate_opens_the_log_anew_and_does_nothing_else():
    (name,) = re.findall(r"--signal=(\w+)", (DEPLOY / "systemd/sluice.logrotate").read_text())
    with Sluice(*pair()) as sluice:
        log = Path(sluice.folder, "access.log")
        equal(sluice.get("/").status, 200, "status")
        log.rename(log.with_suffix(".1"))
        sluice.config_file.write_text("an edit that is not finished")
        sluice.signal(getattr(signal, f"SIG{name}"))
        wait_until(log.exists, 20, "another log")
        equal(sluice.get("/").status, 200, "status")
        wait_until(sluice.access_log, 20, "a line in it")
        equal([one["type"] for one in sluice.admin.show("events")], ["started"], "what happened")


if __name__ == "__main__":
    sys.exit(main(globals()))
